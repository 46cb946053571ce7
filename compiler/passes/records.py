"""What a quantized module says of itself, for listings and reports: its layers and host operators.

The module carries them as attributes in JSON. Only this file reads and writes those.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import tvm

LAYERS = "microscopiq.layers"
HOST = "microscopiq.host"
HOST_LAYERS = "microscopiq.host_layers"
LOWERED = "microscopiq.lowered"
RECIPE = "microscopiq.recipe"


@dataclass(frozen=True)
class Work:
    """What a product on the array computes: sizes of `operators.Gemm`, and what is fused."""

    batch: int
    conv_groups: int
    m: int
    n: int
    k: int
    macs: int
    fused: tuple[str, ...]
    output_order: str = ""
    migration: str = ""


@dataclass(frozen=True)
class Calibrated:
    """What is known of a layer from calibration.

    Attributes
    ----------
    held_out_error : float or None
        Share of the output's power that was lost on rows that were held out, None without any.
    damping : float or None
        Of a method that makes errors good, over the median of groups.
    """

    held_out_error: float | None
    calibration_rows: int
    held_out_rows: int
    damping: float | None = None


@dataclass(frozen=True)
class Weights:
    """What quantization made of a layer's weights.

    Attributes
    ----------
    weight_bytes : int or None
        Of the packed segment; None of a layer on the host, which has none.
    bits_per_weight : float
        Scales included.
    counts : mapping of str to int
        The method's events.
    """

    count: int
    weight_bytes: int | None
    bits_per_weight: float
    counts: Mapping[str, int]
    calibration: Calibrated | None = None


@dataclass(frozen=True)
class LayerRecord:
    """One accelerated operator, or a layer on the host whose weights are quantized.

    Attributes
    ----------
    layer : str
        Name in the source model; of a quantization at run time its own.
    kind : str
        That of `partition.layer.Layer`, or ``quantize``.
    weight_format : str
        Empty where nothing is multiplied.
    """

    layer: str
    kind: str
    weight_format: str = ""
    work: Work | None = None
    weights: Weights | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates on the array."""
        return self.work.macs if self.work else 0

    @property
    def held_out_error(self) -> float | None:
        """As `Calibrated`, None without calibration too."""
        known = self.weights.calibration if self.weights else None
        return known.held_out_error if known else None

    def to_json(self) -> dict[str, Any]:
        """Return the row that users see: what isn't known isn't in it."""
        row: dict[str, Any] = {"layer": self.layer, "kind": self.kind}
        work = asdict(self.work) if self.work else {}
        behind = {key: work.pop(key) for key in ("fused", "output_order", "migration") if work}
        row |= work | ({"weight_format": self.weight_format} if self.weight_format else {})
        row |= {key: value for key, value in behind.items() if value != ""}
        if self.weights:
            weights = asdict(self.weights)
            known = weights.pop("calibration") or {}
            row["weights"] = weights.pop("count")
            row |= {key: value for key, value in weights.items() if value is not None}
            damping = known.pop("damping", None)
            row |= ({} if damping is None else {"damping": damping}) | known
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "LayerRecord":
        """Return the record of a row."""
        work = weights = calibration = None
        if "macs" in row:
            fused = {**row, "fused": tuple(row["fused"])}
            work = Work(**_of(Work, fused))
        if "calibration_rows" in row:
            calibration = Calibrated(**_of(Calibrated, row))
        if "weights" in row:
            of_weights = {"weight_bytes": None, **row, "count": row["weights"]}
            weights = Weights(**_of(Weights, of_weights), calibration=calibration)
        return cls(row["layer"], row["kind"], row.get("weight_format", ""), work, weights)


def _of(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row has of a dataclass's fields."""
    return {key: row[key] for key in kind.__dataclass_fields__ if key in row}  # type: ignore[attr-defined]


class HostOperator(NamedTuple):
    """An operator on the host, how often a function has it, and why."""

    function: str
    operator: str
    reason: str
    times: int


@dataclass(frozen=True)
class Records:
    """All records of a module.

    Attributes
    ----------
    layers : mapping of str to LayerRecord
        Accelerated operators by symbol.
    host_layers : tuple of LayerRecord
        Layers on the host whose weights are quantized.
    """

    layers: Mapping[str, LayerRecord]
    host: tuple[HostOperator, ...]
    host_layers: tuple[LayerRecord, ...] = ()


def is_quantized(mod: tvm.IRModule) -> bool:
    """Tell whether a module has records."""
    return bool(mod.attrs and LAYERS in mod.attrs)


def with_recipe(mod: tvm.IRModule, name: str, whole: str) -> tvm.IRModule:
    """Return a module that says by which recipe it is quantized: name, and all of it as text."""
    return mod.with_attr(RECIPE, json.dumps([name, whole]))


def recipe_of(mod: tvm.IRModule) -> tuple[str, str]:
    """Return what `with_recipe` wrote; empty texts of a module that isn't quantized."""
    name, whole = (
        json.loads(str(mod.attrs[RECIPE])) if mod.attrs and RECIPE in mod.attrs else ("", "")
    )
    return name, whole


def read_records(mod: tvm.IRModule) -> Records:
    """Return a module's records; empty ones of a module that isn't quantized."""

    def read(key: str, empty: str) -> Any:
        return json.loads(str(mod.attrs[key]) if mod.attrs and key in mod.attrs else empty)

    return Records(
        {symbol: LayerRecord.from_json(row) for symbol, row in read(LAYERS, "{}").items()},
        tuple(HostOperator(*row) for row in read(HOST, "[]")),
        tuple(map(LayerRecord.from_json, read(HOST_LAYERS, "[]"))),
    )


def with_records(mod: tvm.IRModule, records: Records) -> tvm.IRModule:
    """Return a module with these records in place of its own."""
    layers = {symbol: record.to_json() for symbol, record in records.layers.items()}
    written = {
        LAYERS: json.dumps(layers),
        HOST: json.dumps(records.host),
        HOST_LAYERS: json.dumps([record.to_json() for record in records.host_layers]),
    }
    return mod.with_attrs({**(dict(mod.attrs) if mod.attrs else {}), **written})


def lowered_for(mod: tvm.IRModule) -> str:
    """Return the architecture whose program a module calls, empty if it calls none."""
    return str(mod.attrs[LOWERED]) if mod.attrs and LOWERED in mod.attrs else ""
