"""Options of a compilation, checked in one place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..target.arch import DEFAULT_ARCH, Arch
from ..target.errors import ConfigError, unknown_name
from .operators import OUTLIER_WAYS
from .quant.recipe import Recipe

STAGES = ("import", "quantize", "vectorize", "schedule", "emit")
"""Stops of the one path, in order; `driver.RUN` has what each does."""

AUTO = "auto"

Progress = Callable[[str, int, int, str], None]
"""Called as ``progress(stage, done, total, item)``."""


@dataclass(frozen=True)
class Options:
    """What a user can choose about a compilation.

    Attributes
    ----------
    recipe : str, Path, Recipe or None
        Name, TOML path, or loaded; None for the machine's own (`quant.defaults`), and for a module
        that is quantized already.
    arch : str, Path or Arch
        Likewise.
    dump_dir : Path or None
        Folder that gets a file per stage.
    stop_after : str or None
        Last stage to run.
    strict : bool
        A matrix product or convolution that stays on the host is an error.
    progress : callable or None
        Called as ``progress(stage, done, total, item)``; a stage may report steps of its own, such
        as "calibrate".
    calibration : iterable, Calibration or None
        Samples of the model's inputs.
    vector : bool
        Give the vector unit what it can run of the rest of the model too; without it the host has
        all of that.
    graph : bool
        Operators that follow each other without the host in between become one function of the
        program; without it each is one of its own.
    max_sizes : mapping of str to int
        Largest values of sizes that a call decides, by name; a module says its own by TVM's
        attribute `tir_var_upper_bound`.
    tuning_db : Path or None
        Work folder of `tune`: its best schedules; those of `with database:` unless given.
    outliers : str or mapping of str to str
        How outliers are multiplied: ``auto``, what takes least cycles, ``recon`` or ``replay``; of
        all layers, or by a pattern of their names.
    """

    recipe: str | Path | Recipe | None = None
    arch: str | Path | Arch = DEFAULT_ARCH
    dump_dir: Path | None = None
    stop_after: str | None = None
    strict: bool = False
    progress: Progress | None = None
    calibration: Any = None
    tuning_db: str | Path | None = None
    vector: bool = True
    graph: bool = True
    max_sizes: Mapping[str, int] = field(default_factory=dict)
    outliers: str | Mapping[str, str] = AUTO

    def __post_init__(self):
        if self.stop_after is not None and self.stop_after not in STAGES:
            raise ConfigError(unknown_name("stage", self.stop_after, STAGES))
        for way in self.outlier_ways.values():
            if way and way not in OUTLIER_WAYS:
                raise ConfigError(unknown_name("way of outliers", way, (AUTO, *OUTLIER_WAYS)))

    @property
    def outlier_ways(self) -> dict[str, str]:
        """Return the ways that are asked for by pattern, "" where the compiler is to choose."""
        given = self.outliers
        ways = {"*": given} if isinstance(given, str) else dict(given)
        if list(ways.values()) == [AUTO] and isinstance(given, str):
            return {}
        return {pattern: "" if way == AUTO else way for pattern, way in ways.items()}
