"""Operators of PyTorch that TVM's importer lacks or gets wrong.

A file of this folder has the converters of one family and registers each with `converter`; it is
imported here.
"""

from . import embedding, grouped, index_put, randomness, scatter  # noqa: F401  (they register)
from .registry import CONVERTERS

__all__ = ["CONVERTERS"]
