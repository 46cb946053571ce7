"""runtime/src/recon/plan.cc: which part of an array works on a plane, and which rows visit whom."""

import dataclasses

import pytest

from microscopiq.target.isa import instructions as isa
from tests.runtime.gemm_program import at
from tests.runtime.timeline import FREE_DRAM, matmul, module_of, ms4_plane, ms4_weight, timed

# 4 x 16 weights of 4 bits.
WIDE = dataclasses.replace(FREE_DRAM, array_cols=8)
ONE, TWO = [(1, 0)], [(0, 2), (3, 6)]
M = 3


def visit(cols, pairs, rows=4, **keys):
    """Return turns, further latency, passes and second passes of a row, and switches of a visit."""
    arch = dataclasses.replace(WIDE, **keys)
    code = [isa.Clip(15, cols, cols, at()), *ms4_plane(rows, 15), matmul(M)]
    record, _ = timed(module_of(arch, (ms4_weight(cols, rows, pairs),), f=code), "f")
    recon, array = record["recon"], record["units"]["array"]
    turns, rest = divmod(array["recon"], M - 1)
    assert rest == 0 and array["busy"] == M
    rest = [recon["passes"] % M, recon["second_passes"] % M, recon["switch_ops"] % recon["passes"]]
    assert rest == [0, 0, 0]
    switches = recon["switch_ops"] // recon["passes"]
    return (1 + turns, array["fill_drain"], recon["passes"] // M, recon["second_passes"] // M,
            switches)  # fmt: skip


# Without outliers the last sum comes (rows - 1) + (cols - 1) cycles later. A network of 8 columns
# has 4 ranks and holds a row back by 7 + 4, one of 16 has 5.
@pytest.mark.parametrize(
    ("segment", "pairs", "want"),
    [
        # One network for both micro-blocks of a row; two visits where one of them needs two.
        (0, {(1, 2): ONE}, (1, 3 + 15 + 12, 1, 0, 16 * 5)),
        (0, {(0, 2): ONE, (1, 2): ONE}, (1, 3 + 15 + 12, 1, 0, 16 * 5)),
        (0, {(0, 0): TWO, (1, 0): ONE}, (2, 3 + 15 + 12 + 5, 2, 1, 16 * 5)),
        # A segment can't be wider than the array.
        (64, {(1, 2): ONE}, (1, 3 + 15 + 12, 1, 0, 16 * 5)),
        (16, {(1, 2): ONE}, (1, 3 + 15 + 12, 1, 0, 16 * 5)),
        # A network for each: the right one's last column is 15, the left one's 7.
        (8, {(0, 2): ONE}, (1, 3 + 7 + 11, 1, 0, 8 * 4)),
        (8, {(0, 2): ONE, (1, 2): ONE}, (1, 3 + 15 + 11, 2, 0, 8 * 4)),
        # The busiest strip decides the turns. Its second row comes 12 cycles later, in turn.
        (8, {(0, 2): ONE, (1, 1): ONE, (1, 2): ONE}, (2, 3 + 15 + 22 + 1, 3, 0, 8 * 4)),
        # Second passes: 4 ranks after the first, and a cycle more in turns of 2.
        (8, {(1, 3): TWO}, (2, 3 + 15 + 11 + 4 + 1, 2, 1, 8 * 4)),
    ],
)
def test_strips(segment, pairs, want):
    assert visit(16, pairs, recon_segment_columns=segment) == want


def test_networks_of_a_strip_share_its_visits():
    rows = {(0, row): ONE for row in range(4)}
    assert visit(8, rows, recon_segment_columns=8)[0] == 4
    assert visit(8, rows, recon_segment_columns=8, recon_units=2)[0] == 2
    # Three rows every four cycles: those of this test are the first three.
    assert visit(8, rows, recon_segment_columns=8, recon_units=3)[0] == 1
    assert visit(8, rows, recon_segment_columns=8, recon_units=4)[0] == 1
    # With two, the second pass comes in the first one's residue and takes the other network.
    found = visit(8, {(0, 0): TWO}, recon_segment_columns=8, recon_units=2)
    assert found == (1, 3 + 7 + 11 + 4, 2, 1, 8 * 4)


def test_a_part_of_the_array():
    # 8 columns of 16: the network is as wide as the array.
    assert visit(8, {(0, 0): ONE}, rows=2) == (1, 1 + 7 + 12, 1, 0, 16 * 5)
    assert visit(8, {(0, 0): ONE}, rows=2, edge_trimming=0) == (1, 3 + 15 + 12, 1, 0, 16 * 5)
    # Strips of 8: the second one has no columns, or none that hold weights.
    segments = {"recon_segment_columns": 8}
    assert visit(8, {(0, 0): ONE}, rows=2, **segments) == (1, 1 + 7 + 11, 1, 0, 8 * 4)
    found = visit(8, {(0, 0): ONE}, rows=2, edge_trimming=0, **segments)
    assert found == (1, 3 + max(7 + 11, 15), 1, 0, 8 * 4)
    # The last micro-block has 4 columns.
    assert visit(12, {(1, 0): ONE}, rows=1, **segments) == (1, 11 + 11, 1, 0, 8 * 4)
    # Weights of 4 bits in PEs that hold one: as many columns as PEs.
    assert visit(8, {(0, 0): ONE}, multi_precision=0) == (1, 3 + 7 + 11, 1, 0, 8 * 4)
