"""Softmax and gates: powers of two by shifts, and reciprocals (I-ViT)."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from .. import kernels
from ..codes import Codes, dyadic_number, step_for
from ..emission import WIDE, Emission
from .registry import rule

UNIT, BITS = 64, 10
"""What stands for 1 in the argument of an exponential, and the bits of its powers of two.

I-ViT has 15 and 23 bits. A reciprocal of 31 bits has as many as the sum lacks: with a sum of 30
bits it would be 1, 2 or 3, so powers of 16 bits are more exact.
"""
LONGEST = 1 << 14
"""Numbers of a softmax whose powers have a sum of 31 bits."""
GATE = 1 << 15
"""What stands for 1 in a gate."""


@rule("nn.softmax")
def softmax(emission: Emission, _var, call) -> Codes:
    """Shiftmax, along the last axis."""
    shape = shape_of(call.args[0])
    if int(call.attrs.axis) % len(shape) != len(shape) - 1:
        raise UnsupportedError(f"axis {int(call.attrs.axis)}; allowed: the last")
    if shape[-1] > LONGEST:
        raise UnsupportedError(f"{shape[-1]} numbers; allowed: {LONGEST} at most")
    value = emission.scaled(emission.codes(call.args[0]), 1 / UNIT, 1 << 24)
    codes = emission.kernel("shiftmax", lambda x: kernels.shiftmax(x, UNIT, BITS), value.codes)
    return Codes(codes, np.asarray(1 / 128), 127)


def _argument(emission: Emission, expr: relax.Expr, slope: float) -> tuple[Codes, int, int]:
    """Return a value of 16 bits, and the dyadic number that makes it an exponential's argument."""
    scale = step_for(emission.range(expr), WIDE)
    value = emission.scaled(emission.codes(expr), scale, WIDE)
    # Beyond this the gate is shut or open, whatever more.
    factor, shift = dyadic_number(min(slope * scale * UNIT, 1 << 14))
    return value, int(factor), int(shift)


def _gated(emission: Emission, expr: relax.Expr, slope: float) -> Codes:
    value, factor, shift = _argument(emission, expr, slope)
    codes = emission.kernel(
        "gated", lambda x: kernels.gated(x, factor, shift, UNIT, BITS), value.codes
    )
    return Codes(codes, value.scale / GATE, WIDE * GATE)


@rule("nn.gelu", "nn.gelu_tanh")
def gelu(emission: Emission, _var, call) -> Codes:
    """ShiftGELU: x times the sigmoid of 1.702 x."""
    return _gated(emission, call.args[0], 1.702)


@rule("nn.silu")
def silu(emission: Emission, _var, call) -> Codes:
    """X times its sigmoid, as ShiftGELU is made."""
    return _gated(emission, call.args[0], 1.0)


def _gate(emission: Emission, expr: relax.Expr, slope: float) -> Codes:
    value, factor, shift = _argument(emission, expr, slope)
    codes = emission.kernel(
        "gate", lambda x: kernels.gate(x, factor, shift, UNIT, BITS), value.codes
    )
    return Codes(codes, np.asarray(1 / GATE), GATE)


@rule("sigmoid")
def sigmoid(emission: Emission, _var, call) -> Codes:
    """Two shifted powers and a reciprocal."""
    return _gate(emission, call.args[0], 1.0)


@rule("tanh")
def tanh(emission: Emission, _var, call) -> Codes:
    """2 sigmoid(2 x) - 1."""
    gate = _gate(emission, call.args[0], 2.0)
    half = relax.const(GATE // 2, "int32")
    codes = emission.emit(op.subtract(gate.codes, half))
    return Codes(codes, np.asarray(2 / GATE), GATE // 2)
