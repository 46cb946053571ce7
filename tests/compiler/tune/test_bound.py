"""compiler/tune/bound.py: each resource's least cycles, counted by hand."""

import dataclasses

import pytest

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Conv, Gemm
from microscopiq.compiler.tune.bound import bound_of, least_bytes
from microscopiq.target.arch import load_arch
from microscopiq.target.segment import panel_bytes

ARCH = load_arch("microscopiq-64x64")
OP = Gemm(2, 1, 100, 200, 300, "ms4", bias=True)
VISITED = {"recon": {"passes": 48_000}}


def test_each_resource_by_hand():
    segment = stand_in_segment(OP)
    bound = bound_of(OP, ARCH, segment, VISITED)
    # 300 inputs are 2 + 2 + 1 planes of 64 rows, 200 columns 2 + 2 planes; two batches of 100 rows.
    assert bound.compute == 2 * 100 * 5 * 4
    # A cycle for each array row of the four columns of planes, the last of 300 - 256 rows.
    assert bound.weight_load == 2 * 4 * 300
    # Three groups of inputs are added, and the bias, 128 elements a cycle.
    assert bound.vector == 2 * 100 * 200 * (3 + 1) / 128
    assert bound.recon == 48_000
    # First byte and last byte, 64 rows of the first plane, a last plane of 44 rows and 8 columns,
    # and the vector unit's 4 cycles.
    assert bound.latency == 2 * 100 + 64 + (44 + 8 - 2) + 4
    assert bound.latency_dma == 100
    inputs, weights = 2 * (100 * 300 + 100 * 3), int(panel_bytes(segment).sum())
    results, bias = 2 * 100 * 200 * 4, 200 * 4
    assert least_bytes(OP, segment) == inputs + weights + results + bias
    assert bound.dma == (inputs + weights + results + bias) / 256


def test_what_stands_behind_a_product_takes_the_vector_unit():
    """Sums of three groups, then a step for each: bias, residual, clamp; two to quantize again."""
    for behind, steps in (
        ({}, 0),
        ({"bias": True, "residual": True}, 2),
        ({"low": 0.0}, 1),
        ({"high": 6.0}, 1),
        ({"low": 0.0, "high": 6.0}, 1),
        ({"bias": True, "requantize": True}, 3),
    ):
        op = Gemm(1, 1, 100, 256, 300, "int8", **behind)
        bound = bound_of(op, ARCH, stand_in_segment(op), {"recon": {"passes": 0}})
        assert bound.vector == 100 * 256 * (3 + steps) / 128
    segment = stand_in_segment(op)
    # int8 codes, and an exponent for each row and each of the two blocks of 128 columns.
    stored = 100 * 256 + 100 * 2
    inputs, weights = 100 * 300 + 100 * 3, int(panel_bytes(segment).sum())
    assert least_bytes(op, segment) == inputs + weights + stored + 256 * 4


@pytest.mark.parametrize(
    ("weight_format", "segment", "units", "networks"),
    [
        ("ms4", 0, 1, 1),
        ("ms4", 0, 4, 4),
        ("ms4", 16, 2, 2 * 64 // 16),
        ("ms2", 16, 2, 2 * 128 // 16),  # twice as many weights of 2 bits beside each other
        ("ms4", 64, 1, 1),
        ("ms4", 256, 1, 1),  # no network is wider than the array
    ],
)
def test_visits_are_shared_by_networks(weight_format, segment, units, networks):
    arch = dataclasses.replace(ARCH, recon_segment_columns=segment, recon_units=units)
    op = dataclasses.replace(OP, weight_format=weight_format)
    assert bound_of(op, arch, stand_in_segment(op), VISITED).recon == 48_000 / networks


def test_what_stops_a_layer():
    # One row: a plane takes 64 cycles to load and one to use.
    row = Gemm(1, 1, 1, 256, 1024, "int8")
    bound = bound_of(row, ARCH, stand_in_segment(row), {"recon": {"passes": 0}})
    assert bound.weight_load == 1024 * 256 / 32 and bound.compute == bound.weight_load / 64
    assert bound.floor == bound.weight_load + 100 and bound.stopper() == "weight load"
    assert bound_of(OP, ARCH, stand_in_segment(OP), VISITED).stopper() == "recon"
    nothing = dataclasses.replace(bound, compute=1e6)
    assert nothing.stopper() == "" and nothing.cycles == 1e6


def test_pixels_outside_of_all_windows_are_not_loaded():
    # 1 x 1 windows, every second pixel of 7: 4 of them.
    conv = Conv(3, 7, 7, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1)
    op = Gemm(1, 1, 16, 8, 3, "int8", conv)
    segment = stand_in_segment(op)
    weights = int(panel_bytes(segment).sum())
    assert least_bytes(op, segment) == 3 * 4 * 4 + 1 + weights + 16 * 8 * 4
