"""Technologies: what one instance of a part occupies and what one event costs, with sources."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

from .errors import ConfigError, unknown_name
from .tables import read_with_base, table_names

TECHNOLOGY_DIR = Path(__file__).parent / "technologies"
LARGEST = 1e6
"""Bound of every value: a figure beyond it is in another unit."""
TEXTS = ("name", "description")
KEYS = ("value", "source")


@dataclass(frozen=True)
class Entry:
    """A figure and where it is from; the unit is in the entry's name."""

    value: float
    source: str


@dataclass(frozen=True)
class Technology:
    """One table. Areas are in um2 of one instance, energies in pJ of one event, dynamic only."""

    name: str
    description: str
    node_nm: int
    multi_precision_pe_um2: Annotated[Entry, "PE for one 4-bit weight or two of 2 bits"]
    multi_precision_unit_um2: Annotated[Entry, "what such a PE adds to change its precision"]
    plain_pe_4bit_um2: Annotated[Entry, "multiply-accumulate PE for weights of up to 4 bits"]
    plain_pe_8bit_um2: Annotated[Entry, "multiply-accumulate PE for weights of up to 8 bits"]
    temporal_pe_um2: Annotated[Entry, "PE of temporal coding: sign-controlled adder, no multiplier"]
    group_decoder_um2: Annotated[Entry, "decoder of FineQ's 7-byte groups, one per array column"]
    exponent_pe_um2: Annotated[Entry, "PE for 4 bits by 4 that shifts its product by exponents"]
    joined_pes_um2: Annotated[Entry, "what joins four such PEs for 8 bits by 8"]
    pair_decoder_um2: Annotated[Entry, "decoder of outlier-victim pairs, one per row and column"]
    wide_decoder_um2: Annotated[Entry, "the same for 8 bits, one per two rows or columns"]
    product_shifter_um2: Annotated[Entry, "shifts a product by up to 5 places, where a PE can't"]
    weight_register_um2_per_bit: Annotated[
        Entry, "bit of a third weight plane and more, or of a second weight bus and more"
    ]
    replay_multiplexer_um2_per_bit: Annotated[
        Entry, "bit of a rank of the network that brings listed activations to array rows"
    ]
    recon_switch_um2: Annotated[Entry, "ReCoN switch with two inputs and two outputs"]
    sync_buffer_word_um2: Annotated[Entry, "place of a partial sum that waits for ReCoN"]
    control_um2: Annotated[Entry, "controller of the array"]
    vector_lane_um2: Annotated[Entry, "fp32 lane of the vector unit"]
    sram_um2_per_byte: Annotated[Entry, "on-chip memory with its periphery"]
    multiply_pj_per_bit_product: Annotated[
        Entry, "multiplier, per bit of the weight and bit of the activation"
    ]
    add_pj_per_bit: Annotated[Entry, "integer adder"]
    register_pj_per_bit: Annotated[Entry, "write of a pipeline register, with its clock"]
    weight_bus_pj_per_bit_per_mm: Annotated[Entry, "a weight on a wire of a second bus and more"]
    recon_switch_pj_per_bit: Annotated[Entry, "one partial sum through a ReCoN switch"]
    sync_buffer_pj_per_bit: Annotated[
        Entry, "one partial sum in and out of the buffer before ReCoN"
    ]
    vector_op_pj: Annotated[Entry, "one fp32 element through the vector unit"]
    sram_8kb_pj_per_byte: Annotated[Entry, "access to a memory of 8 kB"]
    sram_32kb_pj_per_byte: Annotated[Entry, "access to a memory of 32 kB"]
    sram_1mb_pj_per_byte: Annotated[Entry, "access to a memory of 1 MB"]
    dram_pj_per_byte: Annotated[Entry, "off-chip transfer, interface included"]
    instruction_pj: Annotated[Entry, "fetch, decode and dispatch of one instruction"]

    def sram_pj_per_byte(self, size_bytes: int) -> float:
        """Return the energy per byte of an access to a memory of a size.

        A power law between the three sizes of the table, its first and last continued beyond.
        """
        points = [
            (8 << 10, self.sram_8kb_pj_per_byte.value),
            (32 << 10, self.sram_32kb_pj_per_byte.value),
            (1 << 20, self.sram_1mb_pj_per_byte.value),
        ]
        (low, at_low), (high, at_high) = points[:2] if size_bytes <= points[1][0] else points[1:]
        exponent = math.log(at_high / at_low) / math.log(high / low)
        return at_low * (size_bytes / low) ** exponent

    def entries(self) -> dict[str, Entry]:
        """Return the entries by name, in the order of declaration."""
        return {name: getattr(self, name) for name in entry_docs()}


@functools.lru_cache(maxsize=1)
def entry_docs() -> dict[str, str]:
    """Return what each declared entry of a technology is, by name."""
    hints = get_type_hints(Technology, include_extras=True)
    return {
        name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")
    }


def unit(name: str) -> str:
    """Return the unit that an entry's name ends with, in words."""
    number, _, per = name.partition("_per_")
    return number.rsplit("_", 1)[1].replace("pj", "pJ") + (
        f" per {per.replace('_', ' ')}" if per else ""
    )


def technology_names() -> list[str]:
    """Return the names of the technologies that come with the package."""
    return table_names(TECHNOLOGY_DIR)


def load_technology(name_or_path: str | Path | Technology) -> Technology:
    """Return a technology by name or from a TOML file.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first), unreadable TOML, or mistakes in the file:
        all of them are named at once.
    """
    if isinstance(name_or_path, Technology):
        return name_or_path
    return from_table(*read_with_base("technology", name_or_path, TECHNOLOGY_DIR, TEXTS, ()))


def from_table(table: dict, where: str) -> Technology:
    """Return a technology from a parsed table, or raise with every mistake in it."""
    known = entry_docs()
    allowed = [*TEXTS, "node_nm", *known]
    mistakes = [unknown_name("entry", name, allowed) for name in sorted(table.keys() - {*allowed})]
    for name in sorted({*allowed} - table.keys()):
        mistakes.append(f"missing entry '{name}' ({known.get(name, 'of the table itself')})")
    for name in TEXTS:
        if name in table and not isinstance(table[name], str):
            mistakes.append(f"{name} = {table[name]!r}: text is needed")
    node = table.get("node_nm", 1)
    if isinstance(node, bool) or not isinstance(node, int) or not 1 <= node <= 1000:
        mistakes.append(f"node_nm = {node!r}: allowed integers from 1 to 1000")
    entries = {name: table[name] for name in known if name in table}
    mistakes += [f"{name}: {text}" for name, row in entries.items() for text in _mistakes(row)]
    if mistakes:
        listing = "\n  ".join(mistakes)
        raise ConfigError(f"{where}: {len(mistakes)} mistake(s):\n  {listing}")
    made = {name: Entry(float(row["value"]), row["source"]) for name, row in entries.items()}
    return Technology(**{**{key: table[key] for key in (*TEXTS, "node_nm")}, **made})


def _mistakes(row) -> list[str]:
    if not isinstance(row, dict):
        return [f"{row!r}: a table with value and source is needed"]
    found = [unknown_name("key", key, KEYS) for key in sorted(row.keys() - {*KEYS})]
    found += [f"missing key '{key}'" for key in KEYS if key not in row]
    value = row.get("value", 1.0)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= LARGEST:
        found.append(f"value = {value!r}: allowed numbers above 0, up to {LARGEST:,.0f}")
    source = row.get("source", "given")
    if not isinstance(source, str) or not source.strip():
        found.append(f"source = {source!r}: text is needed that says where the value is from")
    return found
