"""What an accelerated operator is: the few numbers from which its PrimFunc is made.

A descriptor travels with its PrimFunc as the attribute `ATTRIBUTE`, so that scheduling and
emission need not guess it back from loops.
"""

import dataclasses
import json
from dataclasses import dataclass

from ..target.formats import DEFAULT_ACTIVATION, GROUP_SIZE
from ..target.packing import blocks

ATTRIBUTE = "microscopiq.operator"


@dataclass(frozen=True)
class Conv:
    """Geometry of a 2-D convolution seen as a GEMM over im2col rows (NCHW, OIHW)."""

    channels: int
    height: int
    width: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    pad_bottom: int
    pad_right: int
    dilation_h: int
    dilation_w: int

    @property
    def out_height(self) -> int:
        span = self.dilation_h * (self.kernel_h - 1) + 1
        return (self.height + self.pad_top + self.pad_bottom - span) // self.stride_h + 1

    @property
    def out_width(self) -> int:
        span = self.dilation_w * (self.kernel_w - 1) + 1
        return (self.width + self.pad_left + self.pad_right - span) // self.stride_w + 1


@dataclass(frozen=True)
class Gemm:
    """``Y[i, c, m, n] = sum_k X[i, c, m, k] W[c or i, n, k]`` and what is fused behind it.

    Attributes
    ----------
    batch, conv_groups : int
        Index i (images of a conv, batch times heads of an attention) and index c.
    m, n, k : int
        Rows, output channels of one conv group, and reduction length.
    weight_format : str
        Row of the format registry; empty when W is an activation quantized at run time, which
        then has shape ``(batch, n, k)``.
    bias, residual : bool
        Add fp32 ``(conv_groups * n,)`` and a tensor of the output's shape.
    low, high : float or None
        Clamp of the result: ReLU is (0, None), ReLU6 (0, 6).
    requantize : bool
        Give int8 rows and exponents instead of fp32, for an operator that reads nothing else.
    activation : str
        Row of the activation-format registry: what X holds, W without a weight format, and
        requantized rows.
    """

    batch: int
    conv_groups: int
    m: int
    n: int
    k: int
    weight_format: str
    conv: Conv | None = None
    bias: bool = False
    residual: bool = False
    low: float | None = None
    high: float | None = None
    requantize: bool = False
    activation: str = DEFAULT_ACTIVATION

    @property
    def groups(self) -> int:
        """Groups of 128 input channels, each with one integer sum."""
        return blocks(self.k, GROUP_SIZE)

    @property
    def column_blocks(self) -> int:
        return blocks(self.n, GROUP_SIZE)

    @property
    def macs(self) -> int:
        return self.batch * self.conv_groups * self.m * self.n * self.k

    @property
    def output_shape(self) -> tuple[int, ...]:
        if self.conv:
            return (
                self.batch,
                self.conv_groups * self.n,
                self.conv.out_height,
                self.conv.out_width,
            )
        return (self.batch, self.m, self.n)


@dataclass(frozen=True)
class Quantize:
    """fp32 ``(rows, length)`` to int8 and one exponent per (row, group).

    Attributes
    ----------
    group : int
        Elements that share an exponent; a conv's image is one group.
    activation : str
        Row of the activation-format registry: bits of the codes.
    """

    rows: int
    length: int
    group: int
    activation: str = DEFAULT_ACTIVATION

    @property
    def groups(self) -> int:
        return blocks(self.length, self.group)

    macs = 0


Operator = Gemm | Quantize


def to_attribute(operator: Operator) -> str:
    """Return the text form of a descriptor."""
    return json.dumps({"kind": type(operator).__name__, **dataclasses.asdict(operator)})


def from_attribute(text: str) -> Operator:
    """Return the descriptor of a text form."""
    fields = json.loads(text)
    kind = fields.pop("kind")
    if kind == "Quantize":
        return Quantize(**fields)
    conv = fields.pop("conv")
    return Gemm(**fields, conv=Conv(**conv) if conv else None)
