"""Files that a compilation reads and writes, checked before TVM is imported or long work begins."""

import shutil
from pathlib import Path

from ..runtime.session import SUFFIXES
from ..runtime.whole_file import check_folder
from ..target.errors import ConfigError, InputError

LINKERS = ("g++", "c++", "clang++", "gcc", "cc")
RECORDS = "database_tuning_record.json"
"""What MetaSchedule calls a database's measurements."""
TORCH_SUFFIXES = (".pt", ".pth", ".pt2", ".th")


def check_model_file(path: str | Path) -> Path:
    """Return the path of a model that is there and may be loaded.

    Raises
    ------
    InputError
        For a torch file, and for one that is missing.
    """
    path = Path(path)
    if path.suffix in TORCH_SUFFIXES:
        raise InputError(
            f"{path}: torch files execute code when they are loaded; load it yourself and "
            "pass the nn.Module or ExportedProgram, or export it to ONNX"
        )
    if not path.is_file():
        raise InputError(f"model file not found: {path}")
    return path


def check_database_folder(folder: str | Path) -> Path:
    """Return the folder of a tuning database that is there.

    Raises
    ------
    ConfigError
        For a folder without one.
    """
    if not (Path(folder) / RECORDS).is_file():
        raise ConfigError(f"no tuning database in '{folder}': {RECORDS} is missing")
    return Path(folder)


def check_library_path(path: str | Path) -> Path:
    """Return the path of a library that can be written; `compile` asks before its long work.

    Raises
    ------
    ConfigError
        As `export_library`.
    """
    if not any(map(shutil.which, LINKERS)):
        raise ConfigError(
            "export needs a C++ compiler on PATH to link the library: none of "
            f"{', '.join(LINKERS)} was found; install one, or run the executable in this process"
        )
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"output file '{path}': the name must end in .so or .tar")
    check_folder(target)
    return target
