"""What no schedule can beat: a GEMM's cycles from below, by resource.

*Compute* is a cycle for each row and plane, *DMA* each byte of the operands and of the result once
over the bandwidth; both are lower bounds whatever the schedule. So are the others: a row of the
array per cycle when planes are loaded, a network of ReCoN per visit, a lane per element.

A call also takes what nothing overlaps: the first byte crosses the channel, the first plane is
loaded, the last sum leaves the array, the last byte crosses the channel (*latency*).
"""

from dataclasses import dataclass

import numpy as np

from ...target.arch import Arch
from ...target.formats import WEIGHT_FORMATS
from ...target.segment import panel_bytes
from ..operators import Conv, Gemm
from ..tiling.nest import F32
from ..tiling.tile import array_tile, outlier_ways
from ..tiling.work import plane_counts, work_of


@dataclass(frozen=True)
class Bound:
    """Cycles that each resource needs at least; `latency` is what comes on top of any of them."""

    compute: float
    dma: float
    weight_load: float
    recon: float
    vector: float
    latency: float
    latency_dma: float

    @property
    def cycles(self) -> float:
        """The larger of compute and DMA."""
        return max(self.compute, self.dma)

    @property
    def floor(self) -> float:
        """The least cycles of a call, by the resource that needs most of them."""
        return max(self._needs().values())

    def stopper(self, goal: float = 0.95) -> str:
        """Return what keeps a call from reaching a share of `cycles`, "" if nothing does."""
        if self.cycles >= goal * self.floor:
            return ""
        needs = self._needs()
        name = max(needs, key=needs.__getitem__)
        return "latency" if name in ("compute", "dma") else name.replace("_", " ")

    def _needs(self) -> dict[str, float]:
        return {
            "compute": self.compute + self.latency,
            "dma": self.dma + self.latency_dma,
            "weight_load": self.weight_load + self.latency_dma,
            "recon": self.recon + self.latency,
            "vector": self.vector + self.latency_dma,
        }


def bound_of(op: Gemm, arch: Arch, segment: bytes, record: dict) -> Bound:
    """Return what an operator needs on a machine.

    Parameters
    ----------
    segment : bytes
        Its weights.
    record : dict
        The call record of any schedule: how often rows visit ReCoN depends on the weights alone.
    """
    outside, results = op.batch * op.conv_groups, op.batch * op.conv_groups * op.m * op.n
    planes_k, planes_n = plane_counts(op, arch)
    array_n, array_k = array_tile(op, arch)
    extra = op.bias + op.residual + (op.low is not None or op.high is not None) + 2 * op.requantize
    strips = 1
    if arch.recon_segment_columns and op.weight_format:
        columns = arch.columns(WEIGHT_FORMATS[op.weight_format].pe_bits)
        strips = max(1, columns // arch.recon_segment_columns)
    visits = record["recon"]["passes"] / max(1, arch.recon_units * strips)
    if len(outlier_ways(op, arch)) > 1:
        # Another schedule has no visits at all.
        visits = 0
    latency = arch.dram_latency_cycles
    bandwidth, lanes = arch.dram_bandwidth_bytes_per_cycle, arch.vector_lanes
    last = (op.k % array_k or array_k) + (op.n % array_n or array_n) - 2
    return Bound(
        compute=outside * op.m * planes_k * planes_n,
        dma=least_bytes(op, segment) / bandwidth if bandwidth else 0,
        weight_load=outside * work_of(op, arch).load_cycles,
        recon=visits,
        vector=results * (op.groups + extra) / lanes if lanes else 0,
        latency=2 * latency
        + arch.load_cycles(min(array_k, op.k))
        + last
        + arch.vector_latency_cycles,
        latency_dma=latency,
    )


def least_bytes(op: Gemm, segment: bytes) -> int:
    """Return the bytes of all operands, as far as they are used, and of the result."""
    outside = op.batch * op.conv_groups
    inputs = outside * (_pixels(op.conv) if op.conv else op.m * op.k)
    inputs += op.batch * (1 if op.by_image else op.m * op.groups)
    if op.weight_format:
        weights = int(panel_bytes(segment).sum())
    else:
        weights = op.batch * op.n * (op.k + op.groups)
    results = outside * op.m * op.n
    stored = results * (1 if op.requantize else F32) + op.requantize * outside * op.m * (
        op.column_blocks
    )
    extra = op.bias * op.conv_groups * op.n * F32 + op.residual * results * F32
    return inputs + weights + stored + extra


def _pixels(conv: Conv) -> int:
    """Return the elements of an image that any window covers."""

    def used(size, out, kernel, stride, dilation, pad):
        taps = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - pad
        return len(np.unique(taps[(taps >= 0) & (taps < size)]))

    rows = used(conv.height, conv.out_height, conv.kernel_h, conv.stride_h, conv.dilation_h,
                conv.pad_top)  # fmt: skip
    cols = used(conv.width, conv.out_width, conv.kernel_w, conv.stride_w, conv.dilation_w,
                conv.pad_left)  # fmt: skip
    return conv.channels * rows * cols
