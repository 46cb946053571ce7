"""The one tree of errors; C++ raises the same classes by name."""

import difflib
from collections.abc import Iterable


class MicroscopiqError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(MicroscopiqError):
    """A model or a file that can't be used."""


class ConfigError(MicroscopiqError):
    """An option or a configuration value that isn't allowed."""


class UnsupportedError(MicroscopiqError):
    """Operators the machine can't run, with a reason each."""


class CapacityError(MicroscopiqError):
    """A layer that fits no tile on this machine."""


class IsaError(MicroscopiqError):
    """An instruction or a program that can't be encoded or decoded."""


class SimError(MicroscopiqError):
    """A program that does something illegal while it runs."""


class BudgetError(SimError):
    """A run that takes more cycles or instructions than it was allowed."""


BY_NAME = {
    cls.__name__: cls
    for cls in (
        InputError,
        ConfigError,
        UnsupportedError,
        CapacityError,
        IsaError,
        SimError,
        BudgetError,
    )
}


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for a name that no registry knows, nearest names first."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown {what} '{name}'{hint} (allowed: {', '.join(names)})"


def last_line(error: Exception) -> str:
    """Return the last line of an error's text: TVM's start with a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
