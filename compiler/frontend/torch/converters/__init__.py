"""Operators of PyTorch that TVM's importer lacks or gets wrong.

A file of this folder has the converters of one family and registers each with `converter`; it is
imported here.
"""

from . import (  # noqa: F401  (they register)
    arithmetic,
    binary,
    embedding,
    grouped,
    index,
    index_put,
    quantized,
    randomness,
    reductions,
    scatter,
)
from .registry import CONVERTERS

__all__ = ["CONVERTERS"]
