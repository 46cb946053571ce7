"""Tiles: every legal one gives the same bits, fits, and is emitted alike with and without TIR."""

import dataclasses
import itertools
import json

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.kinds.registry import emit, emit_tile, scheduled
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.compiler.tiling.cost import resources
from microscopiq.compiler.tiling.gemm import fits, footprint
from microscopiq.compiler.tiling.legal import default_gemm_tile, legal_tiles
from microscopiq.compiler.tiling.tile import (
    ORDERS,
    W_HOMES,
    X_HOMES,
    GemmTile,
    array_tile,
    largest_panel,
    to_text,
)
from microscopiq.compiler.tiling.walk import walk
from microscopiq.target.arch import arch_names, load_arch
from microscopiq.target.segment import panel_bytes
from tests.compiler.test_operators import assert_equal_bits

DEFAULT = load_arch("microscopiq-64x64")
SMALL = dataclasses.replace(
    load_arch("tiny-4x4"),
    name="small",
    array_rows=8,
    array_cols=8,
    spad_bytes=1 << 16,
    wbuf_bytes=1 << 17,
    acc_bytes=1 << 16,
    obuf_bytes=1 << 17,
)
"""Memories that hold some operands as a whole, and others not."""
CONV = Conv(12, 7, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
KINDS = {
    "linear": Gemm(1, 1, 37, 200, 300, "int4", None, True, True, 0.0),
    "outliers": Gemm(1, 1, 21, 140, 150, "ms4", None, True),
    "requantized": Gemm(1, 1, 33, 150, 140, "ms2", bias=True, requantize=True),
    "attention": Gemm(3, 1, 19, 150, 140, ""),
    "conv": Gemm(2, 2, 42, 130, 108, "ms4", CONV, True, False, 0.0),
    "conv, groups": Gemm(1, 1, 42, 30, 108 * 2, "int8", dataclasses.replace(CONV, channels=24)),
}
FEW = settings(max_examples=8, phases=[Phase.explicit, Phase.generate])


@FEW
@given(
    op=st.sampled_from(list(KINDS.values())), choice=st.integers(0, 10**6), seed=st.integers(0, 99)
)
def test_any_legal_schedule_gives_the_same_bits(op, choice, seed):
    tiles = legal_tiles(op, SMALL)
    assert len(tiles) > 50
    assert_equal_bits(op, SMALL, seed, tiles[choice % len(tiles)])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", KINDS)
def test_tree_without_tir_is_the_scheduled_functions(name, order):
    op = KINDS[name]
    segment = stand_in_segment(op) if op.weight_format else b""
    for number, (x_home, w_home) in enumerate(itertools.product(X_HOMES, W_HOMES)):
        tile = GemmTile((op.m, 8, 13)[number % 3], *array_tile(op, DEFAULT), order, x_home, w_home)
        function = emit(scheduled(op, DEFAULT, tile).mod["main"], DEFAULT, "f", "l", segment)
        assert emit_tile(op, tile, DEFAULT, "f", "l", segment) == function, tile


@pytest.mark.parametrize("name", KINDS)
def test_footprint_is_what_allocation_takes(name, monkeypatch):
    op, taken = KINDS[name], {}

    def spy(*arguments):
        placed = allocate(*arguments)
        taken.clear()
        for item in placed.values():
            key = item.buffer.mem.name.lower()
            taken[key] = taken.get(key, 0) + item.slots * item.buffer.slot_bytes
        return placed

    from microscopiq.compiler.emit import emit as module

    allocate = module.allocate
    monkeypatch.setattr(module, "allocate", spy)
    segment = stand_in_segment(op) if op.weight_format else b""
    panel = int(panel_bytes(segment).max()) if segment else None
    tiles = legal_tiles(op, SMALL)
    for tile in tiles[:: max(1, len(tiles) // 12)]:
        emit_tile(op, tile, SMALL, "f", "l", segment)
        assert taken == footprint(op, tile, panel)


@pytest.mark.parametrize("weight_format", ["int4", "int8", "ms2", "ms4", "fineq", "olive4"])
def test_no_panel_is_larger_than_the_largest(weight_format):
    op = Gemm(1, 1, 4, 100, 128, weight_format)
    segment = stand_in_segment(op, 1.0)
    assert int(panel_bytes(segment).max()) == largest_panel(weight_format, 100, 128)


@pytest.mark.parametrize("arch", arch_names())
def test_default_is_a_legal_tile_of_nearly_least_estimate(arch):
    machine = load_arch(arch)
    op = Gemm(1, 1, 300, 200, 300, machine.weight_formats[0], None, True)
    tile, tiles = default_gemm_tile(op, machine), legal_tiles(op, machine)
    assert tile == default_gemm_tile.__wrapped__(op, machine)
    if tiles:
        assert tile in tiles and fits(op, tile, machine)
        usual = [
            t for t in tiles if t.result_slots in (2, 3) and t.store_pieces == tile.store_pieces
        ]
        least = min(walk(op, t, machine).cycles for t in usual)
        assert walk(op, tile, machine).cycles <= least * 1.001


def test_default_gives_up_a_thousandth_for_fewer_instructions():
    op = Gemm(1, 1, 676, 128, 576, "int8")
    tile = default_gemm_tile(op, DEFAULT)
    usual = [
        t
        for t in legal_tiles(op, DEFAULT)
        if t.result_slots in (2, 3) and t.store_pieces == tile.store_pieces
    ]
    cycles = {t: walk(op, t, DEFAULT).cycles for t in usual}
    least, needs = min(cycles.values()), resources(op, tile, DEFAULT).sequencer
    assert cycles[tile] <= least * 1.001
    # Tiles of fewer instructions are there, and all of them take longer than that.
    fewer = [t for t in usual if resources(op, t, DEFAULT).sequencer < needs]
    assert fewer and min(cycles[t] for t in fewer) > least * 1.001


@pytest.mark.parametrize(("m", "k", "least"), [(300, 300, 32), (300, 16, 8), (10, 300, 10)])
def test_no_tile_has_fewer_rows_than_half_of_the_planes(m, k, least):
    # 64 array rows take as long to load as 64 rows to stream: below half the array only waits.
    rows = {tile.tile_m for tile in legal_tiles(Gemm(1, 1, m, 64, k, "int8"), DEFAULT)}
    assert least <= min(rows) <= 1.25 * least


def test_a_tile_survives_its_text_form():
    tile = default_gemm_tile(Gemm(1, 1, 128, 768, 768, "int4"), DEFAULT)
    assert GemmTile(**json.loads(to_text(tile))) == tile
