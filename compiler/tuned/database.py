"""Tuning databases: which tile a compilation takes from one, and for which machine it is."""

from pathlib import Path

import tvm
from tvm.s_tir import meta_schedule as ms

from ...target.arch import Arch
from ...target.errors import ConfigError
from ..files import check_database_folder
from ..kinds.registry import from_attribute, kind_of
from ..operators import ATTRIBUTE, Gemm
from ..tiling.tile import GemmTile
from ..tir.gemm import gemm
from .space import check_machine, machine_of, tile_of, unchecked


def workload(op: Gemm) -> tvm.IRModule:
    """Return the module under which all layers with an operator share their records."""
    return as_task(gemm(op))


def as_task(function) -> tvm.IRModule:
    """Return the module that MetaSchedule makes of a PrimFunc."""
    attrs = {"global_symbol": "main", "tirx.noalias": True}
    return tvm.IRModule({"main": function.with_attrs(attrs)})


def open_database(work_dir: str | Path, arch: Arch, create: bool = False):
    """Return the database of a work folder.

    Raises
    ------
    ConfigError
        When there is none, it can't be read, or it is another machine's; both are named then.
    """
    folder = Path(work_dir) if create else check_database_folder(work_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        database = ms.database.JSONDatabase(work_dir=str(folder))
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(f"the tuning database in '{folder}' can't be read: {reason}") from None
    check_database(database, arch)
    return database


def check_database(database, arch: Arch) -> None:
    """Raise ConfigError when the first record that names a machine names another one."""
    for record in database.get_all_tuning_records():
        machine = machine_of(record.trace)
        if machine:
            check_machine(machine, arch)
            return


def tuned_tiles(functions: list, arch: Arch, database=None) -> dict[str, GemmTile]:
    """Return the best tile of each operator that a database knows, by the operator's attribute.

    Parameters
    ----------
    functions : list of tirx.PrimFunc
        Operators of a quantized module; equal ones share a tile.
    database : Database, optional
        That of the innermost `with database:` unless given.

    Raises
    ------
    ConfigError
        When a record was tuned for another architecture or by another version.
    """
    database = database or ms.database.Database.current()
    if database is None:
        return {}
    check_database(database, arch)
    best: dict[str, tuple[float, GemmTile]] = {}
    for attribute, modules in _tasks(functions).items():
        for module in modules:
            found = best_tile(database, module, arch)
            if found and (attribute not in best or found[0] < best[attribute][0]):
                best[attribute] = found
    return {attribute: tile for attribute, (_, tile) in best.items()}


def _tasks(functions: list) -> dict[str, list[tvm.IRModule]]:
    """Return the modules under which an operator's records may be: its own, and its layers'."""
    tasks: dict[str, list[tvm.IRModule]] = {}
    for function in functions:
        attribute = str(function.attrs[ATTRIBUTE])
        operator = from_attribute(attribute)
        if kind_of(operator).tunable:
            tasks.setdefault(attribute, [workload(operator)]).append(as_task(function))
    return tasks


def best_tile(database, module, arch: Arch) -> tuple[float, GemmTile] | None:
    """Return the seconds and the tile of a module's best record, None without any."""
    if not database.has_workload(module):
        return None
    records = database.get_top_k(database.commit_workload(module), 1)
    if not records or not records[0].run_secs:
        return None
    tile = tile_of_record(records[0], module, arch)
    return None if tile is None else (float(records[0].run_secs[0]), tile)


def tile_of_record(record, module, arch: Arch) -> GemmTile | None:
    """Return the decisions of a record, None if it isn't one of this backend."""
    schedule = unchecked(module)
    record.trace.apply_to_schedule(schedule, remove_postproc=True)
    return tile_of(schedule.mod, arch)
