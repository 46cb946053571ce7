"""What only moves, repeats or looks up elements, and what makes integers a value of fp32."""

import numpy as np
from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ....partition.graph import shape_of
from ..codes import Codes, step_for
from ..emission import WIDE, Emission
from ..reference import MOST
from .registry import rule
from .truths import int32_of


@rule(
    "reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice", "broadcast_to",
    "tile", "repeat", "flip",
)  # fmt: skip
def moved(emission: Emission, _var, call) -> Codes:
    """Move integers under one scale."""
    value = emission.wide(call.args[0])
    return Codes(emission.emit(_with(call, value.codes)), value.scale, value.limit)


def _with(call: relax.Call, *codes: relax.Expr) -> relax.Call:
    """Return a call with other first operands; of what type it is follows from them."""
    return relax.Call(call.op, [*codes, *call.args[len(codes) :]], call.attrs)


@rule("split")
def split(emission: Emission, _var, call) -> list[Codes]:
    """Cut integers under one scale."""
    value = emission.wide(call.args[0])
    parts = emission.emit(_with(call, value.codes))
    return [
        Codes(emission.emit(relax.TupleGetItem(parts, at)), value.scale, value.limit)
        for at in range(len(parts.ty.fields))
    ]


@rule("nn.pad")
def pad(emission: Emission, var, call) -> Codes:
    """Move integers, and put the integer of the padding's number around them."""
    mode, number = str(call.attrs.pad_mode), float(call.attrs.pad_value)
    value = emission.wide(call.args[0])
    if mode == "constant" and number:
        value = emission.scaled(value, step_for(emission.range(var), WIDE), WIDE)
        number = float(np.clip(np.rint(number / value.scale), -WIDE, WIDE))
    width = [int(each) for each in call.attrs.pad_width]
    padded = emission.emit(op.nn.pad(value.codes, width, pad_value=number, pad_mode=mode))
    return Codes(padded, value.scale, value.limit)


@rule("concat")
def concat(emission: Emission, var, call) -> Codes:
    """Put integers under one scale side by side."""
    fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else None
    if fields is None:
        raise UnsupportedError("allowed: operands one by one")
    scale = step_for(emission.range(var), WIDE)
    parts = [emission.scaled(emission.codes(each), scale, WIDE) for each in fields]
    joined = op.concat([part.codes for part in parts], call.attrs.axis)
    return Codes(emission.emit(joined), parts[0].scale, WIDE)


@rule("take")
def take(emission: Emission, _var, call) -> Codes:
    """Look up integers, those of a constant table in 16 bits."""
    table, indices, *rest = call.args
    numbers = emission.known(table)
    if numbers is None:
        value = emission.wide(table)
    else:
        scale = step_for(float(np.abs(numbers).max(initial=0)), WIDE)
        codes = np.rint(numbers / scale).astype(np.int16)
        value = Codes(relax.const(codes, "int16"), np.asarray(scale), WIDE)
    found = relax.Call(call.op, [value.codes, emission.of(indices), *rest], call.attrs)
    return emission.int32(Codes(emission.emit(found), value.scale, value.limit))


@rule("astype")
def taken(emission: Emission, _var, call) -> Codes:
    """Take integers for themselves: their scale is 1."""
    source = call.args[0]
    dtype = str(source.ty.dtype)
    if dtype == "float32":
        return emission.codes(source)
    kinds = {"bool": 1, "int8": 128, "uint8": 255, "int16": 1 << 15, "int32": MOST, "int64": MOST}
    if dtype not in kinds:
        raise UnsupportedError(f"{dtype} as fp32; allowed: {', '.join(kinds)}")
    return Codes(int32_of(emission, source), np.asarray(1.0), kinds[dtype])


@rule("full", "zeros", "ones")
def filled(_emission: Emission, var, _call) -> Codes:
    """Name what is allowed instead."""
    raise UnsupportedError(f"a tensor {shape_of(var)} made at run time; allowed: a constant")
