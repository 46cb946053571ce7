"""The area of a machine: instances of each part times the area of one."""

import math
from dataclasses import dataclass

from .arch import HALF_BITS, Arch
from .formats import MICRO_BLOCK, WEIGHT_FORMATS
from .technology import Entry, Technology, load_technology
from .weight import blocks

COMPUTE = ("array", "recon", "control")
"""Components that papers call compute area: no memories, no vector unit."""
ACTIVATION_BITS = 8
MEMORIES = ("spad", "wbuf", "acc", "obuf")


@dataclass(frozen=True)
class Part:
    """One row of an area table.

    Attributes
    ----------
    component : str
        What it belongs to: a component of `runtime.energy.COMPONENTS`.
    count : int
        Instances, or bytes of a memory.
    entry : Entry
        Area of one instance and its source.
    """

    component: str
    name: str
    count: int
    entry: Entry

    @property
    def um2(self) -> float:
        return self.count * self.entry.value


def area(arch: Arch, technology: Technology | None = None) -> list[Part]:
    """Return the parts of a machine with their areas; `technology` is the machine's own if None.

    A unit without limit (`vector_lanes = 0`) has no area; a memory has no port of its own.
    """
    table = technology or load_technology(arch.technology)
    parts = _array(arch, table) + _weight_loading(arch, table)
    parts += _replay(arch, table)
    if arch.recon_units:
        segments, columns = recon_segments(arch)
        # MicroScopiQ A3 has n (log2 n + 1) switches. The first rank only parts values and the
        # last only merges them, so that both together have the gates of one. FIFOs of depths
        # n - 1 to 0 undo the array's skew, of columns that work in one cycle the same.
        switches = columns * math.ceil(math.log2(columns))
        together = min(arch.skew_columns, columns)
        groups = columns // together
        places = together * groups * (groups - 1) // 2
        networks = arch.recon_units * segments
        parts.append(Part("recon", "switch", networks * switches, table.recon_switch_um2))
        buffer = table.sync_buffer_word_um2
        parts.append(Part("recon", "sync buffer word", networks * places, buffer))
    parts.append(Part("control", "controller", 1, table.control_um2))
    if arch.vector_lanes:
        parts.append(Part("vector", "fp32 lane", arch.vector_lanes, table.vector_lane_um2))
    sizes = arch.numbers()
    parts += [Part(m, "byte", sizes[f"{m}_bytes"], table.sram_um2_per_byte) for m in MEMORIES]
    return parts


def _replay(arch: Arch, table: Technology) -> list[Part]:
    """Return what rows with lists of inputs add: networks for the activations, and the lists.

    A list ascends, so that log2(inputs) ranks of multiplexers bring any activation of a group to
    any row. Each row of a plane keeps for each list an input, a shift of up to 31, and whether its
    digits have signs. Where a list starts, the columns before hand on nothing.
    """
    formats = [WEIGHT_FORMATS[name] for name in arch.weight_formats]
    formats = [row for row in formats if row.has_outliers]
    if not (arch.replay_columns and formats):
        return []
    group = max(row.group for row in formats)
    lists = max(blocks(arch.columns(row.bits), arch.replay_columns) for row in formats)
    ranks = (group - 1).bit_length()
    starts = (lists - 1) * arch.array_rows
    bits = lists * arch.array_rows * arch.weight_planes * (5 + ranks + 1)
    multiplexers = ACTIVATION_BITS * (lists * ranks * group + starts)
    return [
        Part("array", "replay multiplexer bit", multiplexers, table.replay_multiplexer_um2_per_bit),
        Part("array", "replay list bit", bits, table.weight_register_um2_per_bit),
    ]


