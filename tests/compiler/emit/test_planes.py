"""compiler/emit/planes.py: what a run multiplies, read off its instructions one by one."""

import dataclasses

import numpy as np
import pytest

from microscopiq import Session
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.kinds.registry import emit_tile
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.options import Options
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.target.arch import load_arch
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.spec import Mem
from tests.compiler import relax_modules as make
from tests.compiler.emit.test_emit import executed, function_of

BIG = load_arch("microscopiq-64x64")


@dataclasses.dataclass
class Plane:
    """Inputs and columns of a plane: flat, a batch's behind those of the batch before."""

    inputs: np.ndarray
    columns: np.ndarray
    part: tuple
    merged: bool = False


class Products:
    """Follows where operands lie, and sums up for each result which inputs it has seen.

    Every input has a random number: a sum over all of them can't come from others.
    """

    def __init__(self, op: Gemm, function, arch):
        self.op, self.arguments = op, function.arguments
        self.numbers = np.random.default_rng(0).integers(1, 1 << 40, op.k)
        self.memories = {
            mem: np.full(size, -1)
            for mem, size in ((Mem.SPAD, arch.spad_bytes), (Mem.WBUF, arch.wbuf_bytes))
        }
        self.panels: dict[int, int] = {}
        self.planes: dict[int, Plane] = {}
        cells = arch.acc_bytes // 4
        self.sums, self.row, self.column = (np.zeros(cells, np.int64) for _ in range(3))
        self.seen = np.zeros((op.batch * op.m, op.n), np.int64)
        self.streamed = 0

    def dma_load(self, i, at, rows, cols):
        if self.arguments[i.arg].name in ("x", "w"):
            source = at(i.src) + i.src_pitch * rows[:, None] + i.src_step * cols
            self.memories[i.mem][at(i.dst) + i.dst_pitch * rows[:, None] + cols] = source

    def dma_weight(self, i, at):
        self.panels[at(i.dst)] = at(i.panel)

    def preload(self, i, at, rows, cols):
        block, group = divmod(self.panels[at(i.src)], self.op.groups)
        part = (at(i.plane), at(i.src), at(i.row0), at(i.col0), i.rows, i.cols, i.format)
        inputs = 128 * group + at(i.row0) + rows
        self.planes[at(i.plane)] = Plane(inputs, 128 * block + at(i.col0) + cols, part)

    def preload_rows(self, i, at, rows, cols):
        """An operand (batch, n, k) of run time."""
        inputs, columns = rows, cols
        if len(rows) and len(cols):
            found = self.memories[Mem.WBUF][at(i.src) + i.src_pitch * cols[:, None] + rows]
            column, k = np.divmod(found, self.op.k)
            inputs, columns = k[0], column[:, 0]
            assert (k == inputs).all() and (column == columns[:, None]).all()
        self.planes[at(i.plane)] = Plane(inputs, columns, ())

    def recon_config(self, i, at):
        plane = self.planes[at(i.plane)]
        part = (at(i.plane), at(i.src), at(i.row0), at(i.col0), i.rows, i.cols, i.format)
        assert part == plane.part and not plane.merged
        plane.merged = True

    def matmul(self, i, at, rows):
        plane = self.planes[at(i.plane)]
        if not len(plane.inputs) or not len(plane.columns):  # does nothing
            return
        assert plane.merged == (self.op.weight_format == "ms2")
        lanes = np.arange(len(plane.inputs))
        found = self.memories[Mem.SPAD][at(i.src) + i.src_pitch * rows[:, None] + lanes]
        row, k = np.divmod(found, self.op.k)
        np.testing.assert_array_equal(k, np.broadcast_to(plane.inputs, k.shape))
        assert (row == row[:, :1]).all()
        cells = at(i.dst) // 4 + i.dst_pitch // 4 * rows[:, None] + np.arange(len(plane.columns))
        if at(i.accumulate):
            assert (self.row[cells] == row[:, :1]).all()
            assert (self.column[cells] == plane.columns).all()
        else:
            self.sums[cells], self.row[cells], self.column[cells] = 0, row[:, :1], plane.columns
        self.sums[cells] += self.numbers[plane.inputs].sum()
        self.streamed += len(rows)

    def drain(self, i, at, rows, cols):
        cells = at(i.src) // 4 + i.src_pitch // 4 * rows[:, None] + cols
        column = self.column[cells] % self.op.n
        np.add.at(self.seen, (self.row[cells], column), self.sums[cells])


HANDLERS = {
    isa.DmaLoad: Products.dma_load,
    isa.DmaWeight: Products.dma_weight,
    isa.Preload: Products.preload,
    isa.PreloadRows: Products.preload_rows,
    isa.ReconConfig: Products.recon_config,
    isa.Matmul: Products.matmul,
    isa.Drain: Products.drain,
}


