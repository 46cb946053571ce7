"""The estimate of a tile: counted by hand, and against the simulator on tiles of every kind."""

import dataclasses
import itertools
import random
import statistics

import pytest

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.compiler.tiling.cost import resources, tile_cost
from microscopiq.compiler.tiling.legal import default_gemm_tile, legal_tiles
from microscopiq.compiler.tiling.recon import plane_visits
from microscopiq.compiler.tiling.tile import ORDERS, W_HOMES, X_HOMES, GemmTile, array_tile
from microscopiq.compiler.tiling.walk import walk
from microscopiq.compiler.tiling.work import expected_panel, inside_share, plane_counts, work_of
from microscopiq.compiler.tune.measure import call_record
from microscopiq.target.arch import load_arch

DEFAULT = load_arch("microscopiq-64x64")
INT8 = load_arch("int8-64x64")
FREE = dataclasses.replace(INT8, name="free", sequencer_cycles=0)
"""Whose sequencer takes no time: what is counted by hand is without instructions."""
CONV = Conv(12, 7, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)


def measured(op, tile, arch, seed=0):
    return call_record(op, tile, arch, stand_in_segment(op, seed=seed))


def test_one_plane_by_hand():
    op, tile = Gemm(1, 1, 64, 64, 64, "int8"), GemmTile(64, 64, 64)
    cost = tile_cost(op, tile, FREE)
    # A panel: 4 bytes, 64 x 64 weights, 64 factors of 2 bytes. 64 rows have an exponent each.
    assert (cost.read_x, cost.read_w) == (64 * 64 + 64, 4 + 64 * 64 + 2 * 64)
    assert (cost.read_more, cost.written) == (0, 64 * 64 * 4)
    assert cost.dma == (4160 + 4228 + 16384) / 256
    assert (cost.array, cost.recon, cost.weight_load) == (64, 0, 64)
    assert (cost.vector, cost.sequencer) == (64 * 64 / 128, 0)
    # Exponents cross in 1 cycle, the panel in 17 (4228 / 256) and is there 100 later; its 64 rows
    # are loaded; the activations were there at 1 + 17 + 16 + 100.
    assert cost.head == 1 + 17 + 100 + 64
    # After 64 rows the last sum takes 64 + 64 - 2. Then 64 x 64 elements in 128 lanes, 4 cycles of
    # latency, 64 cycles on the channel, and 100 until the last byte is there.
    last = cost.head + 64 + 126
    assert cost.tail == 32 + 4 + 64 + 100
    assert cost.cycles == last + cost.tail == 572
    assert measured(op, tile, FREE)["cycles"] == 572


def test_refilled_buffers_by_hand():
    """Few rows: nothing is busy, but each slot waits for what it held before."""
    tile = GemmTile(16, 64, 64, load_slots=2)
    ops = [Gemm(1, 1, rows, 64, 64, "int8") for rows in (1024, 2048)]
    # A panel's slot: after the exponents (1) it's loaded (17 + 100), its plane is loaded (64), 16
    # rows stream, the last sum takes 126, and the drain reads its factors for 16 * 64 / 128. Two
    # slots share that.
    turn = (1 + 17 + 100 + 64 + 16 + 126 + 8) / 2
    costs = [tile_cost(op, tile, FREE) for op in ops]
    assert costs[1].cycles - costs[0].cycles == 64 * turn
    cycles = [measured(op, tile, FREE)["cycles"] for op in ops]
    assert cycles[1] - cycles[0] == 64 * turn
    assert costs[0].cycles == pytest.approx(cycles[0], rel=0.002)


def test_an_array_without_overlap_by_hand():
    # SCALE-Sim's machine: of each fold R rows are loaded, T stream, the last sum takes R + C - 2.
    arch, op = load_arch("ws-64x64-ideal"), Gemm(1, 1, 100, 64, 256, "int8")
    (tile,) = {dataclasses.replace(t, load_slots=2, result_slots=2) for t in legal_tiles(op, arch)
               if (t.x_home, t.w_home, t.store_pieces) == ("group", "group", 1)}  # fmt: skip
    cost = tile_cost(op, tile, arch)
    assert cost.cycles == 4 * (64 + 100 + 64 + 64 - 2)
    assert measured(op, tile, arch)["cycles"] == cost.cycles - 1  # the index of the last cycle
    # Partial planes cost as much as full ones.
    assert resources(Gemm(1, 1, 100, 8, 8, "int8"), tile, arch).weight_load == 64


