"""The area of a machine: instances of each part times the area of one."""

import math
from dataclasses import dataclass

from .arch import Arch
from .formats import WEIGHT_FORMATS
from .technology import Entry, Technology, load_technology

COMPUTE = ("array", "recon", "control")
"""Components that papers call compute area: no memories, no vector unit."""
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
    parts = _array(arch, table)
    if arch.recon_units:
        segments, columns = recon_segments(arch)
        # MicroScopiQ A3: n (log2 n + 1) switches; FIFOs of depths n - 1 to 0 undo the array's skew.
        switches = columns * (math.ceil(math.log2(columns)) + 1)
        places = columns * (columns - 1) // 2
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


def recon_segments(arch: Arch) -> tuple[int, int]:
    """Return the segments of a ReCoN unit and the columns of each."""
    columns = min(arch.recon_segment_columns or arch.array_cols, arch.array_cols)
    return -(-arch.array_cols // columns), columns


def compute_um2(parts: list[Part]) -> float:
    """Return the area of array, ReCoN and controller."""
    return sum(part.um2 for part in parts if part.component in COMPUTE)


def peak_tops(arch: Arch, bits: int) -> float:
    """Return 10^12 operations per second at the clock, two per multiply-accumulate."""
    return 2 * arch.array_rows * arch.columns(bits) * arch.clock_mhz / 1e6


def peaks(arch: Arch, parts: list[Part]) -> dict[str, dict[str, float]]:
    """Return by weight format the peak, in TOPS and in TOPS per mm2 of compute area."""
    mm2 = compute_um2(parts) / 1e6
    tops = {name: peak_tops(arch, WEIGHT_FORMATS[name].bits) for name in arch.weight_formats}
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


def _array(arch: Arch, table: Technology) -> list[Part]:
    pes = arch.array_rows * arch.array_cols
    if arch.temporal_cycles:
        decoders = Part("array", "group decoder", arch.array_cols, table.group_decoder_um2)
        return [Part("array", "temporal PE", pes, table.temporal_pe_um2), decoders]
    if arch.multi_precision:
        # The PE of the tables takes 4 bits; a wider one is several.
        pes *= -(-arch.pe_weight_bits // 4)
        return [
            Part("array", "multi-precision PE", pes, table.multi_precision_pe_um2),
            Part("array", "multi-precision unit", pes, table.multi_precision_unit_um2),
        ]
    plain = table.plain_pe_4bit_um2 if arch.pe_weight_bits <= 4 else table.plain_pe_8bit_um2
    return [Part("array", "plain PE", pes, plain)]
