"""A GEMM written by hand in the ISA, with its weights and its answer in NumPy."""

import numpy as np

from microscopiq.target.formats import MACRO_BLOCK, MAX_OUTLIERS, MICRO_BLOCK
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function
from microscopiq.target.isa.spec import LOOP_DEPTH, Affine, Mem, Unit
from microscopiq.target.packing import pack
from microscopiq.target.weight import blocks, empty, integers
from tests.cluster_weights import fill_clusters
from tests.column_scales import fill_scales

PANEL_BYTES = 20480


def at(base=0, *strides, turns=(), slots=0, slot_step=0) -> Affine:
    fill = (0,) * LOOP_DEPTH
    return Affine(
        base, (strides + fill)[:LOOP_DEPTH], (turns + fill)[:LOOP_DEPTH], slots, slot_step
    )


def random_weight(name, out, inputs, seed=1, spread=3, far=6, flagged=0.1):
    """Return a legal weight.

    `spread` is the range of Isf, `far` the largest E - Isf, `flagged` the share of micro-blocks
    with outliers, any number of them in any pairing.
    """
    rng, weight = np.random.default_rng(seed), empty(name, out, inputs)
    if weight.row.cluster:
        fill_clusters(weight, rng)
        fill_scales(weight, rng)
        return weight
    weight.slots[:] = rng.integers(0, 1 << weight.row.bits, (out, inputs))
    if weight.scale is not None:
        fill_scales(weight, rng)
        return weight
    weight.isf[:] = rng.integers(-8 - spread, -7, weight.isf.shape)
    if weight.pairs is None:
        return weight
    half, sign_bit = weight.row.mantissa_bits // 2, weight.row.bits - 1
    for micro, k in zip(
        *np.nonzero(rng.random(weight.relative_exponent.shape) < flagged), strict=True
    ):
        width = min(MICRO_BLOCK, out - micro * MICRO_BLOCK)
        places = rng.permutation(width)
        for entry in range(rng.integers(0, min(MAX_OUTLIERS, width // 2) + 1)):
            pair, halves = places[2 * entry : 2 * entry + 2], rng.integers(0, 1 << half, 2)
            weight.pairs[micro, k, entry] = pair
            weight.slots[micro * MICRO_BLOCK + pair, k] = rng.integers(2) << sign_bit | halves
            weight.relative_exponent[micro, k] = rng.integers(0, far + 1)
    return weight


def gemm(arch, weight, m, bits=8):
    """Return y = x @ weight.T + bias: x quantized per row to `bits`, panels double-buffered."""
    n, k = weight.slots.shape
    groups, y_row = blocks(k, weight.row.group), 4 * MACRO_BLOCK
    exponents, y, bias = m * k, 4 * m * k, 4 * m * k + y_row * m
    code = [
        # One slot only, where a ring of two wouldn't come out even.
        *(isa.Sem(sem, 1 + (even == 0)) for sem, even in ((0, groups % 2), (2, 1), (6, 1), (8, 1))),
        isa.Sem(11, 1),  # the bias has one slot
        *(isa.Clip(reg, size, size, at()) for reg, size in ((0, m), (1, k), (7, 1))),
        isa.DmaLoad(Mem.OBUF, at(), 4 * k, 0, at(), 4 * k, 4, 4, 0, 1),
        *(isa.Post(Unit.DMA_IN, 9), isa.Wait(Unit.VECTOR, 9)),
        isa.Absmax(at(exponents), 1, at(), 4 * k, 0, 1, at(), bits),
        isa.Quant(at(), k, at(exponents), 1, at(), 4 * k, 0, 1, bits),
        *(isa.Post(Unit.VECTOR, 10), isa.Wait(Unit.ARRAY, 10)),
        isa.Loop(blocks(n, MACRO_BLOCK)),
        isa.Clip(2, MACRO_BLOCK, n, at(0, MACRO_BLOCK)),
        isa.Wait(Unit.VECTOR, 8),
    ]
    for group in range(groups):
        code += _group(arch, weight, m, group, exponents, y)
    code += [
        isa.Wait(Unit.DMA_IN, 11),
        isa.DmaLoad(Mem.OBUF, at(bias), 0, 1, at(0, y_row), 0, 4, 4, 7, 2),
        *(isa.Post(Unit.DMA_IN, 9), isa.Wait(Unit.VECTOR, 9)),
        isa.Add(at(y), y_row, at(bias), 0, 0, 2),
        isa.Post(Unit.VECTOR, 11),
        *(isa.Post(Unit.VECTOR, 7), isa.Wait(Unit.DMA_OUT, 7)),
        isa.DmaStore(2, at(0, y_row), 4 * n, 4, Mem.OBUF, at(y), y_row, 4, 0, 2),
        *(isa.Post(Unit.DMA_OUT, 8), isa.EndLoop(), isa.End()),
    ]
    x, b = Argument("x", "float32", (m, k)), Argument("bias", "float32", (n,))
    arguments = (x, b, Argument("y", "float32", (m, n), True))
    return Function("gemm", "layer", arguments, tuple(code), pack([weight]), m * k * n)


def _group(arch, weight, m, group, exponents, y):
    """Return the instructions of one group of one panel: load, tiles, drain."""
    (n, k), row = weight.slots.shape, weight.row
    size = row.group
    tile_k = min(size, arch.array_rows)
    tile_n = min(MACRO_BLOCK, arch.columns(row.pe_bits))
    rows, cols = min(size, k - group * size), min(MACRO_BLOCK, n)
    panel, plane = at(group % 2 * PANEL_BYTES), at(0, turns=(0, 0, 1), slots=2, slot_step=1)
    part = (panel, row.code, at(0, 0, 0, tile_k), at(0, 0, tile_n), 4, 3)
    recon = [isa.Wait(Unit.RECON, 3), isa.ReconConfig(plane, *part), isa.Post(Unit.RECON, 4)]
    x, acc = at(group * size, 0, 0, tile_k), at(0, 0, 4 * tile_n)
    exp = (at(exponents), 1)
    return [
        isa.Wait(Unit.DMA_IN, 0),
        isa.DmaWeight(panel, at(group, blocks(k, size)), PANEL_BYTES),
        *(isa.Post(Unit.DMA_IN, 1), isa.Wait(Unit.WLOAD, 1), isa.Wait(Unit.ARRAY, 6)),
        isa.Loop(blocks(cols, tile_n)),
        isa.Clip(3, tile_n, n, at(0, MACRO_BLOCK, tile_n)),
        # No activation rows in a column tile past n: the limit is scaled by their number.
        isa.Clip(5, m, n * m, at(0, MACRO_BLOCK * m, tile_n * m)),
        isa.Loop(blocks(rows, tile_k)),
        isa.Clip(4, tile_k, k, at(group * size, 0, 0, tile_k)),
        *(isa.Wait(Unit.WLOAD, 2), isa.Preload(plane, *part)),
        isa.Post(Unit.WLOAD, 3 if row.has_outliers else 4),
        *(recon if row.has_outliers else ()),
        isa.Wait(Unit.ARRAY, 4),
        isa.Matmul(plane, x, k, acc, 4 * MACRO_BLOCK, 5, at(0, 0, 0, 1)),
        *(isa.Post(Unit.ARRAY, 2), isa.EndLoop(), isa.EndLoop()),
        *(isa.Post(Unit.ARRAY, 5), isa.Wait(Unit.VECTOR, 5)),
        isa.Drain(
            *(at(y), 4 * MACRO_BLOCK, at(), 4 * MACRO_BLOCK, row.code, panel, 0, *exp, 0, 2),
            at(group),
        ),
        *(isa.Post(Unit.VECTOR, 6), isa.Post(Unit.VECTOR, 0)),
    ]


def quantize_rows(x, bits=8):
    peak = np.abs(x).max(1)
    exponent = np.maximum(np.where(peak == 0, -126, np.frexp(peak)[1] - 1) + 2 - bits, -126)
    scaled = x * np.exp2(-exponent.astype(np.float32))[:, None]
    limit = (1 << (bits - 1)) - 1
    return np.clip(np.rint(scaled), -limit, limit).astype(np.int8), exponent


def gemm_reference(weight, x, bias, tile_k, bits=8):
    values, scale = integers(weight)
    quantized, exponent = quantize_rows(x, bits)
    factor = np.exp2(exponent.astype(np.float32))[:, None]
    limits, result = np.iinfo(np.int32), np.float32(0)
    group = weight.row.group
    for first in range(0, x.shape[1], group):
        psum = 0
        for start in range(first, min(first + group, x.shape[1]), tile_k):
            part = slice(start, min(start + tile_k, first + group))
            psum += quantized[:, part].astype(np.int64) @ values[:, part].T.astype(np.int64)
            psum = np.clip(psum, limits.min, limits.max)
        scaled = psum.astype(np.float32) * scale[first // group] * factor
        result = result + scaled if first else scaled
    return result + bias
