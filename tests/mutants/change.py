"""A small change of a source that its tests should notice."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One change: where it is, what it looks like, and the whole changed source when asked for."""

    line: int
    what: str
    source: Callable[[], str]