def recon_segments(arch: Arch) -> tuple[int, int]:
    """Return the segments of a ReCoN unit and the columns of each."""
    columns = min(arch.recon_segment_columns or arch.array_cols, arch.array_cols)
    return -(-arch.array_cols // columns), columns


def compute_um2(parts: list[Part]) -> float:
    """Return the area of array, ReCoN and controller."""
    return sum(part.um2 for part in parts if part.component in COMPUTE)


def peak_tops(arch: Arch, bits: int) -> float:
    """Return 10^12 operations per second at the clock, two per multiply-accumulate."""
    rows = arch.array_rows / arch.row_cycles(bits)
    return 2 * rows * arch.columns(bits) * arch.clock_mhz / 1e6


def peaks(arch: Arch, parts: list[Part]) -> dict[str, dict[str, float]]:
    """Return by weight format the peak, in TOPS and in TOPS per mm2 of compute area."""
    mm2 = compute_um2(parts) / 1e6
    tops = {name: peak_tops(arch, WEIGHT_FORMATS[name].pe_bits) for name in arch.weight_formats}
    return {name: {"tops": peak, "tops_per_mm2": peak / mm2} for name, peak in tops.items()}


def to_json(arch: Arch, technology: Technology, parts: list[Part]) -> dict:
    """Return an area table for files and `--json`."""
    return {
        "arch": arch.name,
        "technology": technology.name,
        "parts": [
            {
                "component": part.component,
                "part": part.name,
                "count": part.count,
                "um2_each": part.entry.value,
                "um2": part.um2,
                "source": part.entry.source,
            }
            for part in parts
        ],
        "compute_um2": compute_um2(parts),
        "um2": sum(part.um2 for part in parts),
        "peaks": peaks(arch, parts),
    }


def pe_side_um(numbers: dict[str, int], table: Technology) -> float:
    """Return the side of a square as large as what multiplies in one array row and column."""
    return math.sqrt(sum(entry.value * count for _, count, entry in _pe(numbers, table)))


def bus_bits(numbers: dict[str, int]) -> int:
    """Return the wires of a weight bus: an array row, and what goes with it.

    A micro-block of columns gets the row's place in the bus's share, the plane and an enable.
    """
    columns = numbers["array_cols"]
    micro_blocks = blocks(columns, MICRO_BLOCK)
    share = blocks(numbers["array_rows"], numbers["weight_buses"])
    address = (share - 1).bit_length() + (numbers["weight_planes"] - 1).bit_length() + 1
    return columns * numbers["pe_weight_bits"] + address * micro_blocks + merge_bits(numbers)


def merge_bits(numbers: dict[str, int]) -> int:
    """Return the wires of a weight bus that bring merges; 0 without ReCoN.

    To each of `merge_strips` micro-blocks go an outlier's scale and permutation list, 4 bytes, and
    the micro-block's number.
    """
    number = (blocks(numbers["array_cols"], MICRO_BLOCK) - 1).bit_length()
    return numbers["merge_strips"] * (32 + number) if numbers["recon_units"] else 0


def _weight_loading(arch: Arch, table: Technology) -> list[Part]:
    """Return what planes beyond the second and buses beyond the first add.

    The first ones are part of the array's figures. Wires lie over the cells, as all others do: a
    bus has a register and a driver for each at the array's edge.
    """
    bit, bits = table.weight_register_um2_per_bit, arch.array_cols * arch.pe_weight_bits
    planes, buses = arch.weight_planes - 2, arch.weight_buses - 1
    parts = []
    if planes:
        parts.append(Part("array", "plane bit", planes * arch.array_rows * bits, bit))
    if buses:
        parts.append(Part("array", "weight bus bit", buses * bus_bits(arch.numbers()), bit))
    return parts


def _array(arch: Arch, table: Technology) -> list[Part]:
    pes = arch.array_rows * arch.array_cols
    parts = [
        Part("array", name, count * pes, entry) for name, count, entry in _pe(arch.numbers(), table)
    ]
    if arch.temporal_cycles:
        parts.append(Part("array", "group decoder", arch.array_cols, table.group_decoder_um2))
    return parts + _pairs(arch, table)


def _pairs(arch: Arch, table: Technology) -> list[Part]:
    """Return what outlier-victim pairs and halves of activations add.

    OliVe's array decodes activations too, at the edge that they come from, and has decoders for 8
    bits at every other row and column: MicroScopiQ's Table 5 counts 128 and 64 of 64x64 PEs.
    """
    pes, edges = arch.array_rows * arch.array_cols, arch.array_rows + arch.array_cols
    halves = arch.pe_activation_bits == HALF_BITS
    parts = [("joined PEs", blocks(pes, 4), table.joined_pes_um2)] if halves else []
    if arch.pair_decoders:
        parts.append(("pair decoder", edges, table.pair_decoder_um2))
        parts.append(("wide decoder", blocks(edges, 2), table.wide_decoder_um2))
        if not halves:
            parts.append(("product shifter", pes, table.product_shifter_um2))
    return [Part("array", name, count, entry) for name, count, entry in parts]


def _pe(numbers: dict[str, int], table: Technology) -> list[tuple[str, int, Entry]]:
    """Return the parts of what multiplies in one array row and column, and how many of each."""
    bits = numbers["pe_weight_bits"]
    if numbers["temporal_cycles"]:
        return [("temporal PE", 1, table.temporal_pe_um2)]
    if numbers["pe_activation_bits"] == HALF_BITS:
        return [("exponent-integer PE", 1, table.exponent_pe_um2)]
    if numbers["multi_precision"]:
        # The PE of the tables takes 4 bits; a wider one is several.
        count = blocks(bits, 4)
        return [
            ("multi-precision PE", count, table.multi_precision_pe_um2),
            ("multi-precision unit", count, table.multi_precision_unit_um2),
        ]
    plain = table.plain_pe_4bit_um2 if bits <= 4 else table.plain_pe_8bit_um2
    return [("plain PE", 1, plain)]
