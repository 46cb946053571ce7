"""MicroScopiQ (ISCA 2025): Table 5, Fig. 17, Fig. 18a and the area of its public RTL."""

import dataclasses
import math

from microscopiq.target.arch import Arch, load_arch
from microscopiq.target.area import area, compute_um2, peak_tops
from microscopiq.target.technology import load_technology

from . import Figure

TABLE_5 = {
    # design: parts as (um2, count), TOPS of 64x64 PEs at 1 GHz, printed mm2, overhead %, TOPS/mm2
    "GOBO": (
        {"group PE": (36.56, 4096), "outlier PE": (96.42, 64), "control": (115.36, 1)},
        8.192,
        (0.216, 3.28, 28.28),
    ),
    "OliVe": (
        {
            "4-bit decoder": (1.86, 128),
            "8-bit decoder": (2.47, 64),
            "PE": (2.51, 4096),
            "multi-precision": (0.68, 1024),
            "control": (95.49, 1),
        },
        8.192,
        (0.011, 9.90, 184.30),
    ),
    "MicroScopiQ": (
        {
            "ReCoN": (204.68, 1),
            "sync buffer": (20.45, 1),
            "PE": (2.82, 4096),
            "multi-precision": (0.22, 4096),
            "control": (105.78, 1),
        },
        16.384,
        (0.012, 8.63, 367.51),
    ),
}
OVERHEAD = {
    "GOBO": ("outlier PE",),
    "OliVe": ("4-bit decoder", "8-bit decoder", "multi-precision"),
    "MicroScopiQ": ("ReCoN", "multi-precision"),
}
"""The parts that come closest to the printed overhead; the paper doesn't say which it counts."""
FIG_17_UM2 = {8: 387.86, 16: 1305.40, 128: 74000.0}
FIG_17_RECON = {1: 3.0, 8: 11.0}
"""Percent of the area at 128x128 that 1 and 8 ReCoN units take."""
FIG_18A = {2: 1.17, 4: 1.31, 8: 1.58}
RTL_28NM_UM2 = {"PE": 186.1, "multiplier": 15.9}
RTL_TO_7NM = 0.18
"""Area factor from 28 to 7 nm: between 0.13 of 32 nm and 0.28 of 20 nm (Stillmaker and Baas)."""
PLENA = (0.1378, 59.45)
"""mm2 and TOPS/mm2 of a 64x64 core that the PLENA paper synthesized again at 7 nm, 1 GHz."""


def figures() -> list[Figure]:
    return [*_table_5(), *_fig_18a(), *_fig_17(), *_rtl()]


def parts_um2(design: str, names=None) -> float:
    """Return the area of a design of Table 5, or of some of its parts."""
    parts = TABLE_5[design][0]
    return sum(um2 * count for name, (um2, count) in parts.items() if not names or name in names)


def compute(arch: Arch | str, technology: str = "tsmc7") -> float:
    """Return our compute area in um2."""
    return compute_um2(area(load_arch(arch), load_technology(technology)))


def _table_5() -> list[Figure]:
    rows = []
    for design, (_, peak, (mm2, overhead, density)) in TABLE_5.items():
        total = parts_um2(design)
        bound, note = 0.07, "the parts sum to more than the printed figure, which is cut off"
        if design == "GOBO":
            missing = (mm2 * 1e6 - total) / 96.42
            bound, note = None, f"its parts don't sum: {missing:.0f} outlier PEs more would"
        rows.append(Figure("Table 5", f"{design}: area", "mm2", mm2, total / 1e6, bound, note))
        extra = 100 * parts_um2(design, OVERHEAD[design]) / total
        names = " + ".join(OVERHEAD[design])
        bound = 0.005 if design == "MicroScopiQ" else None
        note = f"({names}) over all parts: the closest of all such shares"
        if design == "GOBO":
            printed = extra * total / (mm2 * 1e6)
            note = f"({names}) over all parts; over the printed area it is {printed:.2f} %"
        rows.append(Figure("Table 5", f"{design}: overhead", "%", overhead, extra, bound, note))
        done = density * (mm2 if design == "GOBO" else total / 1e6)
        note = f"ours is the peak; the printed one is {done:.2f} TOPS, {done / peak:.0%} of it"
        ours = peak / (total / 1e6)
        rows.append(Figure("Table 5", f"{design}: density", "TOPS/mm2", density, ours, None, note))
    ours = compute("microscopiq-64x64") / 1e6
    total = parts_um2("MicroScopiQ") / 1e6
    note = "the sum of its parts; `microscopiq area microscopiq-64x64`"
    rows.append(Figure("Table 5", "MicroScopiQ: area from tsmc7", "mm2", total, ours, 0.001, note))
    return rows


