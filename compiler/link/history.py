"""Which call a unit last read or wrote bytes in, interval by interval."""

from collections.abc import Hashable, Iterator

from ...target.isa.spec import Unit

Interval = tuple[int, int]
"""First byte, and the byte after the last."""


class History:
    """The latest accesses of each unit to each memory; a later one hides what it covers."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[Hashable, Unit, bool], list[tuple[int, int, int]]] = {}

    def add(self, memory: Hashable, unit: Unit, wrote: bool, span: Interval, call: int) -> None:
        """Note an access."""
        first, end = span
        lane = self.lanes.setdefault((memory, unit, wrote), [])
        kept = [(first, end, call)]
        for low, high, number in lane:
            if low < first:
                kept.append((low, min(high, first), number))
            if high > end:
                kept.append((max(low, end), high, number))
            # What lies on both sides stays as two pieces.
        lane[:] = [piece for piece in kept if piece[0] < piece[1]]

    def last(self, memory: Hashable, span: Interval) -> Iterator[tuple[Unit, bool, int]]:
        """Yield the last call in which each unit wrote, or read, any of some bytes."""
        first, end = span
        for (where, unit, wrote), lane in self.lanes.items():
            if where != memory:
                continue
            calls = [number for low, high, number in lane if low < end and first < high]
            if calls:
                yield unit, wrote, max(calls)
