"""The examples in docstrings give what they show."""

import doctest

import pytest

import fastbce as fb

EXAMPLES = {name: doctest.DocTestParser().get_examples(getattr(fb, name).__doc__) for name in fb.__all__}


@pytest.mark.parametrize("name", [name for name, examples in EXAMPLES.items() if examples])
def test_examples(name):
    test = doctest.DocTest(EXAMPLES[name], {}, name, None, 0, None)
    report = []
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)
