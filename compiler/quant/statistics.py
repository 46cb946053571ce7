"""What calibration knows about the inputs of one matrix: second moments and magnitudes."""

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
    held_out : numpy.ndarray
        float32 ``(kept, in)``: held-out rows, at most `MOST_HELD_OUT`, evenly chosen.
    drift : numpy.ndarray or None
        float32 ``(in, in)``: X^T (S - X) of the calibration rows, S what they are in the model
        before quantization; None where S is X.
    source : numpy.ndarray or None
        float32 ``(kept, in)``: S of the held-out rows.
    largest : numpy.ndarray
        float32 ``(in,)``: largest magnitude of each channel in the calibration rows.
    magnitudes : numpy.ndarray
        float64 ``(in,)``: sum of each channel's magnitudes over the calibration rows.
    rows, held_out_rows : int
        How many of each were added.
    """

    inputs: int
    hessian: np.ndarray = field(init=False, repr=False)
    held_out: np.ndarray = field(init=False, repr=False)
    largest: np.ndarray = field(init=False, repr=False)
    magnitudes: np.ndarray = field(init=False, repr=False)
    drift: np.ndarray | None = field(default=None, init=False, repr=False)
    source: np.ndarray | None = field(default=None, init=False, repr=False)
    rows: int = 0
    held_out_rows: int = 0

    def __post_init__(self):
        self.hessian = np.zeros((self.inputs, self.inputs), np.float32)
        self.held_out = np.zeros((0, self.inputs), np.float32)
        self.largest = np.zeros(self.inputs, np.float32)
        self.magnitudes = np.zeros(self.inputs)

    def add(self, x: np.ndarray, held_out: bool = False, source: np.ndarray | None = None) -> None:
        """Add rows ``(rows, in)``, float32; of the calibration rows only sums are kept.

        Parameters
        ----------
        source : numpy.ndarray, optional
            The same rows in the model before quantization, of all rows or of none.

        Raises
        ------
        FloatingPointError
            For NaN or Inf in the rows.
        """
        if held_out:
            if not np.isfinite(x).all():
                raise FloatingPointError("activations aren't finite")
            self._hold_out(x, source)
            return
        part = x.T @ x
        if not np.isfinite(part).all():
            raise FloatingPointError("activations aren't finite")
        self.hessian += part
        if source is not None:
            drift = x.T @ (source - x)
            if not np.isfinite(drift).all():
                raise FloatingPointError("activations aren't finite")
            self.drift = drift if self.drift is None else np.add(self.drift, drift, self.drift)
        self.rows += len(x)
        for start in range(0, len(x), ROWS_AT_ONCE):
            magnitude = np.abs(x[start : start + ROWS_AT_ONCE])
            np.maximum(self.largest, magnitude.max(axis=0, initial=0), out=self.largest)
            self.magnitudes += magnitude.sum(axis=0, dtype=np.float64)

    def _hold_out(self, x: np.ndarray, source: np.ndarray | None) -> None:
        before = held_out_stride(self.held_out_rows)
        first = -self.held_out_rows % before
        self.held_out_rows += len(x)
        step = held_out_stride(self.held_out_rows) // before
        if source is not None:
            known = self.held_out[:0] if self.source is None else self.source
            self.source = np.concatenate([known, source[first::before]])[::step].copy()
        self.held_out = np.concatenate([self.held_out, x[first::before]])[::step].copy()

    def order(self, channels: np.ndarray) -> None:
        """Put the input channels into an order."""
        pick = np.ix_(channels, channels)
        self.hessian, self.held_out = self.hessian[pick], self.held_out[:, channels]
        self.largest, self.magnitudes = self.largest[channels], self.magnitudes[channels]
        if self.drift is not None:
            self.drift = self.drift[pick]
        if self.source is not None:
            self.source = self.source[:, channels]

    def held_out_loss(self, weight: np.ndarray, values: np.ndarray) -> tuple[float, float]:
        """Return ``|X values^T - S weight^T|^2`` and ``|S weight^T|^2`` over the held-out rows.

        X are the rows as the quantized model has them, S as the model before quantization.

        Parameters
        ----------
        weight, values : numpy.ndarray
            float32 ``(out, in)``: as they were, and as the machine computes with them.
        """
        if self.source is None:
            return power(self.held_out @ (values - weight).T), power(self.held_out @ weight.T)
        wanted = self.source @ weight.T
        return power(self.held_out @ values.T - wanted), power(wanted)


def held_out_stride(rows: int) -> int:
    """Return the power of two: of so many held-out rows one is kept."""
    stride = 1
    while -(-rows // stride) > MOST_HELD_OUT:
        stride *= 2
    return stride


def power(y: np.ndarray) -> float:
    """Return the sum of squares of float32 ``(rows, columns)``, rows added up in float64."""
    return float(np.einsum("mn,mn->m", y, y).sum(dtype=np.float64))
