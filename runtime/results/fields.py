"""Every field of a run's JSON, with its unit: what `RunResult.to_json` writes.

`docs/results.md` is made from this table, `RunResult.from_json` checks files against it, and a test
compares it with what a run gives. In a path, ``[]`` is each entry of a list and ``<name>`` stands
for any key.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes
    ----------
    path : str
    unit : str
        What it counts; empty for text.
    doc : str
    optional : bool
        Not every version of this package or machine has it.
    """

    path: str
    unit: str
    doc: str
    optional: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.split("."))


UNIT_DOC = "cycles of this unit that went to this cause; a unit's causes add up to `cycles`"
BURSTS_DOC = "of the bursts that these took, what nobody asked for too; 0 without `dram_channels`"
ENERGY_DOC = "dynamic energy of this component"

RUN_FIELDS = (
    Field("version", "", "version of this format"),
    Field("latency_seconds", "s", "of the whole model: machine, host and hand-overs one by one"),
    Field("cycles", "cycles", "of all calls, one after the other; the host's aren't among them"),
    Field("seconds", "s", "`cycles` at the machine's clock"),
    Field("host_seconds", "s", "of what ran on the host"),
    Field("handover_seconds", "s", "of handing over between host and machine"),
    Field("handovers", "events", "from host to machine or back; a run starts and ends on the host"),
    Field("unit_cycles.<unit>.<cause>", "cycles", UNIT_DOC),
    Field("bytes_moved.read", "bytes", "from off-chip memory"),
    Field("bytes_moved.written", "bytes", "to off-chip memory"),
    Field("macs", "operations", "multiply-accumulates, padding not counted"),
    Field("utilisation", "0 to 1", "`macs` over what the array could do in `cycles`"),
    Field("saturations", "events", "accumulator writes that didn't fit; 0 for compiled programs"),
    Field("energy_pj.<component>", "pJ", ENERGY_DOC, optional=True),
)

CALL_FIELDS = (
    Field("calls[].name", "", "operator: its function, or its part of a function of several"),
    Field("calls[].function", "", "function of the program", optional=True),
    Field("calls[].layer", "", "where the operator comes from in the model"),
    Field(
        "calls[].cycles",
        "cycles",
        "of the call; of a part, until its last result is there since the parts before it ended",
    ),
    Field("calls[].array_window", "cycles", "from the first plane's load to the last sum"),
    Field("calls[].instructions", "instructions", "executed, those of loops each time"),
    Field("calls[].macs", "operations", "multiply-accumulates, padding not counted"),
    Field(
        "calls[].zero_macs",
        "operations",
        "by the zeros beside groups of a convolution that the array takes side by side",
        optional=True,
    ),
    Field("calls[].weight_format", "", "of what the array holds; empty if it holds nothing"),
    Field("calls[].weight_bits", "bits", "of the widest weight slot"),
    Field(
        "calls[].peak_macs", "operations a cycle", "multiply-accumulates at most, in this format"
    ),
    Field("calls[].outlier_rows", "rows", "array rows with an outlier, at each `recon.config`"),
    Field("calls[].saturations", "events", "accumulator writes that didn't fit"),
    Field("calls[].temporal_adds", "operations", "of temporal PEs: weights' magnitudes, each row"),
    Field("calls[].temporal_sums", "operations", "sums that pass a temporal PE, each cycle"),
    Field(
        "calls[].vector_ops",
        "elements",
        "through the vector unit, each as often as its operation takes a lane's cycles",
    ),
    Field("calls[].accesses.activations", "elements", "activations that entered the array"),
    Field("calls[].accesses.weights", "elements", "weights loaded into planes"),
    Field("calls[].accesses.sums_read", "elements", "sums read for accumulation"),
    Field("calls[].accesses.sums_written", "elements", "sums written"),
    Field("calls[].recon.passes", "rows", "activation rows through a ReCoN network"),
    Field("calls[].recon.second_passes", "rows", "of these, second passes"),
    Field("calls[].recon.waits", "rows", "of these, rows without outliers that only wait"),
    Field("calls[].recon.switch_ops", "events", "switches that did something"),
    Field(
        "calls[].units.<unit>.<cause>",
        "cycles",
        UNIT_DOC + "; of a part, what its instructions took, however much of it others overlap",
    ),
    Field("calls[].dram_bytes.read", "bytes", "from off-chip memory"),
    Field("calls[].dram_bytes.written", "bytes", "to off-chip memory"),
    Field("calls[].dram_burst_bytes.read", "bytes", BURSTS_DOC),
    Field("calls[].dram_burst_bytes.written", "bytes", "likewise"),
    Field("calls[].memory_bytes.<memory>.read", "bytes", "from this on-chip memory"),
    Field("calls[].memory_bytes.<memory>.written", "bytes", "to this on-chip memory"),
    Field("calls[].energy_pj.<component>", "pJ", ENERGY_DOC, optional=True),
)
HOST_FIELDS = (
    Field("host_calls[].name", "", "function of the host"),
    Field("host_calls[].calls", "calls", "of it in the run"),
    Field("host_calls[].operations", "operations", "of its lanes, of all calls; 0 if not known"),
    Field("host_calls[].macs", "operations", "of these, multiply-accumulates of products"),
    Field("host_calls[].bytes", "bytes", "read and written"),
    Field("host_calls[].counted", "", "what its time comes from"),
    Field("host_calls[].seconds", "s", "the longer of operations and bytes, each call"),
)
FIELDS = RUN_FIELDS + CALL_FIELDS + HOST_FIELDS


def paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the path and value of everything in parsed JSON that is no list or object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, (*path[:-1], f"{path[-1] if path else ''}[]"))
    else:
        yield path, value


def field_of(path: tuple[str, ...]) -> Field | None:
    """Return the field of a path, None for one that isn't declared."""
    for field in FIELDS:
        if len(path) == len(field.parts) and all(
            wanted in (given, "<unit>", "<cause>", "<memory>", "<component>")
            for given, wanted in zip(path, field.parts, strict=True)
        ):
            return field
    return None


def mistakes(record: dict) -> list[str]:
    """Return what is wrong with a run's JSON: undeclared, missing and ill-typed fields."""
    found, seen = [], set()
    for path, value in paths(record):
        field = field_of(path)
        name = ".".join(path)
        if field is None:
            found.append(f"unknown field '{name}'")
            continue
        seen.add(field)
        is_text = not field.unit and field.path != "version"
        if isinstance(value, bool) or not isinstance(value, str if is_text else int | float):
            found.append(f"{name} = {value!r}: {'text' if is_text else 'a number'} is needed")
    wanted: tuple[Field, ...] = RUN_FIELDS
    wanted += CALL_FIELDS if record.get("calls") else ()
    wanted += HOST_FIELDS if record.get("host_calls") else ()
    found += [
        f"missing field '{field.path}'"
        for field in wanted
        if field not in seen and not field.optional and "<" not in field.path
    ]
    return list(dict.fromkeys(found))