def products(op: Gemm, function, arch) -> Products:
    found = Products(op, function, arch)
    for i, counters, extents in executed(function):
        if type(i) not in HANDLERS:
            continue
        boxes = [np.arange(extents[getattr(i, n)]) for n in ("rows", "cols") if hasattr(i, n)]
        if isinstance(i, isa.ReconConfig):
            boxes = []
        HANDLERS[type(i)](found, i, lambda a, counters=counters: a.at(counters), *boxes)
    return found


CASES = [
    (Gemm(1, 1, 5, 10, 9, "int4"), 16),
    (Gemm(1, 1, 40, 60, 128, "int4"), 64),
    (Gemm(1, 1, 70, 140, 147, "ms2"), 16),
    (Gemm(1, 1, 70, 140, 147, "ms2"), 64),
    (Gemm(1, 1, 33, 300, 300, "int4"), 64),
    (Gemm(1, 1, 33, 300, 300, "int4"), 128),
    (Gemm(1, 1, 20, 128, 190, "int8"), 16),
    (Gemm(2, 1, 33, 70, 150, ""), 64),
    (Gemm(3, 1, 9, 130, 20, ""), 16),
]


@pytest.mark.parametrize("keys", [{}, {"weight_planes": 3}, {"weight_planes": 4, "row_release": 1}],
                         ids=["two", "three", "by row"])  # fmt: skip
@pytest.mark.parametrize(("op", "rows"), CASES)
def test_every_result_sees_every_input_once(op, rows, keys):
    arch = dataclasses.replace(BIG, array_rows=rows, spad_bytes=1 << 15, acc_bytes=1 << 15, **keys)
    function = function_of(op, arch)
    found = products(op, function, arch)
    np.testing.assert_array_equal(found.seen, np.full(found.seen.shape, found.numbers.sum()))
    # A plane for each `rows` inputs of a group and each array's columns of a block of 128.
    columns = arch.columns(8 if not op.weight_format else int(op.weight_format[-1]))
    counts = [
        sum(-(-min(128, size - start) // most) for start in range(0, size, 128))
        for size, most in ((op.k, min(rows, 128)), (op.n, min(columns, 128)))
    ]
    assert found.streamed == op.batch * op.m * counts[0] * counts[1]


def test_planes_follow_each_other_in_the_ring():
    """Of 3 groups the last has one plane of four: the next column's first is plane 1 again."""
    arch = dataclasses.replace(BIG, array_rows=32)
    function = function_of(Gemm(1, 1, 8, 64, 288, "int4"), arch)
    order = [
        i.plane.at(counters) for i, counters, _ in executed(function) if isinstance(i, isa.Matmul)
    ]
    assert order == [0, 1, 0, 1, 0, 1, 0, 1, 0]


def test_an_array_that_releases_rows_needs_no_tokens_for_its_planes():
    op = Gemm(1, 1, 8, 128, 256, "ms4")
    found = []
    for release in (0, 1):
        arch = dataclasses.replace(BIG, row_release=release)
        tile = default_gemm_tile(op, BIG)
        code = emit_tile(op, tile, arch, "f", "layer", stand_in_segment(op)).code
        found.append([type(i).__name__ for i in code])
        notes = " ".join(emit_tile(op, tile, arch, "f", "", stand_in_segment(op)).notes.values())
        assert ("plane free" in notes) == (release == 0)
    # The loader and ReCoN both waited for the array and it for them.
    fewer = [sum(name in ("Wait", "Post") for name in code) for code in found]
    assert fewer[0] - fewer[1] == 8


@pytest.mark.parametrize("graph", [False, True])
def test_models_on_machines_that_release_rows(graph):
    """Bits are those of LLVM, cycles those of the stepped array; joined functions, too."""
    arch = dataclasses.replace(
        load_arch("tiny-4x4"), weight_planes=3, weight_buses=2, row_release=1
    )
    mod = make.module(make.mlp, (2, 3, 10))
    inputs = make.inputs_of(mod)
    options = Options(recipe="microscopiq-w4a8", arch=arch, calibration=[(*inputs,)], graph=graph)
    state = compile_model(mod, options)
    fast, stepped = (Session(state.executable, mode=m).run(*inputs) for m in ("fast", "structural"))
    make.assert_equal_bits(make.run_llvm(state.quantized, inputs), fast.outputs)
    make.assert_equal_bits(fast.outputs, stepped.outputs)
    assert [call["cycles"] for call in fast.calls] == [call["cycles"] for call in stepped.calls]
