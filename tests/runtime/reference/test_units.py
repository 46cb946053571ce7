"""runtime/reference/units.py against the C++ core: one instruction, random legal operands.

All memories are filled, one thing happens, all memories are compared.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.arch import load_arch
from microscopiq.target.formats import ACTIVATION_BITS, MICRO_BLOCK, ROWS_INT8, WEIGHT_FORMATS
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function
from microscopiq.target.isa.spec import Affine, Instruction, Mem
from microscopiq.target.packing import pack
from tests.distinct_formats import DISTINCT, method_of
from tests.runtime.ordered import ordered

TINY = load_arch("tiny-4x4")
SIZES = {Mem.SPAD: 8192, Mem.WBUF: 4096, Mem.ACC: 4096, Mem.OBUF: 4096}
"""Bytes of each memory that are filled, used and compared."""
PANEL = 100
"""Where in wbuf a test puts its panel; exponents lie before it."""
quick = settings(max_examples=25)


def panel_bytes(name: str, out: int, inputs: int, seed: int) -> np.ndarray:
    """Return a panel with outliers whose rows differ in scale."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_t(3, (out, inputs)) * np.exp2(rng.integers(-6, 7, inputs))
    weight, _ = quantize_weight(method_of(name), matrix.astype(np.float32), name, "random")
    return np.frombuffer(pack([weight]), np.int8)[12:]


def around(
    code: list[Instruction], extra: tuple[Argument, ...] = (), weights: bytes = b""
) -> Function:
    """Return a function that loads every memory, runs the code and stores every memory."""
    inputs = [Argument(mem.name, "int8", (length,)) for mem, length in SIZES.items()]
    outputs = [dataclasses.replace(argument, is_output=True) for argument in (*inputs, *extra)]
    loads, stores, zero = [isa.Clip(15, 1, 1, Affine())], [], Affine()
    for number, (mem, length) in enumerate(SIZES.items()):
        clip, target = isa.Clip(14, length, length, zero), len(SIZES) + number
        loads += [clip, isa.DmaLoad(mem, zero, 0, number, zero, 0, 1, 1, 15, 14)]
        stores += [clip, isa.DmaStore(target, zero, 0, 1, mem, zero, 0, 1, 15, 14)]
    whole = (*ordered([*loads, *code, *stores]), isa.End())
    return Function("one", "test", (*inputs, *outputs), whole, weights)


EXTRA = 2 * len(SIZES)
"""Number of the argument that follows those of `around`."""


def contents(seed: int) -> list[np.ndarray]:
    """Return bytes for each memory: exponents at the start, finite floats in obuf."""
    rng = np.random.default_rng(seed)
    filled = [rng.integers(-128, 128, length, dtype=np.int8) for length in SIZES.values()]
    filled[Mem.SPAD][:100] = rng.integers(-126, 122, 100)
    filled[Mem.WBUF][:PANEL] = rng.integers(-126, 128, PANEL)
    count = SIZES[Mem.OBUF] // 4
    values = rng.standard_normal(count) * np.exp2(rng.integers(-150, 120, count))
    values[rng.random(count) < 0.1] = 0
    halves = rng.random(count) < 0.3
    values[halves] = rng.integers(-300, 300, halves.sum()) / 2
    filled[Mem.OBUF] = values.astype(np.float32).view(np.int8)
    return filled


def clips(rows: int, cols: int) -> list[Instruction]:
    zero = Affine()
    return [isa.Clip(0, rows, rows, zero), isa.Clip(1, cols, cols, zero)]


