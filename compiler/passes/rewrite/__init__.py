"""Replaces the layers of a partition: quantization, unpacking and integer products in their place.

The result is an ordinary Relax module of `call_tir` of plain TIR, which builds for LLVM too.
"""
