"""Arrays in .npz files: inputs and outputs of `microscopiq run`, samples of `compile`."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...runtime.whole_file import write_file
from ...target.errors import InputError
from ..calibration.collect import ENTRY, check_entry
from ..calibration.samples import model_inputs


def read_inputs(path: Path, names: list[str]) -> list[np.ndarray]:
    """Return the arrays of a file in the order of a model's inputs.

    Parameters
    ----------
    path : Path
        An .npz file, or an .npy file for a model with one input.
    names : list of str
        The model's inputs. Arrays without names, which NumPy calls arr_0 and on, are taken in
        order.

    Raises
    ------
    InputError
        For a file that is missing, damaged, pickled, or holds another number of arrays or others.
    """
    if not path.is_file():
        raise InputError(f"input file not found: {path}")
    arrays = _read(path)
    if len(arrays) != len(names):
        raise InputError(
            f"{path}: holds {len(arrays)} array(s) ({', '.join(arrays)}); the model takes "
            f"{len(names)} ({', '.join(names)})"
        )
    if arrays.keys() == set(names):
        return [arrays[name] for name in names]
    unnamed = [f"arr_{index}" for index in range(len(names))]
    if path.suffix == ".npy" or list(arrays) == unnamed:
        return list(arrays.values())
    raise InputError(
        f"{path}: its arrays are called {', '.join(arrays)}, the model's inputs "
        f"{', '.join(names)}; numpy.savez(path, {names[0]}=...) gives names"
    )


def read_samples(path: Path, mod) -> list[tuple[np.ndarray, ...]]:
    """Return the samples of a file, stacked along the first dimension, for `Calibration`.

    Parameters
    ----------
    path : Path
        As `read_inputs` takes it.
    mod : tvm.IRModule
        Imported model.

    Raises
    ------
    InputError
        As `read_inputs`, and for a model that calibration can't run.
    """
    names = [want.name for want in model_inputs(mod, check_entry(mod, ENTRY))[0]]
    return [tuple(read_inputs(path, names))]


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # A pickle runs code when it is loaded.
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {path.stem: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason:
            reason = "it holds Python objects (a pickle), which can run code"
        raise InputError(
            f"{path}: not an .npz file of plain arrays: {reason}; write one with numpy.savez"
        ) from None


def write_outputs(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names; the file appears whole or not at all."""
    buffer = io.BytesIO()
    # Any name is one here; those of numpy.savez can't be those of its own arguments.
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    write_file(path, buffer.getvalue())
