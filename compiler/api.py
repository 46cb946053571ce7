"""The public functions behind `import microscopiq as mq`."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from ..runtime.session import load_executable, program_of
from ..runtime.whole_file import writing
from ..target.arch import DEFAULT_ARCH, Arch
from ..target.errors import ConfigError, InputError
from ..target.isa.program import part_names
from .calibration.collect import Calibration
from .driver import compile_model, quantize
from .files import check_library_path
from .frontend.load import load_model
from .options import AUTO, Options
from .quant.recipe import Recipe
from .weight_report import weight_report

__all__ = [
    "Calibration",
    "Recipe",
    "build",
    "disassemble",
    "export_library",
    "load_model",
    "quantize",
    "weight_report",
]


def build(
    mod,
    arch: str | Path | Arch = DEFAULT_ARCH,
    recipe: str | Path | Recipe | None = None,
    strict: bool = False,
    calibration=None,
    tuning_db: str | Path | None = None,
    vector: bool = True,
    graph: bool = True,
    max_sizes: Mapping[str, int] | None = None,
    outliers: str | Mapping[str, str] = AUTO,
):
    """Return the executable of a model for an architecture.

    Parameters
    ----------
    mod : tvm.IRModule or anything that `load_model` takes
        A module that `quantize` returned keeps its quantization; others get `recipe`.
    recipe : str, Path, Recipe or None
        None for the first of `quant.defaults.PREFERRED` that the machine can run. A model that
        comes quantized is taken as it is: with a recipe on top it's an error.
    arch : str, Path or Arch
        Name or TOML path.
    calibration : iterable or Calibration, optional
        As `quantize` takes it.
    tuning_db : str or Path, optional
        Work folder of `tune`, whose best schedules are taken.
    vector : bool
        Run what the vector unit can of the rest of the model too; without it the host has all but
        products.
    graph : bool
        Make one function of the program of operators that follow each other without the host in
        between: what they load before their inputs are there overlaps what is before them. Without
        it each operator is a function of its own, and calls follow one another.
    max_sizes : mapping of str to int, optional
        Largest values of sizes that a call decides (symbolic dimensions), by name; without it those
        of the module's attribute `tir_var_upper_bound`. One program serves all sizes up to them.
    outliers : str or mapping of str to str
        How outliers are multiplied: ``recon`` merges them, ``replay`` gives them array rows of
        their own, ``auto`` takes what costs a layer least cycles; of all layers, or by a pattern of
        their names. A machine has the ways that its keys `recon_units` and `replay_columns` say.

    Returns
    -------
    tvm.relax.VMExecutable
        For `Session`, `export_library` or `tvm.relax.VirtualMachine`.

    Raises
    ------
    MicroscopiqError
        `InputError`, `ConfigError`, `UnsupportedError` or `CapacityError`.
    """
    options = Options(
        recipe=recipe,
        arch=arch,
        strict=strict,
        calibration=calibration,
        tuning_db=tuning_db,
        vector=vector,
        graph=graph,
        max_sizes=max_sizes or {},
        outliers=outliers,
    )
    return compile_model(mod, options).executable


def export_library(executable, path: str | Path) -> None:
    """Write an executable as a shared library that loads with only `import tvm`.

    Raises
    ------
    ConfigError
        When there is no C++ compiler to link it, or the path can't be written.
    """
    target = check_library_path(path)
    temporary = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        with writing(path):
            executable.export_library(str(temporary))
            temporary.replace(target)
    except RuntimeError as error:
        # The linker is a process of its own: of what it met there is only its text.
        if os.strerror(errno.ENOSPC) in str(error):
            raise ConfigError(f"can't write '{path}': {os.strerror(errno.ENOSPC)}") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def disassemble(executable, function: str | None = None) -> str:
    """Return the listing of an executable's program, of one of its functions, or of an operator.

    Raises
    ------
    InputError
        When nothing of the model is accelerated, or the function isn't in the program.
    """
    program = program_of(load_executable(executable))
    if program is None:
        raise InputError("the executable has no program: nothing of the model is accelerated")
    parts = [name for each in program.functions.values() for name in part_names(each)]
    known = (*program.functions, *parts)
    if function is not None and function not in known:
        raise InputError(f"no function '{function}' in the program; it has: {', '.join(known)}")
    return program.listing(function)