def test_outliers_by_hand():
    op = Gemm(1, 1, 1000, 64, 64, "ms4")
    visits = plane_visits(op, DEFAULT, 64, 64)
    # A row of 8 micro-blocks is flagged with 1 - 0.962**8 = 0.2665; 64 rows share one network.
    assert visits.mean_turns == pytest.approx(64 * 0.2665, abs=0.01)
    # The sync buffer takes 7 cycles, the butterfly of 64 columns has 7 ranks.
    assert visits.delay == pytest.approx(64 * 0.2665 * 14, abs=0.2)
    need = resources(op, GemmTile(1000, 64, 64), DEFAULT)
    assert need.array == pytest.approx(1000 * 17.06, rel=1e-3)
    assert need.recon == pytest.approx(1000 * 16.06, rel=1e-3)
    # 4 bytes, 128 rows of 64 bytes of slots, a scale and 2 of identifiers, and of 16 micro-blocks
    # in 128 rows 3.8 % with 4 bytes each.
    assert expected_panel(op, 128, 128) == pytest.approx(4 + 128 * (64 + 3) + 2048 * 0.038 * 4)


def test_segments_and_units_of_recon_by_hand():
    op = Gemm(1, 1, 1000, 64, 64, "ms4")
    two = dataclasses.replace(DEFAULT, recon_units=2)
    one_row = plane_visits(op, dataclasses.replace(two, recon_segment_columns=8), 1, 64)
    # Of 8 strips that flag a row with 0.038, any does with 1 - 0.962**8.
    assert dict(zip(one_row.count, one_row.chance, strict=True)) == pytest.approx(
        {0: 0.962**8, 1: 1 - 0.962**8}
    )
    assert one_row.step == 7 + 4  # ranks of 8 columns
    # Two networks share visits: a row takes half of them, and no less than a cycle.
    visits = plane_visits(op, two, 64, 64)
    halves = sum(max(1, count / 2) * chance for count, chance in zip(visits.count, visits.chance,
                                                                 strict=True))  # fmt: skip
    assert visits.mean_turns == pytest.approx(halves) and 8.5 < halves < 9.1
    # Without outliers networks change nothing.
    plain, tile = Gemm(1, 1, 300, 200, 300, "int4"), GemmTile(128, 64, 64)
    assert tile_cost(plain, tile, two) == tile_cost(plain, tile, DEFAULT)


def test_gap_between_planes_by_hand():
    visits = plane_visits(Gemm(1, 1, 1000, 64, 64, "ms4"), DEFAULT, 64, 64)
    certain = dataclasses.replace(visits, count=visits.count[:1] * 0 + 3, chance=visits.chance[:1]
                                  * 0 + 1.0, turns=visits.turns[:1] * 0 + 3)  # fmt: skip
    # Always 3 visits of 14 cycles: the same turns, so that only order counts, a visit in 3 + 1.
    assert certain.gap(1000, False, 64) == certain.gap(1000, True, 64) == pytest.approx(3 * 14 / 4)
    # Of few rows it is the next plane's load that takes longer: 64 against (2 - 1) * 3 + 1.
    assert certain.gap(2, False, 64) == 64 - 4
    # In fact visits differ, and one network's last visits make the next plane's wait.
    assert 150 < visits.gap(1000, False, 64) < 230


def test_loads_over_several_buses_by_hand():
    """64 rows in shares of 8: a load takes 8 cycles, that of a short plane as many as it has."""
    arch, op = dataclasses.replace(DEFAULT, weight_buses=8), Gemm(1, 1, 5, 200, 147, "int4")
    assert [arch.load_cycles(rows) for rows in (64, 19, 8, 3)] == [8, 8, 8, 3]
    assert resources(op, GemmTile(5, 64, 64), arch).weight_load == 4 * 3 * 8
    full = dataclasses.replace(arch, edge_trimming=0)
    assert full.load_cycles(3) == 8 and DEFAULT.load_cycles(3) == 3
    # As a whole a plane is taken once the rows above its last share are through: 56 cycles later.
    assert work_of(op, arch).plane(5, 64, 64).late == 56
    assert work_of(op, DEFAULT).plane(5, 64, 64).late == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"weight_buses": 8},
        {"row_release": 1},
        {"weight_buses": 8, "row_release": 1, "weight_planes": 3},
    ],
)
def test_estimates_of_loads(keys):
    op = Gemm(1, 1, 40, 384, 384, "int4", None, True)
    arch = dataclasses.replace(DEFAULT, **keys)
    tiles = random.Random(0).sample(legal_tiles(op, arch), 10)
    errors = [
        abs(walk(op, tile, arch).cycles / measured(op, tile, arch)["cycles"] - 1) for tile in tiles
    ]
    assert statistics.median(errors) <= 0.05 and max(errors) <= 0.15, sorted(errors)[-5:]


@pytest.mark.parametrize("fmt", ["int4", "ms4"])
@pytest.mark.parametrize("rows", [1, 100])
def test_default_tiles_where_rows_are_released(fmt, rows):
    """Tiles of few rows would pay with outliers if loads were all that a plane waits for."""
    op = Gemm(1, 1, rows, 256, 256, fmt)
    by_row = dataclasses.replace(DEFAULT, weight_buses=8, row_release=1, queue_depth=64)
    before, now = (
        measured(op, default_gemm_tile(op, arch), arch)["cycles"] for arch in (DEFAULT, by_row)
    )
    assert now < (0.7 if rows == 1 else 1.05) * before


