"""What an accelerated operator is: the few numbers from which its PrimFunc is made.

A descriptor travels with its PrimFunc as the attribute `ATTRIBUTE`, so that scheduling and
emission need not guess it back from loops. What is done with each kind of descriptor:
`compiler/kinds`.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Protocol

from ..target.formats import (
    ACTIVATION_FORMATS,
    DEFAULT_ACTIVATION,
    MACRO_BLOCK,
    WEIGHT_FORMATS,
)
from ..target.weight import blocks
from .symbolic import Quotient, Symbol, Symbolic, Terms

ATTRIBUTE = "microscopiq.operator"
"""PrimFunc attribute: the text form of its descriptor."""
RECON, REPLAY = OUTLIER_WAYS = ("recon", "replay")
"""How outliers are multiplied: merged by ReCoN, or in array rows of their own."""
FLAGGED_SHARE = 0.038
"""Share of micro-blocks with outliers where weights are unknown: all-MiniLM-L6-v2 has 3.7 % in
`ms4`, 4.2 % in `ms2`."""


class Operator(Protocol):
    """What every kind of operator answers."""

    @property
    def weight_format(self) -> str:
        """Format of constant weights; empty without any."""

    @property
    def two_activations(self) -> bool:
        """It multiplies by an operand that is quantized at run time, like the first."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""

    @property
    def size(self) -> str:
        """Its extents, for tables."""


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
    outliers : bool
        A micro-block of W may hold some; False when it's known that none does.
    flagged : float or None
        Share of W's micro-blocks that hold some, where a schedule asks; None where it's unknown.
    way : str
        How outliers are multiplied, of `OUTLIER_WAYS`; empty: what takes least cycles.
    side_by_side : int
        Groups of the source's convolution that are one group here, along the diagonal of its W;
        what W holds beside them is 0. Their columns have exponents of their own.
    integers : bool
        X and W are whole numbers, and so is Y, in int32: none has exponents or scales.
    by_pixel : bool
        A convolution's pixels are the rows: each has exponents of its own, as those of a linear
        layer, where it would have them by image.
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
    outliers: bool = True
    side_by_side: int = 1
    by_pixel: bool = False
    integers: bool = False
    flagged: float | None = None
    way: str = ""

    @property
    def flagged_share(self) -> float:
        """Share of W's micro-blocks with outliers: the usual one unless it's known."""
        if not self.outliers:
            return 0.0
        return FLAGGED_SHARE if self.flagged is None else self.flagged

    @property
    def group(self) -> int:
        """Input channels whose products make one integer sum."""
        if self.weight_format:
            return WEIGHT_FORMATS[self.weight_format].group
        return ACTIVATION_FORMATS[self.activation].group

    @property
    def groups(self) -> int:
        return blocks(self.k, self.group)

    @property
    def x_exponents(self) -> tuple[int, ...]:
        """Shape of X's exponents: one per row and group, or per image and group of a conv."""
        if self.by_image:
            return (self.batch, self.conv_groups * self.side_by_side)
        return (self.batch, self.m, self.groups)

    @property
    def by_image(self) -> bool:
        """All of an image that a conv's group of channels reads shares an exponent."""
        return self.conv is not None and not self.by_pixel

    @property
    def output_dtype(self) -> str:
        """Type of Y's elements."""
        return "int8" if self.requantize else "int32" if self.integers else "float32"

    @property
    def column_blocks(self) -> int:
        return blocks(self.n, MACRO_BLOCK)

    @property
    def two_activations(self) -> bool:
        return not self.weight_format

    @property
    def clamps(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def macs(self) -> int:
        every = self.batch * self.conv_groups * self.m * self.n * self.k
        return every // self.side_by_side

    @property
    def size(self) -> str:
        """M x N x K, with the batch."""
        batch = self.batch * self.conv_groups
        return (f"{batch} x " if batch > 1 else "") + f"{self.m}x{self.n}x{self.k}"

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
    """fp32 ``(batch, rows, length)`` to int8 and exponents ``(batch, rows, groups)``.

    Attributes
    ----------
    group : int
        Elements that share an exponent; those that a conv's group of channels has of an image are
        one group.
    activation : str
        Row of the activation-format registry: bits of the codes.
    across : bool
        Values and codes lie as ``(batch, length, rows)``: rows are an image's pixels.
    """

    rows: int
    length: int
    group: int
    activation: str = DEFAULT_ACTIVATION
    batch: int = 1
    across: bool = False

    @property
    def groups(self) -> int:
        return blocks(self.length, self.group)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the values and of the codes."""
        if self.across:
            return (self.batch, self.length, self.rows)
        return (self.batch, self.rows, self.length)

    @property
    def strides(self) -> tuple[int, int]:
        """Elements from a row to the next, and from an element of a row to the next."""
        return (1, self.rows) if self.across else (self.length, 1)

    macs, weight_format, two_activations = 0, "", False

    @property
    def size(self) -> str:
        """Rows x length, with the batch."""
        return (f"{self.batch} x " if self.batch > 1 else "") + f"{self.rows}x{self.length}"


@dataclass(frozen=True)
class Access:
    """Where a tensor's elements lie along the axes of a `Part`, in elements.

    Attributes
    ----------
    argument : int
        Which tensor.
    outer : tuple of int
        Strides of the outer axes.
    row, column : int
        Strides of rows and columns; 0 where all share an element.
    far : int
        Stride of the columns' outer axis, where they have two.
    """

    argument: int
    offset: int
    outer: tuple[int, ...]
    row: int
    column: int
    far: int = 0


LOAD, CONSTANT, MAP, REDUCE, GATHER = "load", "constant", "map", "reduce", "gather"


@dataclass(frozen=True)
class Value:
    """One value of a `Part`: a tile, or less where all rows or all columns share it.

    Attributes
    ----------
    kind : str
        LOAD, CONSTANT, MAP, REDUCE or GATHER.
    operation : str
        Of a map or a reduction: a row of `OPERATIONS` or `REDUCTIONS`.
    operands : tuple of int
        Numbers of earlier values; of a gather that of the indices.
    number : float or int
        Of a constant; an int is a word of int32.
    access : Access or None
        Of a load; of a gather where it would start with an index of 0.
    stride, limit : int
        Of a gather: elements between what two indices say, and how many indices there are.
    tall, wide : bool
        It has a number for each row; for each column.
    """

    kind: str
    operation: str = ""
    operands: tuple[int, ...] = ()
    number: float | int = 0.0
    access: Access | None = None
    stride: int = 0
    limit: int = 0
    tall: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Part:
    """Tiles of rows that the vector unit takes through a few steps.

    Attributes
    ----------
    outer : tuple of int
        Extents of the axes around the rows.
    rows, columns : int
    near : int
        Extent of the inner one of two axes that make the columns; as long as they if it's one.
    values : tuple of Value
        In the order in which they are computed; reductions go along columns.
    stores : tuple of (int, Access)
        Which value goes where.
    """

    outer: tuple[int, ...]
    rows: int
    columns: int
    near: int
    values: tuple[Value, ...]
    stores: tuple[tuple[int, Access], ...]

    @property
    def reduces(self) -> bool:
        """Some value needs a whole row."""
        return any(value.kind == REDUCE for value in self.values)

    @property
    def in_pieces(self) -> bool:
        """Its rows may go through the unit in pieces: nothing of a piece waits for the whole row.

        So no value that has a number for each column follows from what is reduced.
        """
        wide = {number for number, value in enumerate(self.values) if value.wide}
        return self.reduces and self.near == self.columns and not wide & self.behind_reductions()

    def behind_reductions(self) -> set[int]:
        """Return the values that need a whole row before them, reductions among them."""
        late: set[int] = set()
        for number, value in enumerate(self.values):
            if value.kind == REDUCE or late & set(value.operands):
                late.add(number)
        return late

    def first_readers(self) -> dict[int, int]:
        """Return which value reads each value first; those that only stores read aren't there."""
        found: dict[int, int] = {}
        for number, value in enumerate(self.values):
            for operand in value.operands:
                found.setdefault(operand, number)
        return found

    @property
    def size(self) -> str:
        """Outer axes, rows and columns."""
        return "x".join(map(str, (*self.outer, self.rows, self.columns)))


@dataclass(frozen=True)
class Vector:
    """What the vector unit does without the array.

    Attributes
    ----------
    arguments : tuple of tuple of int
        Shapes, inputs first.
    dtypes : tuple of str
        Of the same.
    outputs : int
        How many of the last of them are written.
    parts : tuple of Part
        One after the other; each writes elements of its own.
    """

    arguments: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    outputs: int
    parts: tuple[Part, ...]

    macs, weight_format, two_activations = 0, "", False

    @property
    def size(self) -> str:
        """Those of the parts."""
        return " + ".join(part.size for part in self.parts)


def own_sizes(operator):
    """Return a descriptor each of whose numbers that follow sizes is a size of its own.

    So it says nothing of the model's sizes, and equal ones are equal operators.
    """
    fields = {name: value for name, value in vars(operator).items() if isinstance(value, Symbolic)}
    sizes = {name: Symbol(name, 1, int(value)).number for name, value in fields.items()}
    return dataclasses.replace(operator, **sizes) if sizes else operator


def to_attribute(operator) -> str:
    """Return the text form of a descriptor."""
    fields = _plain(dataclasses.asdict(operator))
    return json.dumps({"kind": type(operator).__name__, **fields})


def _plain(value):
    """Return what JSON has a form for: numbers that follow sizes are lists of terms."""
    if isinstance(value, Symbolic):
        return {"number": int(value), "terms": _plain(value.terms)}
    if isinstance(value, Symbol | Quotient):
        return {type(value).__name__: [_plain(each) for each in vars(value).values()]}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def fields_of(text: str) -> dict:
    """Return the fields of the text form of a descriptor, and its `kind`."""
    return json.loads(text, object_hook=_symbolic)


def _symbolic(fields: dict):
    if "terms" in fields:
        return Symbolic(fields["number"], _terms(fields["terms"]))
    if "Symbol" in fields:
        return Symbol(*fields["Symbol"])
    if "Quotient" in fields:
        terms, divisor = fields["Quotient"]
        return Quotient(_terms(terms), divisor)
    return fields


def _terms(given: list) -> Terms:
    return tuple((tuple(product), coefficient) for product, coefficient in given)
