"""How long `import fastbce` takes where NumPy is imported already."""


class Import:
    repeat = (5, 15, 5.0)

    def timeraw_import_fastbce(self):
        return "import fastbce", "import numpy"
