"""The instruction set. This is the only file to edit to change it.

Encoder, decoder, printer, the C++ header and the docs table are derived from these classes.
Addresses on the chip are in bytes from the start of the named memory; off-chip addresses are in
bytes from the start of the function argument or of the function's weight segment. `rows` and
`cols` name extent registers, set by `clip`; an instruction whose extent is 0 does nothing.
"""

from ..conversions import CONVERSIONS
from ..formats import ACTIVATION_BITS
from ..vector_operations import OPERATIONS, REDUCTIONS
from .spec import (
    AFFINE,
    ARG,
    EXTENT,
    F32,
    I32,
    I64,
    MEM,
    SEMAPHORES,
    U8,
    U16,
    U32,
    UNIT,
    Instruction,
    Unit,
    instruction,
    operand,
)


@instruction(0x01, "loop", Unit.CONTROL)
class Loop(Instruction):
    """Repeat the instructions up to the matching `endloop`."""

    count: int = operand(U32, "iterations", least=1)


@instruction(0x02, "endloop", Unit.CONTROL)
class EndLoop(Instruction):
    """End of the innermost open loop."""


@instruction(0x03, "clip", Unit.CONTROL)
class Clip(Instruction):
    """Set an extent register to min(tile, limit - start), at least 0: trims ragged edges."""

    extent: int = operand(EXTENT, "register to set")
    tile: int = operand(U32, "largest value")
    limit: int = operand(U32, "end of the dimension")
    start: object = operand(AFFINE, "start of this tile in the dimension")


@instruction(0x04, "sem", Unit.CONTROL)
class Sem(Instruction):
    """Give a semaphore its first count: the free slots of a buffer."""

    sem: int = operand(U8, "semaphore", allowed=range(SEMAPHORES))
    value: int = operand(U16, "count")


@instruction(0x05, "wait", None)
class Wait(Instruction):
    """Hold a unit's queue until the semaphore is above 0, then take one."""

    queue: int = operand(UNIT, "unit that waits")
    sem: int = operand(U8, "semaphore", allowed=range(SEMAPHORES))


@instruction(0x06, "post", None)
class Post(Instruction):
    """Add one to a semaphore once the unit finished everything before, or has read it all."""

    queue: int = operand(UNIT, "unit that posts")
    sem: int = operand(U8, "semaphore", allowed=range(SEMAPHORES))
    after: int = operand(
        U8,
        "0: results are there; 1: operands were read, their place is free",
        0,
        allowed=range(2),
    )


@instruction(0x07, "end", Unit.CONTROL)
class End(Instruction):
    """End of the function: waits until every unit is idle."""


@instruction(0x08, "break", Unit.CONTROL)
class Break(Instruction):
    """Leave the innermost loop, and go on behind its `endloop`, if an extent is 0."""

    extent: int = operand(EXTENT, "register that decides")


ELEMENTS = (1, 2, 4, 8)
"""Bytes of an element in DRAM."""
CONVERT_CODES = range(len(CONVERSIONS) + 1)


@instruction(0x10, "dma.load", Unit.DMA_IN, reads=("dram",), writes=("mem",))
class DmaLoad(Instruction):
    """Copy a strided box of an argument into an on-chip memory, row by row.

    With `convert` each element becomes a word of int32 in obuf.
    """

    mem: int = operand(MEM, "destination memory")
    dst: object = operand(AFFINE, "destination of element (0, 0)")
    dst_pitch: int = operand(U32, "bytes between destination rows")
    arg: int = operand(ARG, "function argument")
    src: object = operand(AFFINE, "source of element (0, 0)")
    src_pitch: int = operand(I64, "bytes between source rows")
    src_step: int = operand(I32, "bytes between source elements of a row")
    element: int = operand(U8, "bytes of an element", allowed=ELEMENTS)
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "elements of a row")
    convert: int = operand(U8, "elements in DRAM, 0: as on the chip", 0, allowed=CONVERT_CODES)


