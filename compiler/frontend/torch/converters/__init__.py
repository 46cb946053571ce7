"""Operators of PyTorch that TVM's importer lacks or gets wrong."""

from collections.abc import Callable

from tvm import relax

CONVERTERS: dict[str, Callable[..., relax.Var]] = {}
"""Converter by name of the ATen overload, such as `index_copy.default`."""
