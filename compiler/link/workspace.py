"""Places of tensors in a workspace that they share: those that live at different times overlap."""

from dataclasses import dataclass

from ..tiling.nest import round_up

ALIGNMENT = 64
"""Bytes to which each tensor starts anew."""


@dataclass(frozen=True)
class Life:
    """A tensor's size in bytes, and the first and the last call that touches it."""

    size: int
    first: int
    last: int

    def meets(self, other: "Life") -> bool:
        """Tell whether some call needs both."""
        return self.first <= other.last and other.first <= self.last


def shared_places(lives: list[Life]) -> tuple[list[int], int]:
    """Return the offset of each tensor, and the bytes of all.

    Larger ones are placed first, each in the smallest gap between those that live with it.
    """
    offsets = [0] * len(lives)
    placed: list[int] = []
    for number in sorted(range(len(lives)), key=lambda n: (-lives[n].size, lives[n].first)):
        size = round_up(lives[number].size, ALIGNMENT)
        others = sorted(
            (offsets[other], round_up(lives[other].size, ALIGNMENT))
            for other in placed
            if lives[other].meets(lives[number])
        )
        offsets[number] = _gap(others, size)
        placed.append(number)
    ends = [offset + life.size for offset, life in zip(offsets, lives, strict=True)]
    return offsets, max(ends, default=0)


def _gap(taken: list[tuple[int, int]], size: int) -> int:
    """Return where the smallest gap starts that has room, else the end of what is taken."""
    best, end = None, 0
    for offset, length in taken:
        room = offset - end
        if room >= size and (best is None or room < best[0]):
            best = (room, end)
        end = max(end, offset + length)
    return end if best is None else best[1]