@st.composite
def boxes(draw, element: int, start: int = 0, end: int = 4096, width: int = 40):
    """Return (rows, cols, base, pitch) of a box that lies inside and doesn't overlap itself."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, width))
    pitch = element * (cols + draw(st.integers(0, 9)))
    free = end - start - (rows - 1) * pitch - cols * element
    return rows, cols, start + element * draw(st.integers(0, free // element)), pitch


bits = st.integers(0, 1)
seeds = st.integers(0, 1 << 32)


@quick
@given(
    boxes(4, width=30), st.sampled_from([None, *DISTINCT]), bits, bits, st.integers(0, 31),
    seeds,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_drain(core, box, name, accumulate, spread, shared, seed):
    rows, cols, dst, pitch = box
    filled = contents(seed)
    code, scales = ROWS_INT8, Affine(3)
    if name:
        panel = panel_bytes(name, 30, 5, seed)
        filled[Mem.WBUF][PANEL : PANEL + len(panel)] = panel
        code, scales = WEIGHT_FORMATS[name].code, Affine(PANEL)
    source, exponents = Affine(seed % 512 * 4), Affine(7)
    drain = isa.Drain(
        Affine(dst), pitch, source, 256, code, scales, 2, exponents, spread, 0, 1,
        Affine(accumulate), shared,
    )  # fmt: skip
    core(around([*clips(rows, cols), drain]), TINY, filled)


@quick
@given(boxes(4, width=30), bits, seeds)
def test_drain_of_integers(core, box, accumulate, seed):
    rows, cols, dst, pitch = box
    drain = isa.DrainInt(Affine(dst), pitch, Affine(seed % 512 * 4), 256, 0, 1, Affine(accumulate))
    core(around([*clips(rows, cols), drain]), TINY, contents(seed))


@quick
@given(boxes(4, end=2048), st.integers(0, 200), bits, bits, seeds)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_add(core, box, source, repeat, same, seed):
    rows, cols, dst, pitch = box
    src, src_pitch = (dst, pitch) if same else (2048 + 4 * source, 0 if repeat else 160)
    add = isa.Add(Affine(dst), pitch, Affine(src), src_pitch, 0, 1)
    core(around([*clips(rows, cols), add]), TINY, contents(seed))


@quick
@given(boxes(4), st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False), seeds)
def test_clamp(core, box, low, high, seed):
    rows, cols, dst, pitch = box
    clamp = isa.Clamp(Affine(dst), pitch, low, high, 0, 1)
    core(around([*clips(rows, cols), clamp]), TINY, contents(seed))


@quick
@given(
    boxes(4), st.integers(0, 3), st.integers(0, 60), bits, st.sampled_from(ACTIVATION_BITS), seeds
)
def test_absmax_and_quant(core, box, exponent_pitch, first, accumulate, code_bits, seed):
    rows, cols, address, pitch = box
    source = (Affine(address), pitch, 0, 1)
    absmax = isa.Absmax(Affine(first), exponent_pitch, *source, Affine(accumulate), code_bits)
    quant = isa.Quant(Affine(200), cols + 1, Affine(first), exponent_pitch, *source, code_bits)
    filled = contents(seed)
    core(around([*clips(rows, cols), absmax, quant]), TINY, filled)
    core(around([*clips(rows, cols), quant]), TINY, filled)


@quick
@given(st.data(), st.sampled_from([1, 4]), bits, seeds)
def test_dma_load_and_store(core, data, element, transposed, seed):
    """Rows and columns may run either way through DRAM; a load may also repeat elements."""
    rows, cols, base, pitch = data.draw(boxes(element, width=20))
    extra = Argument("extra", "int8", (3000,))
    far, near = element * (cols + 2), element
    if transposed:
        far, near = element, element * (rows + 1)
    far *= data.draw(st.sampled_from([1, -1]))
    near *= data.draw(st.sampled_from([1, -1]))
    start = 1500 + data.draw(st.integers(-100, 100))
    mem = data.draw(st.sampled_from(list(Mem)))
    store = isa.DmaStore(EXTRA, Affine(start), far, near, mem, Affine(base), pitch, element, 0, 1)
    pitches = (far, near) if seed % 2 else (0, near)
    load = isa.DmaLoad(mem, Affine(base), pitch, Mem.SPAD, Affine(start), *pitches, element, 0, 1)
    core(around([*clips(rows, cols), store, load], (extra,)), TINY, contents(seed))


@quick
@given(st.data(), seeds)
def test_im2col(core, data, seed):
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    height, width, kernel_h, kernel_w = draw(1, 9), draw(1, 9), draw(1, 4), draw(1, 4)
    out_width, rows, cols, channels = draw(1, 9), draw(1, 20), draw(1, 30), 4
    numbers = (height, width, out_width, kernel_h, kernel_w, draw(1, 3), draw(1, 3))
    numbers += (draw(0, 3), draw(0, 3), draw(1, 3), draw(1, 3))
    cols = min(cols, channels * kernel_h * kernel_w)
    first = draw(0, channels * kernel_h * kernel_w - cols)
    gather = isa.DmaIm2col(
        Mem.SPAD, Affine(64), cols + 3, Mem.WBUF, Affine(draw(0, 50)), Affine(draw(0, 40)),
        Affine(first), 0, 1, *numbers,
    )  # fmt: skip
    core(around([*clips(rows, cols), gather]), TINY, contents(seed))


@st.composite
def parts(draw, name: str):
    """Return (panel shape, row0, col0, rows, cols) of a legal part of a panel."""
    out, inputs = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    row0 = draw(st.integers(0, inputs - 1))
    rows = draw(st.integers(1, min(TINY.array_rows, inputs - row0)))
    col0, columns = draw(st.integers(0, out - 1)), TINY.columns(WEIGHT_FORMATS[name].pe_bits)
    cols = draw(st.integers(1, min(columns, out - col0)))
    if WEIGHT_FORMATS[name].has_outliers:  # whole micro-blocks
        col0 = col0 // MICRO_BLOCK * MICRO_BLOCK
        cols = min(-(-cols // MICRO_BLOCK) * MICRO_BLOCK, out - col0, columns)
    return (out, inputs), row0, col0, rows, cols


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.parametrize("accumulator_bits", [16, 32])
@quick
@given(st.data(), bits, bits, seeds)
def test_matmul(core, name, accumulator_bits, data, plane, accumulate, seed):
    arch = dataclasses.replace(TINY, accumulator_bits=accumulator_bits)
    shape, row0, col0, rows, cols = data.draw(parts(name))
    m, filled, panel = data.draw(st.integers(1, 9)), contents(seed), panel_bytes(name, *shape, seed)
    filled[Mem.WBUF][PANEL : PANEL + len(panel)] = panel
    operands = (Affine(plane), Affine(PANEL), WEIGHT_FORMATS[name].code, Affine(row0), Affine(col0))
    code = [*clips(rows, cols), isa.Clip(2, m, m, Affine()), isa.Preload(*operands, 0, 1)]
    if WEIGHT_FORMATS[name].has_outliers:
        code.append(isa.ReconConfig(*operands, 0, 1))
    source, sums = Affine(seed % 4000), Affine(seed % 64 * 4)
    code.append(isa.Matmul(Affine(plane), source, 5, sums, 132, 2, Affine(accumulate)))
    core(around(code), arch, filled)


@quick
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(4, 20), bits, seeds)
def test_matmul_of_a_run_time_operand(core, rows, cols, m, pitch, accumulate, seed):
    preload = isa.PreloadRows(Affine(1), Affine(seed % 3000), pitch, 0, 1)
    source, sums = Affine(seed % 4000), Affine(seed % 64 * 4)
    matmul = isa.Matmul(Affine(1), source, pitch, sums, 64, 2, Affine(accumulate))
    code = [*clips(rows, cols), isa.Clip(2, m, m, Affine()), preload, matmul]
    core(around(code), TINY, contents(seed))