@instruction(0x11, "dma.im2col", Unit.DMA_IN, reads=("dram",), writes=("mem",))
class DmaIm2col(Instruction):
    """Gather rows of the im2col matrix of an int8 CHW image; outside the image is 0.

    Row m is the output pixel (m / out_width, m % out_width); column k is
    (channel, kernel row, kernel column) = (k / (kh*kw), k / kw % kh, k % kw).
    """

    mem: int = operand(MEM, "destination memory")
    dst: object = operand(AFFINE, "destination of element (0, 0)")
    dst_pitch: int = operand(U32, "bytes between destination rows")
    arg: int = operand(ARG, "function argument")
    src: object = operand(AFFINE, "first pixel of the first channel")
    row0: object = operand(AFFINE, "first row m")
    col0: object = operand(AFFINE, "first column k")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    height: int = operand(U16, "image rows", least=1)
    width: int = operand(U16, "image columns", least=1)
    out_width: int = operand(U16, "output columns", least=1)
    kernel_h: int = operand(U16, "kernel rows", least=1)
    kernel_w: int = operand(U16, "kernel columns", least=1)
    stride_h: int = operand(U16, "row stride", least=1)
    stride_w: int = operand(U16, "column stride", least=1)
    pad_top: int = operand(U16, "zero rows above")
    pad_left: int = operand(U16, "zero columns to the left")
    dilation_h: int = operand(U16, "kernel row dilation", least=1)
    dilation_w: int = operand(U16, "kernel column dilation", least=1)


@instruction(0x12, "dma.weight", Unit.DMA_IN, reads=("dram",), writes=("wbuf",))
class DmaWeight(Instruction):
    """Copy one packed weight panel; the directory of the weight segment says where it lies."""

    dst: object = operand(AFFINE, "destination in wbuf")
    panel: object = operand(AFFINE, "panel number")
    capacity: int = operand(U32, "bytes of the destination slot; a larger panel is an error")


@instruction(0x13, "dma.gather", Unit.DMA_IN, reads=("dram", "obuf"), writes=("mem",))
class DmaGather(Instruction):
    """Copy rows of an argument into an on-chip memory, each where an index in obuf says.

    Row r starts at `src + index[r] * src_pitch`. An index outside of 0 to `limit` - 1 ends the run.
    """

    mem: int = operand(MEM, "destination memory")
    dst: object = operand(AFFINE, "destination of element (0, 0)")
    dst_pitch: int = operand(U32, "bytes between destination rows")
    arg: int = operand(ARG, "function argument")
    src: object = operand(AFFINE, "source of column 0 for index 0")
    src_pitch: int = operand(I64, "bytes between the sources of neighbouring indices")
    src_step: int = operand(I32, "bytes between source elements of a row")
    element: int = operand(U8, "bytes of an element", allowed=ELEMENTS)
    index: object = operand(AFFINE, "int32 index of row 0 in obuf")
    index_pitch: int = operand(U32, "bytes between indices; 0: one for all rows")
    limit: int = operand(U32, "indices that there are", least=1)
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "elements of a row")
    convert: int = operand(U8, "elements in DRAM, 0: as on the chip", 0, allowed=CONVERT_CODES)


@instruction(0x18, "dma.store", Unit.DMA_OUT, reads=("mem",), writes=("dram",))
class DmaStore(Instruction):
    """Copy a box of an on-chip memory to a strided box of an argument.

    With `convert` the box is of words in obuf, and each becomes an element.
    """

    arg: int = operand(ARG, "function argument")
    dst: object = operand(AFFINE, "destination of element (0, 0)")
    dst_pitch: int = operand(I64, "bytes between destination rows")
    dst_step: int = operand(I32, "bytes between destination elements of a row")
    mem: int = operand(MEM, "source memory")
    src: object = operand(AFFINE, "source of element (0, 0)")
    src_pitch: int = operand(U32, "bytes between source rows")
    element: int = operand(U8, "bytes of an element", allowed=ELEMENTS)
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "elements of a row")
    convert: int = operand(U8, "elements in DRAM, 0: as on the chip", 0, allowed=CONVERT_CODES)


