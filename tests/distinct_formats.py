"""Formats that differ in how they are decoded, for tests that take long with each.

The others are the same in another width, group or table; what costs little runs with all of them.
"""

from microscopiq.target.formats import WEIGHT_FORMATS

DISTINCT = ["int4", "int8", "ms2", "ms4", "fineq", "olive4", "int3", "mxfp6", "nvfp4"]
"""Two's complement of whole and of straddling slots, rows' powers and outliers, clusters, pairs;
tables, with scales in E8M0, and in E4M3 with a factor."""
assert set(DISTINCT) <= set(WEIGHT_FORMATS)


def method_of(name: str) -> str:
    """Return a method that makes weights of a format without samples."""
    row = WEIGHT_FORMATS[name]
    if row.has_outliers:
        return "microscopiq"
    return "rtn" if row.alone else {"fineq": "fineq", "olive4": "olive"}[name]
