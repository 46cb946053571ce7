"""The interface between formats and the methods that decide what is rounded when."""

from typing import Protocol

import numpy as np

from ....target.weight import QuantizedWeight
from ..host_formats import StudyWeight


class Grid(Protocol):
    """What a format can store of a matrix. Weights are ``(in, out)`` here: an input channel a row.

    Methods walk over the input channels in any order: `prepare` chooses scales and outliers of
    some of them (`keep` has them again), `quantize` rounds each as often as wanted, and `finish`
    turns values that it gave into the machine's bytes.
    """

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        """Choose scales and outliers of input channels ``(c,)`` from their weights ``(c, out)``."""

    def keep(self, channels: np.ndarray) -> None:
        """Go back to the scales and outliers that `prepare` chose for these channels last."""

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        """Round the prepared channels from number `start` on to targets; return their values.

        Parameters
        ----------
        targets : numpy.ndarray
            float32 ``(rows, out)``.
        """

    def finish(self, values: np.ndarray) -> tuple[QuantizedWeight | StudyWeight, dict] | None:
        """Return the weight of values ``(in, out)``, each rounded by the last `prepare` of its
        channel, and counts of what was lost on the way.

        None when the sums don't fit the machine: prepare and quantize all once more, the grid
        has become coarser where it must.
        """