@instruction(0x20, "preload", Unit.WLOAD, reads=("wbuf",), writes=("plane",))
class Preload(Instruction):
    """Decode a part of a weight panel into a weight plane of the array (dense slots, Isf).

    An extent of 0 leaves an empty plane: `matmul` on it does nothing. So does `preload.rows`.
    """

    plane: object = operand(AFFINE, "number of a weight plane")
    src: object = operand(AFFINE, "panel in wbuf")
    format: int = operand(U8, "weight format; the panel's header must agree")
    row0: object = operand(AFFINE, "first panel row (input channel)")
    col0: object = operand(AFFINE, "first panel column (output channel)")
    rows: int = operand(EXTENT, "array rows in use")
    cols: int = operand(EXTENT, "array columns in use")


@instruction(0x21, "preload.rows", Unit.WLOAD, reads=("wbuf",), writes=("plane",))
class PreloadRows(Instruction):
    """Load an int8 operand quantized at run time, stored (column n, row k), into a plane."""

    plane: object = operand(AFFINE, "number of a weight plane")
    src: object = operand(AFFINE, "element (n=0, k=0) in wbuf")
    src_pitch: int = operand(U32, "bytes between columns n")
    rows: int = operand(EXTENT, "array rows in use (k)")
    cols: int = operand(EXTENT, "array columns in use (n)")


@instruction(0x22, "preload.replay", Unit.WLOAD, reads=("wbuf",), writes=("plane",))
class PreloadReplay(Instruction):
    """Decode rows of an unfolded panel into a plane: outliers in rows of their own, not merged.

    An unfolded panel has the panel's rows, in which slots of outliers count 0, and behind them the
    rows of the outliers: for each input with outliers, and each of their exponents, a row for each
    of their digits, the lowest first. Each `replay_columns` columns list inputs of their own.
    `matmul` takes the activations that the rows list, from the panel's first input on. Rows past
    the end aren't there; where none is left, the plane is empty.
    """

    plane: object = operand(AFFINE, "number of a weight plane")
    src: object = operand(AFFINE, "panel in wbuf")
    format: int = operand(U8, "weight format; the panel's header must agree")
    row0: object = operand(AFFINE, "first row of the unfolded panel")
    col0: object = operand(AFFINE, "first panel column (output channel)")
    rows: int = operand(EXTENT, "array rows at most")
    cols: int = operand(EXTENT, "array columns in use")


@instruction(0x28, "recon.config", Unit.RECON, reads=("wbuf",), writes=("plane",))
class ReconConfig(Instruction):
    """Expand the permutation lists of a part of a panel into ReCoN's merges for a plane.

    A plane with outlier rows can't be used by `matmul` before this.
    """

    plane: object = operand(AFFINE, "number of a weight plane")
    src: object = operand(AFFINE, "panel in wbuf")
    format: int = operand(U8, "weight format; the panel's header must agree")
    row0: object = operand(AFFINE, "first panel row")
    col0: object = operand(AFFINE, "first panel column")
    rows: int = operand(EXTENT, "array rows in use")
    cols: int = operand(EXTENT, "array columns in use")


@instruction(0x30, "matmul", Unit.ARRAY, reads=("spad", "plane", "acc"), writes=("acc",))
class Matmul(Instruction):
    """Stream int8 activation rows through a weight plane into int32 accumulators."""

    plane: object = operand(AFFINE, "number of a weight plane")
    src: object = operand(AFFINE, "activation (row 0, array row 0) in spad")
    src_pitch: int = operand(U32, "bytes between activation rows")
    dst: object = operand(AFFINE, "accumulator (row 0, array column 0) in acc")
    dst_pitch: int = operand(U32, "bytes between accumulator rows")
    rows: int = operand(EXTENT, "activation rows")
    accumulate: object = operand(AFFINE, "0: overwrite, else add to what is there")


