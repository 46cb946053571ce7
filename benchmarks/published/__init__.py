"""Published areas and energies, rebuilt from the entries of target/technologies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A published figure beside ours.

    Attributes
    ----------
    source : str
        Where the figure is published.
    within : float or None
        Largest relative difference that is held; None for one that doesn't rebuild, whose
        `note` says why in numbers.
    """

    source: str
    what: str
    unit: str
    published: float
    rebuilt: float
    within: float | None
    note: str

    @property
    def difference(self) -> float:
        """Relative difference of the rebuilt figure."""
        return self.rebuilt / self.published - 1

    @property
    def holds(self) -> bool:
        return self.within is None or abs(self.difference) <= self.within
