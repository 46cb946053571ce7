"""Round to nearest, symmetric, one fp16 scale per output channel and group of 128 inputs."""

import numpy as np

from ....target.formats import GROUP_SIZE, WEIGHT_FORMATS
from ....target.packing import QuantizedWeight, blocks
from ..base import method


@method("rtn", formats=("int4", "int8"))
def rtn(weight: np.ndarray, format_name: str) -> tuple[QuantizedWeight, dict[str, int]]:
    """Quantize ``(out, in)`` to the nearest code of ``scale = max|w| / q_max`` per group."""
    row = WEIGHT_FORMATS[format_name]
    out, inputs = weight.shape
    groups = blocks(inputs, GROUP_SIZE)
    padded = np.zeros((out, groups * GROUP_SIZE), np.float32)
    padded[:, :inputs] = weight
    grouped = padded.reshape(out, groups, GROUP_SIZE)
    largest = np.abs(grouped).max(axis=2)
    # fp16 has a floor: a scale that rounds to zero would divide by zero.
    tiny = np.float32(np.finfo(np.float16).smallest_subnormal)
    scale = np.clip(largest / row.q_max, tiny, np.finfo(np.float16).max).astype(np.float16)
    q = np.rint(grouped / scale.astype(np.float32)[:, :, None])
    clipped = int((np.abs(q) > row.q_max).sum())
    codes = np.clip(q, -row.q_max, row.q_max).astype(np.int8).reshape(out, -1)[:, :inputs]
    slots = codes.view(np.uint8) & ((1 << row.bits) - 1)
    weight_q = QuantizedWeight(format_name, np.ascontiguousarray(slots), scale=scale.T.copy())
    return weight_q, {"saturated": clipped}
