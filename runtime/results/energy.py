"""The energy of a call: its counted events times what one costs in a technology.

Dynamic energy only: no public figure of leakage at 7 nm fits these parts, and wires between parts
are in none of the tables. What an idle part burns is therefore missing, not zero.
"""

from ...target.arch import row_cycles, slot_bits
from ...target.area import MEMORIES, pe_side_um
from ...target.technology import Technology

COMPONENTS = ("array", "recon", "vector", *MEMORIES, "dram", "control")


def call_energy(call: dict, numbers: dict[str, int], technology: Technology) -> dict[str, float]:
    """Return the energy of one call in pJ, by component.

    Parameters
    ----------
    call : dict
        A record of `microscopiq.stats` (`CallRecord` in runtime/src/stats.h).
    numbers : dict of str to int
        The architecture's integer keys.
    """
    energy = {
        "array": _array(call, numbers, technology),
        "recon": _recon(call, numbers, technology),
        "vector": call["vector_ops"] * technology.vector_op_pj.value,
        "dram": _dram_bytes(call) * technology.dram_pj_per_byte.value,
        "control": call["instructions"] * technology.instruction_pj.value,
    }
    for memory in MEMORIES:
        each = technology.sram_pj_per_byte(numbers[f"{memory}_bytes"])
        energy[memory] = sum(call["memory_bytes"][memory].values()) * each
    return {component: energy[component] for component in COMPONENTS}


def _dram_bytes(call: dict) -> int:
    """Return the bytes that cross the bus: those of whole bursts, where the memory has such."""
    bursts = sum(call["dram_burst_bytes"].values())
    return bursts or sum(call["dram_bytes"].values())


def no_energy() -> dict[str, float]:
    """Return the energy of a run without a program call."""
    return dict.fromkeys(COMPONENTS, 0.0)


def _array(call: dict, numbers: dict[str, int], technology: Technology) -> float:
    """Return what PEs multiply, add and hold.

    A weight is written once, over a bus. Per multiply-accumulate, a PE passes an activation on
    and adds to a partial sum: weights that share a PE share its activation (MicroScopiQ A3), and a
    weight over several PEs is added in each. In temporal coding a multiplication is so many
    additions, and a sum is held by each PE that it passes in every cycle of its row. PEs that take
    half an activation do so once or, joined for a wide weight, twice. Decoders of pairs and
    shifters have no entry: what they cost is missing. Zeros count.
    """
    bits, pes = call["weight_bits"], _pes(call, numbers)
    turns = row_cycles(bits, numbers["pe_weight_bits"], numbers["pe_activation_bits"])
    width = numbers["pe_activation_bits"] * turns
    macs = call["macs"] + call.get("zero_macs", 0)
    add, register = technology.add_pj_per_bit.value, technology.register_pj_per_bit.value
    sums, products = macs * max(1.0, pes) * turns, macs * bits * width
    held = sums
    if numbers["temporal_cycles"]:
        sums, held, products = call["temporal_adds"], call["temporal_sums"], 0
    return (
        products * technology.multiply_pj_per_bit_product.value
        + numbers["accumulator_bits"] * (sums * add + held * register)
        + macs * pes * width * register
        + call["accesses"]["weights"] * bits * (register + _bus(numbers, technology))
    )


def _bus(numbers: dict[str, int], technology: Technology) -> float:
    """Return what a bit of a weight costs on the wires of buses beyond the first, on average.

    The n-th of them goes past the array rows of the shares before, to the end of its own.
    """
    buses = numbers["weight_buses"]
    share = -(-numbers["array_rows"] // buses)
    rows = sum(share * (number + 1) for number in range(1, buses)) / buses
    length_mm = rows * pe_side_um(numbers, technology) / 1000
    return length_mm * technology.weight_bus_pj_per_bit_per_mm.value


def _recon(call: dict, numbers: dict[str, int], technology: Technology) -> float:
    """Return what the switches and the buffer before them cost: all sums of a row pass both."""
    switch, buffer = technology.recon_switch_pj_per_bit, technology.sync_buffer_pj_per_bit
    passes = call["recon"]["passes"]
    if not passes:
        return 0.0
    columns = numbers["array_cols"] / _pes(call, numbers)
    waiting = passes * min(numbers["recon_segment_columns"] or columns, columns)
    sums = call["recon"]["switch_ops"] * switch.value + waiting * buffer.value
    return sums * numbers["accumulator_bits"]


def _pes(call: dict, numbers: dict[str, int]) -> float:
    """Return how many PEs a weight takes: below 1 where weights share one."""
    bits = call["weight_bits"]
    return slot_bits(bits) / numbers["pe_weight_bits"] if numbers["multi_precision"] else 1.0