@instruction(0x40, "drain", Unit.VECTOR, reads=("acc", "wbuf", "spad", "obuf"), writes=("obuf",))
class Drain(Instruction):
    """obuf = [obuf +] fp32(acc) * weight scale * 2^(activation exponent).

    Weight scales are read from the panel (`format` of a weight format) or, for format 0, as
    int8 exponents `wscale_pitch` bytes apart.
    """

    dst: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between obuf rows")
    src: object = operand(AFFINE, "int32 (row 0, column 0) in acc")
    src_pitch: int = operand(U32, "bytes between acc rows")
    format: int = operand(U8, "weight format, 0 for an operand quantized at run time")
    wscale: object = operand(AFFINE, "panel, or first exponent, in wbuf")
    wscale_pitch: int = operand(U32, "bytes between exponents (format 0)")
    xexp: object = operand(AFFINE, "int8 exponent of row 0 in spad")
    xexp_pitch: int = operand(U32, "bytes between the exponents of rows; 0: one for all")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    accumulate: object = operand(AFFINE, "0: overwrite, else add to what is there")
    xexp_cols: int = operand(U32, "columns for each exponent of a row; 0: one exponent for all", 0)


@instruction(0x41, "add", Unit.VECTOR, reads=("obuf",), writes=("obuf",))
class Add(Instruction):
    """obuf[dst] += obuf[src] in fp32: bias (pitch 0 repeats one row) or residual."""

    dst: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between destination rows")
    src: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    src_pitch: int = operand(U32, "bytes between source rows; 0: one row for all")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x42, "clamp", Unit.VECTOR, reads=("obuf",), writes=("obuf",))
class Clamp(Instruction):
    """obuf = min(max(obuf, low), high) in fp32: ReLU (0, inf), ReLU6 (0, 6)."""

    dst: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between rows")
    low: float = operand(F32, "lower bound")
    high: float = operand(F32, "upper bound")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x43, "absmax", Unit.VECTOR, reads=("obuf", "spad"), writes=("spad",))
class Absmax(Instruction):
    """Set (or raise) the int8 exponent of each row: floor(log2 max|x|) - (bits - 2), >= -126."""

    dst: object = operand(AFFINE, "int8 exponent of row 0 in spad")
    dst_pitch: int = operand(U32, "bytes between exponents; 0: one for all rows")
    src: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    src_pitch: int = operand(U32, "bytes between obuf rows")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    accumulate: object = operand(AFFINE, "0: start anew, else keep the larger exponent")
    bits: int = operand(U8, "bits of the codes that the exponent is for", allowed=ACTIVATION_BITS)


@instruction(0x44, "quant", Unit.VECTOR, reads=("obuf", "spad"), writes=("spad",))
class Quant(Instruction):
    """spad = clip(round_half_even(x * 2^-exponent), -q, q) as int8, q = 2^(bits - 1) - 1."""

    dst: object = operand(AFFINE, "int8 (row 0, column 0) in spad")
    dst_pitch: int = operand(U32, "bytes between destination rows")
    exponent: object = operand(AFFINE, "int8 exponent of row 0 in spad")
    exponent_pitch: int = operand(U32, "bytes between exponents; 0: one for all rows")
    src: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    src_pitch: int = operand(U32, "bytes between obuf rows")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    bits: int = operand(
        U8, "bits of a code; fewer than 8 are sign-extended", allowed=ACTIVATION_BITS
    )


STEPS = (0, 4)
"""Bytes between the elements of an operand's row: one word for all of them, or one for each."""
MAP_CODES = range(1, len(OPERATIONS) + 1)
REDUCE_CODES = range(1, len(REDUCTIONS) + 1)
PARTIAL_CODES = tuple(row.code for row in REDUCTIONS.values() if row.inputs == (row.output,))


