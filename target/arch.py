"""Architectures: frozen, loaded from TOML, fully validated, hashed into every program."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, unknown_name
from .formats import MICRO_BLOCK, WEIGHT_FORMATS, Codes
from .tables import read_with_base, table_names
from .technology import load_technology

ARCH_DIR = Path(__file__).parent / "archs"
DEFAULT_ARCH = "microscopiq-64x64-v2"
TEXTS = ("name", "description")
ACTIVATION_BITS = 8
"""Bits of an activation in memory."""
HALF_BITS = 4
"""Bits of half an activation, what PEs of OliVe's kind multiply in a cycle."""
TEMPORAL_BITS = 3
"""Widest weight of a temporal PE: a sign and a count of up to 3 additions."""


def key(doc: str, low: int, high: int, default: int | None = None):
    """Declare an integer key of the TOML with its allowed range, ends included.

    A file may leave out one with a default.
    """
    meta = {"doc": doc, "low": low, "high": high}
    return dataclasses.field(metadata=meta if default is None else {**meta, "default": default})


@dataclass(frozen=True)
class Arch:
    """One machine. Every unit is in the key's name; rows carry K, columns carry N.

    `technology` names the table of areas and energies: one of `technology_names`, or the full path
    of a TOML file, which an architecture's file names from where it lies.
    """

    name: str
    description: str
    weight_formats: tuple[str, ...]
    technology: str
    array_rows: int = key("array rows: input channels held at once", 2, 1024)
    array_cols: int = key("array columns: one weight of pe_weight_bits each", 2, 1024)
    skew_columns: int = key(
        "columns that get an activation in the same cycle, those behind them a cycle later", 1, 8, 1
    )
    pe_weight_bits: int = key("widest weight one PE multiplies", 2, 8)
    multi_precision: int = key("1: narrower weights share a PE, wider ones join several", 0, 1)
    temporal_cycles: int = key(
        "cycles of a row in a plane with weights beyond 1, an addition each; 0: PEs multiply", 0, 4
    )
    pe_activation_bits: int = key(
        "activation bits that a PE multiplies in a cycle: 8; 4: a row takes two cycles beside "
        "weights wider than a PE, and has codes of 4 bits beside others",
        4,
        8,
        8,
    )
    pair_decoders: int = key(
        "1: decoders at the array's edges make integers and exponents of outlier-victim pairs, and "
        "PEs shift their products",
        0,
        1,
        0,
    )
    accumulator_bits: int = key("width of a partial sum; beyond it, it saturates", 16, 32)
    recon_units: int = key("ReCoN networks; 0 for an array without outlier support", 0, 64)
    recon_segment_columns: int = key(
        "columns of a ReCoN segment, which arbitrates alone; 0: one network", 0, 1024
    )
    replay_columns: int = key(
        "columns that take inputs of their own in rows of replayed outliers; 0: no replay",
        0,
        1024,
        0,
    )
    recon_waits: int = key(
        "1: rows without outliers may wait in ReCoN behind those that it delays; 0: at the start",
        0,
        1,
        0,
    )
    weight_planes: int = key("weight planes of the array, which take turns", 2, 64)
    weight_buses: int = key(
        "weight buses; each loads a row a cycle into its share of the array rows", 1, 1024
    )
    row_release: int = key(
        "1: rows of a plane are loaded and released one by one; 0: all together, by tokens", 0, 1
    )
    merge_strips: int = key("ReCoN segments whose merges a weight bus brings in a cycle", 1, 128, 1)
    spad_bytes: int = key("activation scratchpad", 64, 1 << 30)
    wbuf_bytes: int = key("weight buffer", 64, 1 << 30)
    acc_bytes: int = key("accumulator memory", 64, 1 << 30)
    obuf_bytes: int = key("fp32 output buffer of the vector unit", 64, 1 << 30)
    dram_bandwidth_bytes_per_cycle: int = key("off-chip bandwidth; 0: unlimited", 0, 1 << 16)
    dram_latency_cycles: int = key("cycles before a transfer's first byte", 0, 1 << 16)
    dram_channels: int = key(
        "DRAM channels; 0: a transfer is bytes over bandwidth, without bursts or rows", 0, 64, 0
    )
    dram_interleave_bytes: int = key("bytes in a row of one channel", 0, 1 << 16, 0)
    dram_banks: int = key("banks of a channel", 0, 256, 0)
    dram_row_bytes: int = key("bytes of a bank that are open at once", 0, 1 << 16, 0)
    dram_burst_bytes: int = key("bytes of a burst: the least that crosses a bus", 0, 1024, 0)
    dram_burst_cycles: int = key("cycles of a bus for a burst", 0, 64, 0)
    dram_bank_groups: int = key("groups of banks, one row after the other; 0: one", 0, 16, 0)
    dram_group_burst_cycles: int = key("from a burst to another of its bank group", 0, 64, 0)
    dram_read_cycles: int = key("from a read to its first byte, with its row closed", 0, 1024, 0)
    dram_write_cycles: int = key("from a write to its first byte, with its row closed", 0, 1024, 0)
    dram_row_cycles: int = key("from one row of a bank to another", 0, 1024, 0)
    dram_four_rows_cycles: int = key("in which a channel opens four rows at most", 0, 1024, 0)
    dram_turnaround_cycles: int = key("of a bus for 32 writes among reads", 0, 1024, 0)
    dram_refresh_interval_cycles: int = key("between two refreshes; 0: none", 0, 1 << 20, 0)
    dram_refresh_cycles: int = key("that a refresh takes", 0, 1 << 16, 0)
    dram_queue: int = key("bursts that wait in a channel's queue", 0, 1 << 16, 0)
    dram_window: int = key("bursts of a transfer that are under way; 0: any number", 0, 1 << 16, 0)
    vector_lanes: int = key("fp32 lanes of the vector unit; 0: unlimited", 0, 4096)
    vector_latency_cycles: int = key("cycles from a vector unit's operand to its result", 0, 1024)
    vector_divide_cycles: int = key("cycles of a lane for a division or a square root", 1, 256)
    vector_function_cycles: int = key("cycles of a lane for exp, log, tanh and the like", 1, 256)
    sequencer_cycles: int = key("cycles to dispatch one instruction; 0: none", 0, 64)
    queue_depth: int = key("instructions each unit's queue holds", 1, 1 << 16)
    overlap: int = key("1: units work at the same time; 0: one instruction after another", 0, 1)
    edge_trimming: int = key("1: a partial tile costs its own rows and columns; 0: full", 0, 1)
    scalesim: int = key("1: report the index of the last cycle, as SCALE-Sim does", 0, 1)
    clock_mhz: int = key("clock", 1, 100000)
    host_operations_per_ns: int = key("arithmetic of the host; 0: unlimited", 0, 1 << 20)
    host_bytes_per_ns: int = key("bytes that the host reads and writes; 0: unlimited", 0, 1 << 20)
    handover_ns: int = key("from host to machine or back, each time", 0, 1_000_000_000)

    def columns(self, bits: int) -> int:
        """Return how many weights of a width one array row holds (MicroScopiQ A3, MODE)."""
        if self.multi_precision:
            return self.array_cols * self.pe_weight_bits // slot_bits(bits)
        return self.array_cols

    def row_cycles(self, bits: int) -> int:
        """Return `row_cycles` of weights of a width; temporal PEs may take longer."""
        return row_cycles(bits, self.pe_weight_bits, self.pe_activation_bits)

    def code_bits(self, bits: int) -> int:
        """Return the widest activation codes that weights of a width multiply."""
        return self.pe_activation_bits * self.row_cycles(bits)

    @property
    def bus_rows(self) -> int:
        """Array rows that one weight bus loads: the n-th bus those of the n-th share."""
        return -(-self.array_rows // self.weight_buses)

    def load_cycles(self, rows: int) -> int:
        """Return the cycles that loading so many rows of a plane takes."""
        return min(rows if self.edge_trimming else self.array_rows, self.bus_rows)

    @property
    def hash(self) -> str:
        """Hash of every key; a program carries the one it was built for."""
        keys = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # Where a technology's file lies is no property of the machine.
        keys["technology"] = Path(self.technology).name
        return hashlib.sha256(repr(list(keys.items())).encode()).hexdigest()[:16]

    def numbers(self) -> dict[str, int]:
        """Return the integer keys in declaration order: what the C++ core needs to know."""
        return {f.name: getattr(self, f.name) for f in integer_keys()}


def row_cycles(bits: int, pe_weight_bits: int, pe_activation_bits: int) -> int:
    """Return the cycles that an activation row takes beside weights of a width.

    PEs of 4 bits by 4 that join for weights of 8 bits take the halves of activations in turns.
    """
    joined = slot_bits(bits) > pe_weight_bits
    return ACTIVATION_BITS // pe_activation_bits if joined else 1


def slot_bits(bits: int) -> int:
    """Return the bits that a weight takes of a multi-precision PE: 2, 4 or 8."""
    return 1 << (bits - 1).bit_length()


def integer_keys() -> list[dataclasses.Field]:
    """Return the declared integer keys of an architecture."""
    return [f for f in dataclasses.fields(Arch) if "low" in f.metadata]


def arch_names() -> list[str]:
    """Return the names of the architectures that come with the package."""
    return table_names(ARCH_DIR)


def load_arch(name_or_path: str | Path | Arch) -> Arch:
    """Return an architecture by name or from a TOML file.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first), unreadable TOML, or mistakes in the file:
        all of them are named at once.
    """
    if isinstance(name_or_path, Arch):
        return name_or_path
    return from_table(
        *read_with_base("architecture", name_or_path, ARCH_DIR, TEXTS, ("technology",))
    )


def from_table(table: dict, where: str) -> Arch:
    """Return an architecture from a parsed table, or raise with every mistake in it."""
    mistakes = []
    known = {f.name: f for f in dataclasses.fields(Arch)}
    table = {n: f.metadata["default"] for n, f in known.items() if "default" in f.metadata} | table
    for name in sorted(table.keys() - known.keys()):
        mistakes.append(unknown_name("key", name, known))
    for name in sorted(known.keys() - table.keys()):
        mistakes.append(f"missing key '{name}' ({known[name].metadata.get('doc', 'text')})")
    for name, value in table.items():
        meta = known[name].metadata if name in known else {}
        if "low" not in meta:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            mistakes.append(f"{name} = {value!r}: an integer is needed ({meta['doc']})")
        elif not meta["low"] <= value <= meta["high"]:
            mistakes.append(f"{name} = {value}: allowed {meta['low']} to {meta['high']}")
    formats = table.get("weight_formats", [])
    if not isinstance(formats, list) or not all(isinstance(f, str) for f in formats):
        mistakes.append(f"weight_formats = {formats!r}: a list of names is needed")
    else:
        mistakes += [
            unknown_name("weight format", f, WEIGHT_FORMATS)
            for f in formats
            if f not in WEIGHT_FORMATS
        ]
    for name in (*TEXTS, "technology"):
        if name in table and not isinstance(table[name], str):
            mistakes.append(f"{name} = {table[name]!r}: text is needed")
    if isinstance(table.get("technology"), str):
        try:
            load_technology(table["technology"])
        except ConfigError as error:
            mistakes.append(str(error))
    if not mistakes:
        arch = Arch(**{**table, "weight_formats": tuple(formats)})
        mistakes = _contradictions(arch)
    if mistakes:
        listing = "\n  ".join(mistakes)
        raise ConfigError(f"{where}: {len(mistakes)} mistake(s):\n  {listing}")
    return arch


def _contradictions(arch: Arch) -> list[str]:
    found = []
    segment = arch.recon_segment_columns
    if segment and (segment % MICRO_BLOCK or segment & (segment - 1)):
        found.append(
            f"recon_segment_columns = {segment}: allowed 0 and powers of two from {MICRO_BLOCK}, "
            "because a micro-block's halves meet inside one segment"
        )
    if arch.replay_columns % MICRO_BLOCK:
        found.append(
            f"replay_columns = {arch.replay_columns}: allowed 0 and multiples of {MICRO_BLOCK}, "
            "because outliers of a micro-block share an exponent"
        )
    if arch.skew_columns not in (1, MICRO_BLOCK):
        found.append(
            f"skew_columns = {arch.skew_columns}: allowed 1 and {MICRO_BLOCK}, the columns of a "
            "micro-block"
        )
    if arch.merge_strips > 1 and not arch.row_release:
        found.append(
            f"merge_strips = {arch.merge_strips} with row_release = 0: allowed 1, because all "
            "segments of a row get their merges at once"
        )
    if arch.weight_buses > arch.array_rows:
        found.append(
            f"weight_buses = {arch.weight_buses}: allowed up to array_rows = {arch.array_rows}"
        )
    if arch.temporal_cycles:
        found += _temporal_contradictions(arch)
    if arch.pe_activation_bits not in (HALF_BITS, ACTIVATION_BITS):
        found.append(
            f"pe_activation_bits = {arch.pe_activation_bits}: allowed {HALF_BITS} and "
            f"{ACTIVATION_BITS}, halves of an activation and whole ones"
        )
    elif arch.pe_activation_bits == HALF_BITS:
        found += _half_contradictions(arch)
    if arch.dram_channels:
        found += _dram_contradictions(arch)
    for name in arch.weight_formats:
        row = WEIGHT_FORMATS[name]
        columns = arch.columns(row.pe_bits)
        if row.pairs and not arch.pair_decoders:
            found.append(f"weight format {name} has outlier-victim pairs, but pair_decoders = 0")
        if row.has_outliers and not (arch.recon_units or arch.replay_columns):
            found.append(
                f"weight format {name} has outliers, but recon_units = 0 and replay_columns = 0"
            )
        if row.pe_bits > arch.pe_weight_bits and not arch.multi_precision:
            found.append(
                f"weight format {name} has {row.pe_bits} bits, pe_weight_bits = "
                f"{arch.pe_weight_bits} and multi_precision = 0"
            )
        elif columns < (MICRO_BLOCK if row.has_outliers else 2):
            found.append(
                f"weight format {name}: {row.pe_bits} bits leave {columns} columns; "
                f"a micro-block has {MICRO_BLOCK}, and any plane at least 2"
            )
    return found


def _dram_contradictions(arch: Arch) -> list[str]:
    """Return what channels and bursts that don't go into each other make impossible."""
    here = f"dram_channels = {arch.dram_channels}"
    needed = (
        "dram_interleave_bytes", "dram_banks", "dram_row_bytes", "dram_burst_bytes",
        "dram_burst_cycles", "dram_queue",
    )  # fmt: skip
    found = [
        f"{here} with {name} = 0: allowed 1 or more" for name in needed if not getattr(arch, name)
    ]
    if found:
        return found
    for part, whole in (("burst", "interleave"), ("interleave", "row")):
        names = f"dram_{part}_bytes", f"dram_{whole}_bytes"
        small, large = (getattr(arch, name) for name in names)
        if large % small:
            found.append(f"{names[1]} = {large}: allowed multiples of {names[0]} = {small}")
    peak = arch.dram_channels * arch.dram_burst_bytes
    if peak != arch.dram_bandwidth_bytes_per_cycle * arch.dram_burst_cycles:
        found.append(
            f"dram_bandwidth_bytes_per_cycle = {arch.dram_bandwidth_bytes_per_cycle}: allowed "
            f"{peak / arch.dram_burst_cycles:g}, what {here} move in bursts"
        )
    if arch.dram_refresh_interval_cycles and (
        arch.dram_refresh_cycles >= arch.dram_refresh_interval_cycles
    ):
        found.append(
            f"dram_refresh_cycles = {arch.dram_refresh_cycles}: allowed less than "
            f"dram_refresh_interval_cycles = {arch.dram_refresh_interval_cycles}"
        )
    return found


def _half_contradictions(arch: Arch) -> list[str]:
    """Return what PEs of 4 bits by 4, four of which join for 8 bits by 8, can't go with."""
    needed = {
        "pe_weight_bits": (HALF_BITS, "as wide as the activations"),
        "multi_precision": (1, "wider weights join PEs"),
        "recon_units": (0, "ReCoN adds whole activations"),
        "replay_columns": (0, "a replay takes whole activations"),
    }
    return [
        f"pe_activation_bits = {arch.pe_activation_bits} with {name} = {getattr(arch, name)}: "
        f"allowed {value}, {why}"
        for name, (value, why) in needed.items()
        if getattr(arch, name) != value
    ]


def _temporal_contradictions(arch: Arch) -> list[str]:
    """Return what a PE that counts magnitudes up to 3 can't go with."""
    here, found = f"temporal_cycles = {arch.temporal_cycles}", []
    if arch.temporal_cycles == 2:
        found.append(
            f"{here}: allowed 0 (PEs multiply), 3 or 4 (a magnitude has 3 units), and 1 (a bound: "
            "as if a weight of 3 bits took no longer than one of 2)"
        )
    if arch.pe_weight_bits > TEMPORAL_BITS or arch.multi_precision:
        found.append(
            f"{here} with pe_weight_bits = {arch.pe_weight_bits} and multi_precision = "
            f"{arch.multi_precision}: allowed at most {TEMPORAL_BITS} and 0, a sign and a "
            "magnitude of 2 bits"
        )
    for name in arch.weight_formats:
        if WEIGHT_FORMATS[name].codes is not Codes.CLUSTERS:
            found.append(f"{here} with weight format {name}: allowed clusters, magnitudes up to 3")
    if arch.skew_columns > 1:
        found.append(f"{here} with skew_columns = {arch.skew_columns}: allowed 1")
    if arch.recon_units:
        found.append(f"{here} with recon_units = {arch.recon_units}: ReCoN merges products")
    if arch.replay_columns:
        found.append(
            f"{here} with replay_columns = {arch.replay_columns}: clusters have no outliers"
        )
    return found
