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
        return tomllib.loads(path.read_text()), str(path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
