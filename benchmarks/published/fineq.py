"""FineQ (DATE 2025): -61.2 % of the array's area and 1.79x energy efficiency, from components.

The abstract says what is saved but not against which array. So the baseline is explicit here:
a multiply-accumulate PE beside a temporal PE (sign-controlled adder, no multiplier), both counted
in cells of one library, both with the sums their widths need.
"""

import math

from microscopiq.target.technology import Technology, load_technology

from . import Figure
from .gates import ACTIVATION_BITS, SUM_BITS, group_decoder, mac_pe, register, temporal_pe

AREA_SAVED = 61.2
EFFICIENCY = 1.79
TEMPUS_SAVED = 59.3
"""Percent of NVDLA's INT8 unit (Vellaisamy et al., arXiv 2412.19002, abstract)."""
ROWS, COLUMNS = 64, 64
INPUTS = 4096
"""Products in one sum of an LLM's layer: 12 bits beside those of a product."""
WEIGHT_BITS = 3
LARGEST = 3
"""Largest magnitude of a weight, and the cycles of a full stream."""
FP16_UM2 = {"multiply": 1640.0, "add": 1360.0}
"""45 nm (Dally, NIPS 2015 tutorial)."""


def figures() -> list[Figure]:
    return [*_area(), *_energy()]


def sum_bits(weight_bits: int, activation_bits: int) -> int:
    """Return the width that holds a sum of `INPUTS` products of two's complement values."""
    return weight_bits + activation_bits + math.ceil(math.log2(INPUTS))


def saved(weight_bits: int, activation_bits: int, exact_sums: bool) -> float:
    """Return the share of the array's area that temporal PEs save, decoders counted."""
    narrow = sum_bits(WEIGHT_BITS, activation_bits) if exact_sums else SUM_BITS
    wide = sum_bits(weight_bits, activation_bits) if exact_sums else SUM_BITS
    pe = temporal_pe(activation_bits, narrow).um2 + group_decoder().um2 / COLUMNS
    return 1 - pe / mac_pe(weight_bits, activation_bits, wide).um2


def saved_fp16() -> float:
    """Return the same for fp16 activations and sums, whose adder both arrays need."""
    stored = register(3 + 16 + 16).um2
    temporal = FP16_UM2["add"] + stored + group_decoder().um2 / COLUMNS
    return 1 - temporal / (FP16_UM2["multiply"] + FP16_UM2["add"] + register(3 * 16).um2)


def _area() -> list[Figure]:
    rows = [
        (
            saved(8, 8, False),
            "8-bit weights and activations, 32-bit sums, as `int8-64x64`; Tempus Core's INT8 unit "
            f"(arXiv 2412.19002), the same idea synthesized at 45 nm, saves {TEMPUS_SAVED} %",
        ),
        (saved(8, 8, True), "8-bit weights and activations, sums as wide as 4096 inputs need"),
        (
            saved(8, 16, True),
            "8-bit weights, 16-bit activations, sums as wide as needed: the closest, but nothing "
            "says that the paper means it",
        ),
        (saved(16, 16, True), "16-bit weights and activations, sums as wide as needed"),
        (saved(4, 8, True), "4-bit weights, 8-bit activations, sums as wide as needed"),
        (saved_fp16(), "fp16 throughout: the adder stays"),
    ]
    what = "array area saved"
    return [
        Figure("FineQ", what, "%", AREA_SAVED, 100 * share, None, f"against {baseline}")
        for share, baseline in rows
    ]


def mac_pj(table: Technology, weight_bits: int = 8) -> float:
    """Return the energy of a multiply-accumulate in a weight-stationary PE with 32-bit sums."""
    product = weight_bits * ACTIVATION_BITS * table.multiply_pj_per_bit_product.value
    hold = table.register_pj_per_bit.value
    return product + SUM_BITS * (table.add_pj_per_bit.value + hold) + ACTIVATION_BITS * hold


def temporal_pj(table: Technology, pulses: float, gated: bool = True) -> float:
    """Return the energy of a weight with a mean magnitude `pulses` in a temporal PE.

    Registers are clocked by pulses, or in all `LARGEST` cycles of the stream if not `gated`.
    """
    add, hold = table.add_pj_per_bit.value, table.register_pj_per_bit.value
    clocked = pulses if gated else LARGEST
    passed = 1 if gated else LARGEST
    return SUM_BITS * (pulses * add + clocked * hold) + passed * ACTIVATION_BITS * hold


def pulses_of_gaussian(largest: int) -> float:
    """Return the mean magnitude of Gaussian weights, a third of a channel's maximum as step.

    The maximum of `INPUTS` values lies at about sqrt(2 ln INPUTS) deviations; `largest` is 1
    where every weight has 2 bits and 3 where every one has 3 bits.
    """
    step = math.sqrt(2 * math.log(INPUTS)) / LARGEST
    return sum(math.erfc((k - 0.5) * step / math.sqrt(2)) for k in range(1, largest + 1))


def _energy() -> list[Figure]:
    rows = []
    for name in ("tsmc7", "nangate45"):
        table = load_technology(name)
        for largest, kind in ((1, "2-bit"), (3, "3-bit")):
            pulses = pulses_of_gaussian(largest)
            ratio = mac_pj(table) / temporal_pj(table, pulses)
            rest = (1 / EFFICIENCY - 1 / ratio) / (1 - 1 / ratio)
            note = (
                f"{name}, the array alone, all weights {kind}, {pulses:.2f} pulses each; 1.79 is "
                f"reached if {rest:.0%} of the energy lies outside and stays"
            )
            rows.append(Figure("FineQ", "energy efficiency", "x", EFFICIENCY, ratio, None, note))
    table = load_technology("nangate45")
    free = mac_pj(table) / temporal_pj(table, pulses_of_gaussian(3), gated=False)
    note = f"nangate45, registers clocked in all {LARGEST} cycles: without gating nothing is saved"
    rows.append(Figure("FineQ", "energy efficiency", "x", EFFICIENCY, free, None, note))
    return rows