@instruction(0x45, "drain.int", Unit.VECTOR, reads=("acc", "obuf"), writes=("obuf",))
class DrainInt(Instruction):
    """obuf = [obuf +] acc in int32, which wraps around: sums that no scale belongs to."""

    dst: object = operand(AFFINE, "int32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between obuf rows")
    src: object = operand(AFFINE, "int32 (row 0, column 0) in acc")
    src_pitch: int = operand(U32, "bytes between acc rows")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    accumulate: object = operand(AFFINE, "0: overwrite, else add to what is there")


@instruction(0x48, "fill", Unit.VECTOR, writes=("obuf",))
class Fill(Instruction):
    """obuf = value: constants that further instructions read."""

    dst: object = operand(AFFINE, "fp32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between rows")
    value: float = operand(F32, "the number")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x4B, "fill.int", Unit.VECTOR, writes=("obuf",))
class FillInt(Instruction):
    """obuf = value: the same of int32."""

    dst: object = operand(AFFINE, "int32 (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between rows")
    value: int = operand(I32, "the number")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x49, "map", Unit.VECTOR, reads=("obuf",), writes=("obuf",))
class Map(Instruction):
    """obuf[dst] = operation(obuf[a], obuf[b], obuf[c]), element by element.

    An operand is a tile, a row (pitch 0), a column (step 0) or a scalar (both). Those that an
    operation has no use for aren't read; their pitch and step are 0. The result may take the place
    of an operand, but overlap none. Operands without a result (a division by 0) end the run.
    """

    operation: int = operand(U8, "what is computed", allowed=MAP_CODES)
    dst: object = operand(AFFINE, "word (row 0, column 0) in obuf")
    dst_pitch: int = operand(U32, "bytes between rows")
    a: object = operand(AFFINE, "first operand in obuf")
    a_pitch: int = operand(U32, "bytes between its rows; 0: one row for all")
    a_step: int = operand(U8, "bytes between its columns; 0: one for all", allowed=STEPS)
    b: object = operand(AFFINE, "second operand in obuf")
    b_pitch: int = operand(U32, "bytes between its rows")
    b_step: int = operand(U8, "bytes between its columns", allowed=STEPS)
    c: object = operand(AFFINE, "third operand in obuf")
    c_pitch: int = operand(U32, "bytes between its rows")
    c_step: int = operand(U8, "bytes between its columns", allowed=STEPS)
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x4A, "reduce", Unit.VECTOR, reads=("obuf",), writes=("obuf",))
class Reduce(Instruction):
    """obuf[dst] = sum, largest or smallest of each row of obuf[src], or where that stands.

    Element n goes to partial result n mod 16, and the partial results are put together in order:
    the same bits with any number of lanes.
    """

    operation: int = operand(U8, "what is computed", allowed=REDUCE_CODES)
    dst: object = operand(AFFINE, "word of row 0 in obuf")
    dst_pitch: int = operand(U32, "bytes between results")
    src: object = operand(AFFINE, "word (row 0, column 0) in obuf")
    src_pitch: int = operand(U32, "bytes between rows")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")


@instruction(0x4C, "reduce.part", Unit.VECTOR, reads=("obuf",), writes=("obuf",))
class ReducePart(Instruction):
    """obuf[dst] = the 16 partial results of each row of obuf[src], from those that are there on.

    A row longer than obuf goes through it in pieces, each but the last of a multiple of 16 columns;
    `reduce` of the partial results gives what it would have given of the whole.
    """

    operation: int = operand(U8, "what is computed", allowed=PARTIAL_CODES)
    dst: object = operand(AFFINE, "16 words of row 0 in obuf")
    dst_pitch: int = operand(U32, "bytes between the results of rows")
    src: object = operand(AFFINE, "word (row 0, column 0) in obuf")
    src_pitch: int = operand(U32, "bytes between rows")
    rows: int = operand(EXTENT, "rows")
    cols: int = operand(EXTENT, "columns")
    accumulate: object = operand(AFFINE, "0: start anew, else go on")
