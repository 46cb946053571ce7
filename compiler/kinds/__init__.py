"""Kinds of operators: what each computes, how it is tiled, scheduled and emitted."""

from . import gemm, quantize  # noqa: F401  (registers them)