def _fig_18a() -> list[Figure]:
    one = load_arch("microscopiq-64x64")
    base = compute(one)
    rows = []
    for units, published in FIG_18A.items():
        ours = compute(dataclasses.replace(one, recon_units=units)) / base
        each = (published - 1) * base / (units - 1)
        unit = (ours - 1) * base / (units - 1)
        note = f"a further unit costs {each:.0f} um2 in the figure, {unit:.0f} um2 in Table 5"
        rows.append(Figure("Fig. 18a", f"{units} ReCoN units", "x", published, ours, None, note))
    return rows


def _fig_17() -> list[Figure]:
    rows = []
    for size, label in FIG_17_UM2.items():
        ours = compute(f"microscopiq-{size}x{size}")
        more = (label - ours) / size**2
        note = f"{more:.2f} um2 per PE more than its parts"
        if size == 8:
            cells = 8 * (64 << 10) * 0.027
            note += f"; no label has the buffers: the cells of 64 kB alone take {cells:,.0f} um2"
        rows.append(Figure("Fig. 17", f"{size}x{size}: area", "um2", label, ours, None, note))
    big = load_arch("microscopiq-128x128")
    for units, share in FIG_17_RECON.items():
        arch = dataclasses.replace(big, recon_units=units)
        parts = area(arch, load_technology("tsmc7"))
        recon = sum(part.um2 for part in parts if part.component == "recon")
        note = "with both shares, a unit takes 1.28 % and something shared 1.7 %"
        rows.append(
            Figure(
                "Fig. 17",
                f"128x128: ReCoN, {units} unit(s)",
                "%",
                share,
                100 * recon / compute_um2(parts),
                None,
                note,
            )
        )
    return rows


def _rtl() -> list[Figure]:
    arch = load_arch("microscopiq-64x64")
    mm2, density = PLENA
    ours = compute(arch, "rtl7") / 1e6
    pe = RTL_28NM_UM2["PE"] * RTL_TO_7NM
    note = f"rtl7: the authors' RTL has a PE of {pe:.1f} um2, 11 times Table 5's, registers and all"
    rows = [Figure("PLENA", "MicroScopiQ 64x64 again", "mm2", mm2, ours, 0.02, note)]
    note = "peak of 4-bit weights"
    rows.append(
        Figure("PLENA", "density", "TOPS/mm2", density, peak_tops(arch, 4) / ours, 0.02, note)
    )
    multiplier = RTL_28NM_UM2["multiplier"] * RTL_TO_7NM
    note = "the multiplier alone of the RTL's PE at 7 nm: Table 5's PE leaves its registers no room"
    rows.append(Figure("Table 5", "PE", "um2", 2.82, multiplier, 0.02, note))
    return rows


def recon_pass_share() -> float:
    """Return the energy of one ReCoN pass over that of a full step of 4-bit weights."""
    arch, table = load_arch("microscopiq-64x64"), load_technology("tsmc7")
    n = arch.array_cols
    switches = n * (math.log2(n) + 1)
    each = switches * table.recon_switch_pj_per_bit.value + n * table.sync_buffer_pj_per_bit.value
    hold, add = table.register_pj_per_bit.value, table.add_pj_per_bit.value
    mac = 4 * 8 * table.multiply_pj_per_bit_product.value
    mac += arch.accumulator_bits * (add + hold) + 8 * hold
    return each * arch.accumulator_bits / (n * arch.array_rows * mac)
