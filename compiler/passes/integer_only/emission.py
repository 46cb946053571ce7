"""What the rules of operators build with: the new function, its values, and static scales."""

from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.relax import op

from ..vectorize.vectorize import KERNEL
from . import kernels
from .codes import Codes, dyadic_number, step_for

BYTE, WIDE, WHOLE = 127, (1 << 15) - 1, (1 << 30) - 1
"""Largest codes of what the array multiplies, of what goes from one operator to another, and of
summands."""


class Emission:
    """The function that is built, and what the source's variables are in it.

    Attributes
    ----------
    values : dict
        By the hash of the source's variable: `Codes`, or an expression of no fp32.
    largest : dict of int to float
        Largest magnitudes of the source's variables, by the same.
    """

    def __init__(self, builder: relax.BlockBuilder, largest: dict[int, float]):
        self.builder, self.largest = builder, largest
        self.values: dict[int, Codes | relax.Expr] = {}
        self.emit = builder.emit
        self._scaled: dict[tuple, Codes] = {}

    def codes(self, var: relax.Var) -> Codes:
        """Return what a variable of fp32 is."""
        value = self.values[hash(var)]
        assert isinstance(value, Codes)
        return value

    def kernel(self, name: str, function: Callable, *operands: relax.Expr) -> relax.Expr:
        """Return what a function of tensor expressions gives."""
        marked = {KERNEL: True}
        return self.emit(
            self.builder.call_te(
                function, *operands, primfunc_name_hint=name, primfunc_attrs=marked
            )
        )

    def scaled(self, value: Codes, scale: float, limit: int, offset=None) -> Codes:
        """Return a value in integers of another scale, clipped, with integers added to them."""
        dtype = "int8" if limit <= BYTE else "int32"
        key = (hash(value.codes), value.scale.tobytes(), scale, limit)
        if offset is None and key in self._scaled:
            return self._scaled[key]
        factor, shift = dyadic_number(value.scale / scale)
        given = [_operand(each) for each in (factor, shift, 0 if offset is None else offset)]
        tensors = [relax.const(each) for each in given if isinstance(each, np.ndarray)]

        def kernel(x, *tensors):
            rest = list(tensors)
            numbers = [rest.pop(0) if isinstance(each, np.ndarray) else each for each in given]
            return kernels.requantize(x, numbers, limit, dtype)

        codes = self.kernel("requantize", kernel, value.codes, *tensors)
        made = Codes(codes, np.asarray(scale, np.float64))
        if offset is None:
            self._scaled[key] = made
        return made

    def narrow(self, var: relax.Var) -> Codes:
        """Return a variable as int8 under one scale, for the array."""
        value = self.codes(var)
        if value.uniform and str(value.codes.ty.dtype) == "int8":
            return value
        return self.scaled(value, step_for(self.largest[hash(var)], BYTE), BYTE)

    def wide(self, var: relax.Var) -> Codes:
        """Return a variable under one scale, with as many bits as it has or 16."""
        value = self.codes(var)
        if value.uniform:
            return value
        return self.scaled(value, step_for(self.largest[hash(var)], WIDE), WIDE)

    def int32(self, value: Codes) -> Codes:
        """Return a value whose codes are int32."""
        if str(value.codes.ty.dtype) == "int32":
            return value
        return Codes(self.emit(op.astype(value.codes, "int32")), value.scale)


def _operand(values) -> int | np.ndarray:
    """Return a number, or int32 by channel."""
    array = np.asarray(values)
    return int(array) if array.ndim == 0 else np.ascontiguousarray(array, np.int32)
