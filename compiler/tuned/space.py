"""The tiles of an operator as a design space of MetaSchedule.

A trace of MetaSchedule is linear, so choices that others depend on are design spaces of their own:
one for each way to order loops and to keep operands. In each, the rows of a tile and the pieces of
a store are sampled. All of them are annotations of the operator's last block, which the emitter
reads; a trace is replayed in microseconds because no loop is touched.
"""

import re
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, target
from tvm.s_tir import meta_schedule as ms

from ... import __version__
from ...target.arch import DEFAULT_ARCH, Arch, load_arch
from ...target.errors import ConfigError
from ..kinds.registry import from_attribute, kind_of
from ..operators import ATTRIBUTE
from ..tiling.tile import GemmTile, array_tile

PREFIX = "microscopiq."
MACHINE = PREFIX + "machine"
"""Annotation: the architecture and the version that a schedule was tuned for."""
RUN, WEIGHTS = PREFIX + "run", PREFIX + "weights"
"""Annotations: what a `Source` has."""
SAMPLED = ("tile_m", "store_pieces")
BAKED = ("order", "x_home", "w_home", "load_slots", "result_slots", "outliers")
LAST_BLOCK = "out"


@dataclass(frozen=True)
class Source:
    """Where a measurement is from: the run that made it, and the key of its weights.

    Both are "" where they aren't known: in a space that no run of `microscopiq.tune` made.
    """

    run: str = ""
    weights: str = ""


def machine_name(arch: Arch) -> str:
    """Return what a schedule holds for: an architecture with its hash, and a version."""
    return f"{arch.name} ({arch.hash}), microscopiq {__version__}"


def operator_of(mod) -> Any:
    """Return the operator of a task's module, None if the array doesn't run it."""
    attrs = mod["main"].attrs if "main" in [gv.name_hint for gv in mod.functions] else None
    return from_attribute(str(attrs[ATTRIBUTE])) if attrs and ATTRIBUTE in attrs else None


def arch_of(kind) -> Arch:
    """Return the architecture that a target names."""
    model = str(kind.attrs.get("model", "")) if kind is not None else ""
    return load_arch(DEFAULT_ARCH if model in ("", "unknown") else model)


def structure(tile: GemmTile) -> tuple:
    """Return the decisions that are a design space of their own."""
    return tuple(getattr(tile, name) for name in BAKED)


def design_spaces(
    sch: s_tir.Schedule, arch: Arch, source: Source = Source()
) -> list[s_tir.Schedule]:
    """Return a schedule for each structure that has legal tiles.

    What can't be tuned comes back as it is, because MetaSchedule wants a design space of every
    task; the builder says that there is nothing to measure.
    """
    op = operator_of(sch.mod)
    tiles = kind_of(op).tiles(op, arch) if op is not None else ()
    if not tiles:
        return [sch]
    rows: dict[tuple, dict[int, None]] = {}
    pieces: dict[tuple, dict[int, None]] = {}
    for tile in tiles:
        rows.setdefault(structure(tile), {})[tile.tile_m] = None
        pieces.setdefault(structure(tile), {})[tile.store_pieces] = None
    texts = {MACHINE: machine_name(arch), RUN: source.run, WEIGHTS: source.weights}
    return [
        _annotated(sch.copy(), texts, key, (list(rows[key]), list(pieces[key]))) for key in rows
    ]


def _annotated(sch: s_tir.Schedule, texts: dict, key: tuple, sampled: tuple) -> s_tir.Schedule:
    block = sch.get_sblock(LAST_BLOCK)
    for name, text in texts.items():
        sch.annotate(block, name, text)
    for name, value in zip(BAKED, key, strict=True):
        sch.annotate(block, PREFIX + name, value)
    for name, candidates in zip(SAMPLED, sampled, strict=True):
        share = [1.0 / len(candidates)] * len(candidates)
        sch.annotate(block, PREFIX + name, sch.sample_categorical(candidates, share))
    return sch


def space(
    arch: str | Arch | None = None, source: Source = Source()
) -> ms.space_generator.SpaceGenerator:
    """Return the space for `tune_relax(..., space=...)`.

    Parameters
    ----------
    arch : str or Arch, optional
        The machine; the current target's unless given, then the default one.
    source : Source
        What its records are to say of themselves.
    """
    from .mutator import MutateTile

    def spaces(sch):
        kind = target.Target.current(allow_none=True)
        return design_spaces(sch, load_arch(arch) if arch is not None else arch_of(kind), source)

    return ms.space_generator.ScheduleFn(
        spaces, sch_rules=[], postprocs=[], mutator_probs={MutateTile(): 1.0}
    )


def unchecked(mod) -> s_tir.Schedule:
    """Return a schedule that doesn't verify itself: annotations can't break a function."""
    return s_tir.Schedule(mod, enable_check=False, debug_mask=0)


def annotations(mod) -> dict:
    """Return what a candidate's last block is annotated with."""
    for nest in reversed(mod["main"].body.block.body.seq):
        stage = nest
        while not isinstance(stage, s_tir.SBlockRealize):
            stage = stage.body
        if stage.block.name_hint == LAST_BLOCK:
            return dict(stage.block.annotations)
    return {}


def tile_of(mod, arch: Arch) -> GemmTile | None:
    """Return the tile that a candidate's module is annotated with, None without annotations.

    Raises
    ------
    ConfigError
        When it was tuned for another architecture or by another version.
    """
    found = annotations(mod)
    if MACHINE not in found:
        return None
    check_machine(str(found[MACHINE]), arch)
    op = operator_of(mod)
    decisions: dict[str, Any] = {}
    for name in (*BAKED, *SAMPLED):
        value = found[PREFIX + name]
        decisions[name] = str(value) if isinstance(value, str) else int(value)
    array_n, array_k = array_tile(op, arch)
    return GemmTile(array_n=array_n, array_k=array_k, **decisions)


def source_of(mod) -> Source:
    """Return where the measurement of a candidate's module is from."""
    found = annotations(mod)
    return Source(str(found.get(RUN, "")), str(found.get(WEIGHTS, "")))


def check_machine(found: str, arch: Arch) -> None:
    """Raise ConfigError when a schedule was tuned for another machine, with both named."""
    wanted = machine_name(arch)
    if found != wanted:
        raise ConfigError(
            f"the tuning database is of {found}; this compilation is for {wanted}; "
            "tune again in another folder"
        )


def machine_of(trace) -> str:
    """Return the machine that a record's trace was tuned for, "" when it names none."""
    text = "\n".join(str(line) for line in trace.as_python())
    match = re.search(rf'ann_key="{re.escape(MACHINE)}", ann_val="([^"]*)"', text)
    return match.group(1) if match else ""
