"""What calibration knows about the inputs of one matrix: second moments and largest magnitudes."""

from dataclasses import dataclass, field

import numpy as np

MOST_HELD_OUT = 512
"""Held-out rows that are kept; of more, every second, fourth, ... row stays. An error over 512
rows and all outputs is an average of enough terms, and costs an eighth of one over 4,096."""
ROWS_AT_ONCE = 4096
"""Rows whose magnitudes are looked at together: bounds the copy that takes."""


@dataclass
class Statistics:
    """Sums over the rows ``(rows, in)`` that a matrix multiplies; held-out rows kept apart.

    Attributes
    ----------
    inputs : int
        Input channels.
    hessian : numpy.ndarray
        float32 ``(in, in)``: X^T X of the calibration rows.
    largest : numpy.ndarray
        float32 ``(in,)``: largest magnitude of each channel in the calibration rows.
    rows, held_out_rows : int
        How many of each were added.
    """

    inputs: int
    hessian: np.ndarray = field(init=False, repr=False)
    largest: np.ndarray = field(init=False, repr=False)
    rows: int = 0
    held_out_rows: int = 0
    _kept: list[np.ndarray] = field(default_factory=list, repr=False)
    _stride: int = 1

    def __post_init__(self):
        self.hessian = np.zeros((self.inputs, self.inputs), np.float32)
        self.largest = np.zeros(self.inputs, np.float32)

    def add(self, x: np.ndarray, held_out: bool = False) -> None:
        """Add rows ``(rows, in)``, float32; of the calibration rows only sums are kept.

        Raises
        ------
        FloatingPointError
            For NaN or Inf in the rows.
        """
        if held_out:
            if not np.isfinite(x).all():
                raise FloatingPointError("activations aren't finite")
            self._hold_out(x)
            return
        part = x.T @ x
        if not np.isfinite(part).all():
            raise FloatingPointError("activations aren't finite")
        self.hessian += part
        self.rows += len(x)
        for start in range(0, len(x), ROWS_AT_ONCE):
            largest = np.abs(x[start : start + ROWS_AT_ONCE]).max(axis=0, initial=0)
            np.maximum(self.largest, largest, out=self.largest)

    def _hold_out(self, x: np.ndarray) -> None:
        first = -self.held_out_rows % self._stride
        self.held_out_rows += len(x)
        self._kept.append(x[first :: self._stride].copy())
        while sum(map(len, self._kept)) > MOST_HELD_OUT:
            self._kept = [np.concatenate(self._kept)[::2].copy()]
            self._stride *= 2

    @property
    def held_out(self) -> np.ndarray:
        """Held-out rows, float32 ``(rows, in)``: at most `MOST_HELD_OUT`, evenly chosen."""
        if not self._kept:
            return np.zeros((0, self.inputs), np.float32)
        if len(self._kept) > 1:
            self._kept = [np.concatenate(self._kept)]
        return self._kept[0]

    def held_out_error(self, weight: np.ndarray, values: np.ndarray) -> float:
        """Return ``|X (values - weight)^T|^2 / |X weight^T|^2`` over the held-out rows X.

        Parameters
        ----------
        weight, values : numpy.ndarray
            float32 ``(out, in)``: as they were, and as the machine computes with them.

        Returns
        -------
        float
            NaN when no row was held out; 0 if nothing was lost.
        """
        x = self.held_out
        if not len(x):
            return float("nan")
        lost, power = _power(x @ (values - weight).T), _power(x @ weight.T)
        return lost / power if power > 0 else float(lost > 0)


def _power(y: np.ndarray) -> float:
    return float(np.einsum("mn,mn->m", y, y).sum(dtype=np.float64))
