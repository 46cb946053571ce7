"""TOML tables by name or by path: architectures and recipes are data files like these."""

import sys
from pathlib import Path

from .errors import ConfigError, unknown_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def table_names(folder: Path) -> list[str]:
    """Return the names of the tables that come with the package in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_table(what: str, name_or_path: str | Path, folder: Path) -> tuple[dict, str]:
    """Return a table and where it was read from.

    Parameters
    ----------
    what : str
        What the table describes, for messages.
    name_or_path : str or Path
        A path when it ends in ``.toml``, else the name of a file in `folder`.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first), a missing file, or text that is no TOML.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith(".toml") else folder / f"{text}.toml"
    if not path.is_file():
        if text.endswith(".toml"):
            raise ConfigError(f"{what} file not found: {text}")
        raise ConfigError(unknown_name(what, text, table_names(folder)) + " or a .toml path")
    try:
        # Editors of Windows put a byte order mark in front of UTF-8, which TOML doesn't have.
        return tomllib.loads(path.read_text(encoding="utf-8-sig")), str(path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{what} file '{path}' can't be read: {error.strerror}") from None


def read_with_base(
    what: str, name_or_path: str | Path, folder: Path, own: tuple[str, ...], files: tuple[str, ...]
) -> tuple[dict, str]:
    """Return a table as `read_table` does, over the entries of the `base` that it may name.

    Parameters
    ----------
    own : tuple of str
        Entries that say what a table is: a base doesn't give them.
    files : tuple of str
        Entries that may be paths; like that of a base, they start from the table's own folder.

    Raises
    ------
    ConfigError
        As `read_table`, for the base as well, and for one that has a base of its own.
    """
    table, where = _at_home(*read_table(what, name_or_path, folder), (*files, "base"))
    if "base" not in table:
        return table, where
    name = table.pop("base")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: base = {name!r}: a name or a .toml path is needed")
    try:
        base, base_where = _at_home(*read_table(what, name, folder), files)
    except ConfigError as error:
        raise ConfigError(f"{where}: its base: {error}") from None
    if "base" in base:
        raise ConfigError(f"{where}: its base {base_where} has a base of its own; allowed: one")
    return {**{key: base[key] for key in base if key not in own}, **table}, where


def _at_home(table: dict, where: str, files: tuple[str, ...]) -> tuple[dict, str]:
    """Return a table whose paths are full."""
    home = Path(where).resolve().parent
    paths = {
        key: str(home / table[key])
        for key in files
        if isinstance(table.get(key), str) and table[key].endswith(".toml")
    }
    return {**table, **paths}, where
