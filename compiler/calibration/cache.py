"""Statistics on disk: found again by what they are of."""

import hashlib
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from ...runtime.whole_file import whole_file
from ...target.errors import ConfigError
from ..quant.statistics import held_out_stride
from .observe import Rows
from .samples import Call, Input

VERSION = 4
"""Of the files and of what is in them: raise it when either changes."""
ARRAYS = (
    "center", "moments", "held_out", "total", "source_total", "largest", "magnitudes", "rows",
    "held_out_rows",
)  # fmt: skip
OF_SOURCE = ("drift_moments", "source")
"""Arrays that are there if a layer before is quantized."""


class Cache:
    """A folder with a file for each `Rows` of a model, samples and settings.

    A file that is damaged or of something else is reported as a warning, and made anew: it holds
    nothing that can't be computed again.
    """

    def __init__(self, folder: str | Path, key: str):
        self.folder, self.key = Path(folder), key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"can't make the folder '{folder}' for calibration: {error.strerror}"
            ) from None

    def follow(self, *arrays: np.ndarray | None) -> None:
        """Let what comes next depend on what a layer before computes with."""
        digest = hashlib.sha256(self.key.encode())
        for array in arrays:
            if array is not None:
                _update(digest, array)
        self.key = digest.hexdigest()

    def path(self, rows: Rows) -> Path:
        """Return the file of some rows."""
        return self.folder / f"{self.key[:32]}-{rows.number:04d}.npz"

    def load(self, rows: Rows) -> bool:
        """Fill in statistics from a file; tell whether there was a good one."""
        path = self.path(rows)
        if not path.is_file():
            return False
        try:
            # A pickle would run code when it is loaded.
            with np.load(path, allow_pickle=False) as file:
                if str(file["key"]) != self.key:
                    raise ValueError("it is of other weights, samples or settings")
                names = [*ARRAYS, *(name for name in OF_SOURCE if name in file.files)]
                arrays = {name: file[name] for name in names}
            _check(arrays, rows)
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"{path}: calibrating anew, the file is unusable: {reason}", stacklevel=2)
            return False
        rows.start()
        for group, one in enumerate(rows.statistics):
            one.center, one.moments = arrays["center"][group], arrays["moments"][group]
            one.held_out = arrays["held_out"][group]
            one.total, one.source_total = arrays["total"][group], arrays["source_total"][group]
            one.largest, one.magnitudes = arrays["largest"][group], arrays["magnitudes"][group]
            one.rows = int(arrays["rows"][group])
            one.held_out_rows = int(arrays["held_out_rows"][group])
            for name in OF_SOURCE:
                setattr(one, name, arrays[name][group] if name in arrays else None)
        return True

    def save(self, rows: Rows) -> None:
        """Write the statistics of some rows; the file appears whole or not at all."""
        arrays = {
            name: np.stack([np.asarray(getattr(one, name)) for one in rows.statistics])
            for name in (*ARRAYS, *OF_SOURCE)
            if getattr(rows.statistics[0], name) is not None
        }
        with whole_file(self.path(rows)) as file:
            np.savez(file, allow_pickle=False, key=np.array(self.key), **arrays)


def _check(arrays: dict[str, np.ndarray], rows: Rows) -> None:
    groups, inputs = rows.groups, rows.inputs
    held_out = arrays["held_out_rows"]
    if held_out.shape != (groups,) or (held_out != held_out[0]).any() or held_out[0] < 0:
        raise ValueError("held_out_rows has values that can't be")
    kept = -(-int(held_out[0]) // held_out_stride(int(held_out[0])))
    square, real, count = (groups, inputs, inputs), np.dtype(np.float32), np.dtype(np.int64)
    wanted = {
        "center": ((groups, inputs), real),
        "moments": (square, real),
        "held_out": ((groups, kept, inputs), real),
        "largest": ((groups, inputs), real),
        **dict.fromkeys(
            ("total", "source_total", "magnitudes"), ((groups, inputs), np.dtype(np.float64))
        ),
        "rows": ((groups,), count),
        "held_out_rows": ((groups,), count),
        "drift_moments": (square, real),
        "source": ((groups, kept, inputs), real),
    }
    for name, array in arrays.items():
        shape, dtype = wanted[name]
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{name} is {array.dtype}{list(array.shape)}, not {dtype}{list(shape)}"
            )
        if not np.isfinite(array).all() or (dtype == count and (array < 0).any()):
            raise ValueError(f"{name} has values that can't be")


def cache_key(
    mod: tvm.IRModule, inputs: list[Input], calls: list[Call], settings: tuple[int | str, ...]
) -> str:
    """Return the SHA-256 of a model with its weights, of samples, and of settings."""
    digest = hashlib.sha256(f"{VERSION} {settings}\n".encode())
    for gv, function in sorted(mod.functions.items(), key=lambda item: item[0].name_hint):
        if isinstance(function, relax.Function):
            text = function.script(show_meta=False)
            digest.update(f"{gv.name_hint} {len(text)}\n{text}".encode())
            _update_constants(digest, function)
        else:
            digest.update(f"{gv.name_hint} {tvm.ir.save_json(function)}\n".encode())
    digest.update(f"{len(calls)} calls of {', '.join(map(str, inputs))}\n".encode())
    for call in calls:
        for array in call:
            _update(digest, array)
    return digest.hexdigest()


def _update_constants(digest, function: relax.Function) -> None:
    def visit(expr):
        if isinstance(expr, tvm.ir.GenericConst):
            _update(digest, expr.value.numpy())

    relax.analysis.post_order_visit(function, visit)


def _update(digest, array: np.ndarray) -> None:
    digest.update(f"{array.dtype} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
