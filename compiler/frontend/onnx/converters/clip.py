"""Clip, as one operator where its bounds are constants: what is fused behind products."""

import numpy as np
import tvm
from tvm import relax

from . import converter


@converter("Clip")
def clip(bb: relax.BlockBuilder, inputs: list, attributes: dict, opset: int) -> relax.Expr:
    """Clip by attributes until opset 10, by optional inputs since; NaN is no bound."""
    x, lowest, highest = [*inputs, None, None][:3]
    if opset < 11:
        lowest, highest = attributes.get("min"), attributes.get("max")
    dtype = str(x.ty.dtype)
    low, high = _number(lowest), _number(highest)
    if dtype == "float32" and low is not None and high is not None:
        if np.isfinite(low) and np.isfinite(high):
            return relax.op.clip(x, low, high)
    elif dtype == "float32" and low == 0 and highest is None:
        return relax.op.nn.relu(x)
    for bound, limit, open_end in (
        (lowest, relax.op.maximum, -np.inf),
        (highest, relax.op.minimum, np.inf),
    ):
        if bound is None:
            continue
        value = bound if isinstance(bound, relax.Expr) else relax.const(bound, dtype)
        if "float" in dtype:
            value = relax.op.where(relax.op.isnan(value), relax.const(open_end, dtype), value)
        x = bb.normalize(limit(x, bb.normalize(value)))
    return x


def _number(bound) -> float | None:
    """Return a bound that is a constant, else None."""
    if isinstance(bound, tvm.ir.GenericConst):
        return float(bound.value.numpy())
    return float(bound) if isinstance(bound, int | float) else None
