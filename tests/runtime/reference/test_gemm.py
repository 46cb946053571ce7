"""runtime/reference/run.py, the C++ core and plain NumPy agree on GEMMs of every weight format."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq.compiler.quant import methods  # noqa: F401  (registers the quantizers)
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.formats import MACRO_BLOCK, WEIGHT_FORMATS
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function
from microscopiq.target.isa.spec import LOOP_DEPTH, Affine, Instruction, Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import QuantizedWeight, blocks, integers
from tests.distinct_formats import DISTINCT, method_of

TINY = load_arch("tiny-4x4")


def at(base: int = 0, *strides: int, turns: tuple[int, ...] = (), slots: int = 0) -> Affine:
    def pad(values: tuple[int, ...]) -> tuple[int, ...]:
        return values + (0,) * (LOOP_DEPTH - len(values))

    return Affine(base, pad(strides), pad(turns), slots, 1 if slots else 0)


def heavy_tailed(name: str, out: int, inputs: int, seed: int) -> QuantizedWeight:
    """Return a weight with outliers whose rows differ in scale, as MicroScopiQ's Isf may."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_t(3, (out, inputs)) * np.exp2(rng.integers(-3, 4, inputs))
    return quantize_weight(method_of(name), matrix.astype(np.float32), name, "random")[0]


def tile(arch: Arch, name: str) -> int:
    return min(arch.columns(WEIGHT_FORMATS[name].pe_bits), MACRO_BLOCK)


def gemm(arch: Arch, weight: QuantizedWeight, m: int) -> Function:
    """Return Y = X W of int8 rows with one exponent per group; panels go through two slots."""
    (n, k), row = weight.slots.shape, weight.row
    size = row.group
    tile_n, groups, slot = tile(arch, row.name), blocks(k, size), arch.wbuf_bytes // 2
    exponents = 2 * m * size
    # One slot each for planes, sums and results: these tests are about values.
    code: list[Instruction] = [isa.Sem(0, 2), *(isa.Sem(sem, 1) for sem in (5, 6, 7))]
    code += [isa.Clip(0, m, m, at()), isa.Clip(1, 1, 1, at())]
    for panel in range(blocks(n, MACRO_BLOCK) * groups):
        column, group = panel // groups * MACRO_BLOCK, panel % groups * size
        cols, rows = min(MACRO_BLOCK, n - column), min(size, k - group)
        ring, x = panel % 2 * slot, panel % 2 * m * size
        xexp = exponents + panel % 2 * m
        part = (at(0, 0, 0, turns=(0, 1), slots=2), at(ring), row.code)
        part += (at(0, 0, arch.array_rows), at(0, tile_n), 4, 5)
        code += [
            isa.Clip(2, rows, rows, at()),
            isa.Clip(3, cols, cols, at()),
            isa.Wait(Unit.DMA_IN, 0),
            isa.DmaWeight(at(ring), at(panel), slot),
            isa.DmaLoad(Mem.SPAD, at(x), size, 0, at(group), k, 1, 1, 0, 2),
            isa.DmaLoad(Mem.SPAD, at(xexp), 1, 1, at(group // size), groups, 1, 1, 0, 1),
            isa.Post(Unit.DMA_IN, 1),
            isa.Wait(Unit.WLOAD, 1),
            isa.Wait(Unit.ARRAY, 6),
            isa.Loop(blocks(cols, tile_n)),
            isa.Clip(5, tile_n, cols, at(0, tile_n)),
            isa.Loop(blocks(rows, arch.array_rows)),
            isa.Clip(4, arch.array_rows, rows, at(0, 0, arch.array_rows)),
            isa.Wait(Unit.WLOAD, 5),
            isa.Preload(*part),
            isa.Post(Unit.WLOAD, 2),
            isa.Wait(Unit.RECON, 2),
            *([isa.ReconConfig(*part)] if row.has_outliers else []),
            isa.Post(Unit.RECON, 3),
            isa.Wait(Unit.ARRAY, 3),
            isa.Matmul(part[0], at(x, 0, arch.array_rows), size, at(0, 4 * tile_n), 512, 0,
                       at(0, 0, 1)),
            isa.Post(Unit.ARRAY, 5),
            isa.EndLoop(),
            isa.EndLoop(),
            isa.Post(Unit.ARRAY, 4),
            isa.Wait(Unit.VECTOR, 4),
            *([] if group else [isa.Wait(Unit.VECTOR, 7)]),
            isa.Drain(at(), 512, at(), 512, row.code, at(ring), 0, at(xexp), 1, 0, 3, at(group)),
            isa.Post(Unit.VECTOR, 0),
            isa.Post(Unit.VECTOR, 6),
        ]  # fmt: skip
        if group + rows == k:
            code += [isa.Post(Unit.VECTOR, 8), isa.Wait(Unit.DMA_OUT, 8)]
            code.append(isa.DmaStore(2, at(4 * column), 4 * n, 4, Mem.OBUF, at(), 512, 4, 0, 3))
            code.append(isa.Post(Unit.DMA_OUT, 7))
    arguments = (
        Argument("x", "int8", (m, k)),
        Argument("exponent", "int8", (m, groups)),
        Argument("y", "float32", (m, n), is_output=True),
    )
    return Function("gemm", "test", arguments, (*code, isa.End()), pack([weight]))


def plain_gemm(weight: QuantizedWeight, x: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return the same by plain NumPy: exact group sums, then one fp32 operation at a time."""
    values, scale = integers(weight)
    size = weight.row.group
    total = np.zeros((len(x), len(values)), np.float32)
    for group, factors in enumerate(scale):
        span = np.s_[:, group * size : (group + 1) * size]
        psum = (x[span].astype(np.int64) @ values[span].astype(np.int64).T).astype(np.float32)
        psum *= factors
        psum *= np.exp2(exponent[:, group : group + 1].astype(np.float32))
        total = psum if group == 0 else total + psum
    return total


@pytest.mark.parametrize("name", DISTINCT)
@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 150), st.integers(1, 20), st.integers(0, 1 << 32))
def test_gemm(core, name, m, k, n, seed):
    rng, weight = np.random.default_rng(seed), heavy_tailed(name, n, k, seed)
    x = rng.integers(-127, 128, (m, k), dtype=np.int8)
    exponent = rng.integers(-20, 5, (m, blocks(k, weight.row.group)), dtype=np.int8)
    (y,) = core(gemm(TINY, weight, m), TINY, [x, exponent])
    np.testing.assert_array_equal(y, plain_gemm(weight, x, exponent))


@pytest.mark.parametrize("name", DISTINCT)
def test_gemm_of_several_panels(core, name):
    arch = dataclasses.replace(TINY, array_rows=16, array_cols=32)
    weight = heavy_tailed(name, 141, 260, 5)
    rng = np.random.default_rng(6)
    x = rng.integers(-127, 128, (3, 260), dtype=np.int8)
    exponent = rng.integers(-3, 3, (3, blocks(260, weight.row.group)), dtype=np.int8)
    (y,) = core(gemm(arch, weight, 3), arch, [x, exponent])
    np.testing.assert_array_equal(y, plain_gemm(weight, x, exponent))
