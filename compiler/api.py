"""The public functions behind `import microscopiq as mq`."""

import shutil
from pathlib import Path

from ..runtime.session import SUFFIXES, load_executable, program_of
from ..runtime.whole_file import check_folder
from ..target.arch import DEFAULT_ARCH, Arch
from ..target.errors import ConfigError, InputError
from .calibration.collect import Calibration
from .driver import compile_model, quantize
from .frontend.load import load_model
from .options import Options
from .quant.recipe import DEFAULT_RECIPE, Recipe
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
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    strict: bool = False,
    calibration=None,
    tuning_db: str | Path | None = None,
):
    """Return the executable of a model for an architecture.

    Parameters
    ----------
    mod : tvm.IRModule or anything that `load_model` takes
        A module that `quantize` returned keeps its quantization; others get `recipe`.
    arch : str, Path or Arch
        Name or TOML path.
    calibration : iterable or Calibration, optional
        As `quantize` takes it.
    tuning_db : str or Path, optional
        Work folder of `tune`, whose best schedules are taken.

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
        recipe=recipe, arch=arch, strict=strict, calibration=calibration, tuning_db=tuning_db
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
        executable.export_library(str(temporary))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_library_path(path: str | Path) -> Path:
    """Return the path of a library that can be written; `compile` asks before its long work.

    Raises
    ------
    ConfigError
        As `export_library`.
    """
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++", "gcc", "cc")):
        raise ConfigError(
            "export needs a C++ compiler on PATH to link the library: none of g++, c++, clang++, "
            "gcc, cc was found; install one, or run the executable in this process"
        )
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"output file '{path}': the name must end in .so or .tar")
    check_folder(target)
    return target


def disassemble(executable, function: str | None = None) -> str:
    """Return the listing of an executable's program, or of one of its functions.

    Raises
    ------
    InputError
        When nothing of the model is accelerated, or the function isn't in the program.
    """
    program = program_of(load_executable(executable))
    if program is None:
        raise InputError("the executable has no program: nothing of the model is accelerated")
    if function is not None and function not in program.functions:
        raise InputError(
            f"no function '{function}' in the program; it has: {', '.join(program.functions)}"
        )
    return program.listing(function)
