"""What the rules of operators build with: the new function, its values, and static scales."""

from collections.abc import Callable

import numpy as np
from tvm import ir, relax
from tvm.relax import op

from ....target.errors import UnsupportedError
from ..vectorize.vectorize import KERNEL
from . import kernels
from .codes import Codes, dyadic_number, saturating, step_for
from .ranges import NEVER, Ranges

BYTE, WIDE, WHOLE = 127, (1 << 15) - 1, (1 << 30) - 1
"""Largest codes of what the array multiplies, of what goes from one operator to another, and of
summands."""
EVENED = 0.75
"""How far channels of a value get scales of their own: 1 to their largest magnitudes, 0 none."""
ADDED = 1 << 28
"""Largest number that is added to a value while it gets another scale."""


class Emission:
    """The function that is built, and what the source's variables are in it.

    Attributes
    ----------
    values : dict
        By the hash of the source's variable: `Codes`, an expression of no fp32, or a list of them.
    ranges : Ranges
        Largest magnitudes of the source's variables.
    constants : dict of int to GenericConst
        Of variables that are bound to one, by the same.
    functions : dict of GlobalVar to GlobalVar
        What the source's functions are called here.
    """

    def __init__(self, builder: relax.BlockBuilder, ranges: Ranges):
        self.builder, self.ranges = builder, ranges
        self.values: dict[int, Codes | relax.Expr | list] = {}
        self.constants: dict[int, ir.GenericConst] = {}
        self.emit = builder.emit
        self.functions: dict[ir.GlobalVar, ir.GlobalVar] = {}
        self._scaled: dict[tuple, Codes] = {}

    def known(self, expr: relax.Expr) -> np.ndarray | None:
        """Return a constant's value in fp64, None of anything else."""
        found = self.constants.get(hash(expr), expr)
        return (
            found.value.numpy().astype(np.float64) if isinstance(found, ir.GenericConst) else None
        )

    def of(self, expr: relax.Expr) -> relax.Expr:
        """Return an expression without fp32 with what its variables are."""
        if isinstance(expr, relax.Var):
            found = self.values[hash(expr)]
            if isinstance(found, relax.Expr):
                return found
            raise UnsupportedError("an operand of fp32 beside integers")
        if isinstance(expr, ir.GlobalVar):
            return self.functions[expr]
        if isinstance(expr, ir.GenericConst) and str(expr.ty.dtype) == "bool":
            return relax.const(expr.value.numpy().astype(np.int32))
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.of(each) for each in expr.fields])
        return expr

    def codes(self, expr: relax.Expr) -> Codes:
        """Return what a value of fp32 is, a constant too."""
        numbers = self.known(expr)
        if numbers is not None:
            return constant(numbers)
        value = self.values[hash(expr)]
        assert isinstance(value, Codes)
        return value

    def range(self, expr: relax.Expr) -> float:
        """Return the largest magnitude of a value over the samples."""
        numbers = self.known(expr)
        if numbers is None:
            return self.ranges.largest[hash(expr)]
        return float(np.abs(numbers[numbers > NEVER]).max(initial=0))

    def kernel(self, name: str, function: Callable, *operands: relax.Expr) -> relax.Expr:
        """Return what a function of tensor expressions gives."""
        marked = {KERNEL: True}
        return self.emit(
            self.builder.call_te(
                function, *operands, primfunc_name_hint=name, primfunc_attrs=marked
            )
        )

    def scaled(self, value: Codes, scale: float | np.ndarray, limit: int, offset=None) -> Codes:
        """Return a value in integers of another scale, clipped, with integers added to them."""
        dtype = "int8" if limit <= BYTE else "int32"
        scale = np.asarray(scale, np.float64)
        key = (hash(value.codes), value.scale.tobytes(), scale.tobytes(), limit)
        if offset is None and key in self._scaled:
            return self._scaled[key]
        added = None if offset is None else np.clip(offset, -ADDED, ADDED)
        beyond = 0 if added is None else int(np.abs(added).max(initial=0))
        ratio, most = saturating(value.scale / scale, value.limit, limit, beyond)
        given = [_operand(each) for each in (*dyadic_number(ratio), added, most)]
        tensors = [relax.const(each) for each in given if isinstance(each, np.ndarray)]

        def kernel(x, *tensors):
            rest = list(tensors)
            numbers = [rest.pop(0) if isinstance(each, np.ndarray) else each for each in given]
            return kernels.requantize(x, numbers, limit, dtype)

        codes = self.kernel("requantize", kernel, value.codes, *tensors)
        made = Codes(codes, scale, limit)
        if offset is None:
            self._scaled[key] = made
        return made

    def narrow(self, expr: relax.Expr) -> Codes:
        """Return a value as int8 under one scale, for the array."""
        value = self.codes(expr)
        if value.uniform and str(value.codes.ty.dtype) == "int8":
            return value
        return self.scaled(value, step_for(self.range(expr), BYTE), BYTE)

    def narrow_channels(self, expr: relax.Expr) -> Codes:
        """Return a value as int8 with a scale for each place of its last axis, if it has many.

        Channels with outliers get a coarser scale than the others, as far as `EVENED` goes. The
        weights that it's multiplied with take them over, as in SmoothQuant (arXiv 2211.10438).
        """
        value, largest = self.codes(expr), self.ranges.channels.get(hash(expr))
        if largest is None or (value.uniform and str(value.codes.ty.dtype) == "int8"):
            return self.narrow(expr)
        floor = largest.max() / (1 << 10)
        if not floor > 0:
            return self.narrow(expr)
        scale = np.maximum(largest, floor) ** EVENED
        scale *= (largest / scale).max() / BYTE
        return self.scaled(value, scale, BYTE)

    def wide(self, expr: relax.Expr) -> Codes:
        """Return a value under one scale, with as many bits as it has or 16."""
        value = self.codes(expr)
        if value.uniform:
            return value
        return self.scaled(value, step_for(self.range(expr), WIDE), WIDE)

    def upright(self, expr: relax.Expr, uniform: bool = False) -> Codes:
        """Return a value whose integers are in order as its numbers are, under one scale or not."""
        value = self.codes(expr)
        if (value.scale > 0).all() and (value.uniform or not uniform):
            return value
        return self.scaled(value, step_for(self.range(expr), WIDE), WIDE)

    def bounded(self, value: Codes, limit: int) -> Codes:
        """Return a value whose codes are int32 and no larger than a limit."""
        value = self.int32(value)
        if value.limit <= limit:
            return value
        low, high = relax.const(-limit, "int32"), relax.const(limit, "int32")
        least = self.emit(op.maximum(value.codes, low))
        return Codes(self.emit(op.minimum(least, high)), value.scale, limit)

    def int32(self, value: Codes) -> Codes:
        """Return a value whose codes are int32."""
        if str(value.codes.ty.dtype) == "int32":
            return value
        return Codes(self.emit(op.astype(value.codes, "int32")), value.scale, value.limit)


def constant(numbers: np.ndarray) -> Codes:
    """Return numbers as integers of 16 bits; what stands for minus infinity is far beyond."""
    finite = np.abs(numbers[numbers > NEVER]).max(initial=0)
    scale = step_for(float(finite), WIDE)
    codes = np.where(numbers > NEVER, np.rint(numbers / scale), -WHOLE).astype(np.int32)
    return Codes(relax.const(codes), np.asarray(scale), int(np.abs(codes).max(initial=0)))


def _operand(values) -> int | np.ndarray | None:
    """Return a number, or int32 by channel."""
    if values is None:
        return None
    array = np.asarray(values)
    return int(array) if array.ndim == 0 else np.ascontiguousarray(array, np.int32)