def test_temporal_planes_by_hand():
    arch, op = load_arch("fineq-64x64"), Gemm(1, 1, 100, 64, 128, "fineq")
    need = resources(op, GemmTile(100, 64, 64), arch)
    assert (need.array, need.recon) == (2 * 100 * 3, 0)  # 3 cycles of a row, 2 planes


def test_planes_by_hand():
    # 147 inputs: a group of 128 is two planes of 64 rows, the other 19 are one; 200 columns of
    # 4 bits are two planes and 72 more, which are two.
    assert plane_counts(Gemm(1, 1, 5, 200, 147, "int4"), DEFAULT) == (3, 4)
    need = resources(Gemm(1, 1, 5, 200, 147, "int4"), GemmTile(5, 64, 64), DEFAULT)
    assert (need.array, need.weight_load) == (12 * 5, 4 * 147)
    # 3 x 3 windows of 7 x 6 pixels: 19 of 21 rows and 16 of 18 columns are inside.
    assert inside_share(CONV) == pytest.approx(19 / 21 * 16 / 18)


LOADED = {
    "linear": Gemm(1, 1, 300, 200, 300, "int4", None, True, True, 0.0),
    "requantized": Gemm(1, 1, 100, 150, 140, "int8", bias=True, requantize=True),
    "attention": Gemm(3, 1, 100, 150, 140, ""),
    "conv": Gemm(2, 2, 42, 130, 108, "int4", CONV, True, False, 0.0),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", LOADED)
def test_bytes_are_those_that_are_moved(name, order):
    op = LOADED[name]
    for x_home, w_home in itertools.product(X_HOMES, W_HOMES):
        tile = GemmTile(40, *array_tile(op, DEFAULT), order, x_home, w_home)
        need, record = resources(op, tile, DEFAULT), measured(op, tile, DEFAULT)
        moved = record["dram_bytes"]
        assert need.read_x + need.read_w + need.read_more == pytest.approx(moved["read"])
        assert need.written == moved["written"]
        # Each unit's cycles; the vector unit's are rounded up for each instruction.
        assert need.vector == pytest.approx(record["units"]["vector"]["busy"], rel=0.05)
        for unit, cycles in (("array", need.array), ("wload", need.weight_load)):
            assert cycles == record["units"][unit]["busy"]


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_instructions_of_a_slow_sequencer(name):
    op, arch = LOADED[name], dataclasses.replace(DEFAULT, sequencer_cycles=64)
    for order, home in itertools.product(ORDERS, ("group", "all")):
        tile = GemmTile(40, *array_tile(op, arch), order, home, home)
        cycles = measured(op, tile, arch)["cycles"]
        # It has work all the time.
        assert resources(op, tile, arch).sequencer == pytest.approx(cycles, rel=0.05)
        assert walk(op, tile, arch).cycles == pytest.approx(cycles, rel=0.05)


OPERATORS = {
    "linear": (Gemm(1, 1, 300, 300, 400, "int4", None, True, True, 0.0), "microscopiq-64x64"),
    "outliers": (Gemm(1, 1, 120, 512, 384, "ms4", None, True), "microscopiq-64x64"),
    "small array": (Gemm(1, 1, 100, 256, 384, "ms2", bias=True), "microscopiq-16x16"),
    "attention": (Gemm(6, 1, 100, 128, 64, ""), "microscopiq-128x128"),
    "conv": (Gemm(1, 1, 256, 96, 288,
                  "int8", Conv(32, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), True, False, 0.0),
             "int8-64x64"),
    "temporal": (Gemm(1, 1, 200, 200, 300, "fineq", None, True, True), "fineq-64x64"),
    "halves": (Gemm(1, 1, 150, 256, 384, "int8", None, True, True), "olive-64x64"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_estimates_are_near_the_simulators_cycles(name):
    op, machine = OPERATORS[name]
    arch = load_arch(machine)
    tiles = random.Random(name).sample(legal_tiles(op, arch), 40)
    errors = [
        abs(walk(op, tile, arch).cycles / measured(op, tile, arch)["cycles"] - 1) for tile in tiles
    ]
    assert statistics.median(errors) <= 0.05 and max(errors) <= 0.15, sorted(errors)[-5:]


def test_no_tile_is_estimated_below_its_busiest_unit():
    for op, machine in OPERATORS.values():
        arch = load_arch(machine)
        for tile in legal_tiles(op, arch)[::97]:
            cost = tile_cost(op, tile, arch)
            assert cost.busiest <= cost.cycles, tile
            assert cost.head > 0 and cost.tail > 0 and cost.head + cost.tail < cost.cycles
    assert work_of(op, arch) is work_of(op, arch)
