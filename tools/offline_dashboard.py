"""Have the pages that asv published load their libraries from beside them: they then open without a network.

    python tools/offline_dashboard.py .asv/html .venv/dashboard

The second folder holds node_modules, as `make dashboard` installs it. Where it is missing, nothing changes.
"""

import argparse
import re
import shutil
from pathlib import Path

# What index.html loads, by the last part of its address, and where npm puts it.
LIBRARIES = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
# The address, and the attributes after it that only a file from elsewhere needs.
ADDRESS = re.compile(
    r'"https://[^"]*/([^"/]+\.(?:js|css))"(?: (?:integrity|crossorigin|referrerpolicy)="[^"]*")*'
)


def make_offline(pages: Path, node_modules: Path) -> None:
    """Copy the libraries to `pages`, and refer to the copies."""
    index = pages / "index.html"
    (pages / "libraries").mkdir(exist_ok=True)

    def local(found: re.Match[str]) -> str:
        name = found[1]
        shutil.copyfile(node_modules / LIBRARIES[name], pages / "libraries" / name)
        return f'"libraries/{name}"'

    index.write_text(ADDRESS.sub(local, index.read_text()))


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", type=Path)
    parser.add_argument("libraries", type=Path)
    args = parser.parse_args()
    if (args.libraries / "node_modules").is_dir():
        make_offline(args.pages, args.libraries / "node_modules")


if __name__ == "__main__":
    main()
