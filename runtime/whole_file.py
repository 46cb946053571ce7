"""Files that appear whole or not at all."""

import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from ..target.errors import ConfigError


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say which file can't be written and why, where the system says it without a name.

    Raises
    ------
    ConfigError
        For any OSError: a full disk, no permission, a folder of that name.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"can't write '{path}': {error.strerror or error}") from None


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name, and rename it once all is written.

    Raises
    ------
    ConfigError
        When the folder or the file can't be written.
    """
    target = Path(path)
    if _is_device(target):
        # A file renamed to it would take its place.
        with writing(path), target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(target.name + ".part")
    try:
        with writing(path):
            with temporary.open("wb") as file:
                yield file
            os.replace(temporary, target)
    finally:
        # Where it couldn't be made, it can't be removed, nor need it be.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole_text(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file as `whole_file` does, compressed if its name ends in .gz."""
    with whole_file(path) as raw:
        if Path(path).suffix != ".gz":
            with io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
                yield text
            return
        # Without name and time, equal contents are equal files.
        with (
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
        ):
            yield text


def check_folder(path: str | Path) -> None:
    """Raise when a file can't be made there: better before a long run than after it.

    Raises
    ------
    ConfigError
        When the folder isn't there or can't be written, or a folder has that name.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"output file '{path}': a folder has that name")
    if _is_device(target):
        return
    try:
        # Permissions say little: root has them on folders that take no file.
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError:
        raise ConfigError(
            f"output file '{path}': no folder that can be written: {target.parent}"
        ) from None


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def make_folder(folder: str | Path) -> Path:
    """Return a folder that exists now.

    Raises
    ------
    ConfigError
        When it can't be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't make the folder '{folder}': {error.strerror}") from None
    return Path(folder)


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it: no reader sees half of it.

    Raises
    ------
    ConfigError
        When the folder or the file can't be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
