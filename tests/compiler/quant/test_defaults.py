"""compiler/quant/defaults.py: the method that a format gets."""

import pytest

from microscopiq.compiler.quant.base import METHODS
from microscopiq.compiler.quant.defaults import method_for
from microscopiq.target.formats import WEIGHT_FORMATS


@pytest.mark.parametrize(
    ("name", "without", "with_data"),
    [
        ("ms2", "microscopiq", "microscopiq"),
        ("mxfp4", "rtn", "gptq"),
        ("int8", "rtn", "gptq"),
        ("olive4", "olive", None),
    ],
)
def test_methods_of_single_formats_come_first(name, without, with_data):
    assert (method_for(name, data=False), method_for(name, data=True)) == (without, with_data)


@pytest.mark.parametrize("name", WEIGHT_FORMATS)
def test_each_format_has_a_method_that_makes_it_without_data(name):
    entry = METHODS[method_for(name, data=False)]
    assert name in entry.formats and not entry.needs_statistics
