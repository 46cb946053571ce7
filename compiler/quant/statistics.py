"""What calibration knows about the inputs of one matrix: second moments and largest magnitudes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

ROWS_AT_ONCE = 4096
"""Rows whose magnitudes are looked at together: bounds the copy that takes."""


@dataclass
class Statistics:
    """Sums over the rows ``(rows, in)`` that a matrix multiplies, held-out rows kept apart.

    Attributes
    ----------
    inputs : int
        Input channels.
    hessian, held_out : numpy.ndarray
        float32 ``(in, in)``: X^T X of the calibration rows and of the held-out rows.
    rows, held_out_rows : int
        How many of each were added.
    largest : numpy.ndarray
        float32 ``(in,)``: largest magnitude of each channel in the calibration rows.
    """

    inputs: int
    hessian: np.ndarray = field(init=False, repr=False)
    held_out: np.ndarray = field(init=False, repr=False)
    largest: np.ndarray = field(init=False, repr=False)
    rows: int = 0
    held_out_rows: int = 0

    def __post_init__(self):
        self.hessian = np.zeros((self.inputs, self.inputs), np.float32)
        self.held_out = np.zeros((self.inputs, self.inputs), np.float32)
        self.largest = np.zeros(self.inputs, np.float32)

    def add(self, x: np.ndarray, held_out: bool = False) -> None:
        """Add rows ``(rows, in)``, float32, to the sums; they aren't kept.

        Raises
        ------
        FloatingPointError
            For NaN or Inf in the rows.
        """
        part = x.T @ x
        if not np.isfinite(part).all():
            raise FloatingPointError("activations aren't finite")
        if held_out:
            self.held_out += part
            self.held_out_rows += len(x)
            return
        self.hessian += part
        self.rows += len(x)
        for rows in _parts(x):
            np.maximum(self.largest, np.abs(rows).max(axis=0, initial=0), out=self.largest)


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), ROWS_AT_ONCE):
        yield x[start : start + ROWS_AT_ONCE]


def relative_error(weight: np.ndarray, values: np.ndarray, hessian: np.ndarray) -> float:
    """Return ``|X (values - weight)^T|^2 / |X weight^T|^2`` from ``hessian = X^T X``.

    Parameters
    ----------
    weight, values : numpy.ndarray
        float32 ``(out, in)``: as they were and as the machine computes with them.

    Returns
    -------
    float
        0 when the outputs are all zero and nothing was lost; NaN if there are no rows.
    """
    lost, power = output_loss(weight, values, hessian)
    if not hessian.any():
        return float("nan")
    return lost / power if power > 0 else float(lost > 0)


def output_loss(weight: np.ndarray, values: np.ndarray, hessian: np.ndarray) -> tuple[float, float]:
    """Return the two sums of `relative_error`, which matrices of one layer add up."""
    error = values.astype(np.float32) - weight
    return float(np.vdot(error @ hessian, error)), float(np.vdot(weight @ hessian, weight))
