"""What calibration knows about the inputs of one matrix: moments and magnitudes."""

import copy
from dataclasses import dataclass, field

import numpy as np

MOST_HELD_OUT = 512
"""Held-out rows that are kept; of more, every second, fourth, ... row stays. An error over 512
rows and all outputs is an average of enough terms, and costs an eighth of one over 4,096."""
FAR = 100.0
"""Power of a mean over that of the spread from which sums are taken about the mean: two of the
seven digits of fp32 are the mean's by then."""
ROWS_AT_ONCE = 4096
"""Rows whose magnitudes are looked at together: bounds the copy that takes."""


@dataclass
class Statistics:
    """Sums over the rows ``(rows, in)`` that a matrix multiplies; held-out rows kept apart.

    Attributes
    ----------
    inputs : int
        Input channels.
    center : numpy.ndarray
        float32 ``(in,)``: what is taken from X before it is multiplied, about its mean. Of inputs
        whose mean is large beside their spread, sums of X itself have no digit of the spread left.
    moments : numpy.ndarray
        float32 ``(in, in)``: (X - center)^T (X - center) of the calibration rows.
    held_out : numpy.ndarray
        float32 ``(kept, in)``: held-out rows, at most `MOST_HELD_OUT`, evenly chosen.
    drift_moments : numpy.ndarray or None
        float32 ``(in, in)``: (X - center)^T (S - X) of the calibration rows, S what they are in the
        model before quantization; None where S is X.
    source : numpy.ndarray or None
        float32 ``(kept, in)``: S of the held-out rows.
    total, source_total : numpy.ndarray
        float64 ``(in,)``: sums of X and of S over the calibration rows.
    largest : numpy.ndarray
        float32 ``(in,)``: largest magnitude of each channel in the calibration rows.
    magnitudes : numpy.ndarray
        float64 ``(in,)``: sum of each channel's magnitudes over the calibration rows.
    rows, held_out_rows : int
        How many of each were added.
    """

    inputs: int
    center: np.ndarray = field(init=False, repr=False)
    moments: np.ndarray = field(init=False, repr=False)
    held_out: np.ndarray = field(init=False, repr=False)
    total: np.ndarray = field(init=False, repr=False)
    source_total: np.ndarray = field(init=False, repr=False)
    largest: np.ndarray = field(init=False, repr=False)
    magnitudes: np.ndarray = field(init=False, repr=False)
    drift_moments: np.ndarray | None = field(default=None, init=False, repr=False)
    source: np.ndarray | None = field(default=None, init=False, repr=False)
    rows: int = 0
    held_out_rows: int = 0

    def __post_init__(self):
        self.center = np.zeros(self.inputs, np.float32)
        self.moments = np.zeros((self.inputs, self.inputs), np.float32)
        self.held_out = np.zeros((0, self.inputs), np.float32)
        self.total = np.zeros(self.inputs)
        self.source_total = np.zeros(self.inputs)
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
        if not self.rows and len(x):
            self.center = _center(x)
        near = x - self.center if self.center.any() else x
        self.moments += _finite(near.T @ near)
        if source is not None:
            drift = _finite(near.T @ (source - x))
            before = self.drift_moments
            self.drift_moments = drift if before is None else np.add(before, drift, before)
        self.rows += len(x)
        self.total += x.sum(axis=0, dtype=np.float64)
        self.source_total += (x if source is None else source).sum(axis=0, dtype=np.float64)
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
        self.moments, self.held_out = self.moments[pick], self.held_out[:, channels]
        for name in ("center", "total", "source_total", "largest", "magnitudes"):
            setattr(self, name, getattr(self, name)[channels])
        if self.drift_moments is not None:
            self.drift_moments = self.drift_moments[pick]
        if self.source is not None:
            self.source = self.source[:, channels]

    @property
    def hessian(self) -> np.ndarray:
        """float32 ``(in, in)``: X^T X of the calibration rows."""
        if not self.center.any():
            return self.moments
        beside = self.total - self.rows * self.center.astype(np.float64) / 2
        half = np.outer(beside, self.center)
        return (self.moments + half + half.T).astype(np.float32)

    @property
    def drift(self) -> np.ndarray | None:
        """float32 ``(in, in)``: X^T (S - X) of the calibration rows; None where S is X."""
        if self.drift_moments is None or not self.center.any():
            return self.drift_moments
        added = np.outer(self.center, self.source_total - self.total)
        return (self.drift_moments + added).astype(np.float32)

    def at_rest(self) -> "Statistics":
        """Return the same with sums of X itself, so that nobody adds the center's part again."""
        return self._about(np.zeros(self.inputs), self.hessian, self.drift)

    def centered(self) -> "Statistics":
        """Return the statistics of rows whose means are taken away: a bias makes good the rest."""
        count = max(self.rows, 1)
        mean, source = self.total / count, self.source_total / count
        # Sums of X - center: the little that the first rows' mean is off.
        beside = self.total - self.rows * self.center.astype(np.float64)
        moments = self.moments - np.outer(beside, beside / count).astype(np.float32)
        drift = self.drift_moments
        if drift is not None:
            drift = drift - np.outer(beside, source - mean).astype(np.float32)
        found = self._about(mean, moments, drift)
        if self.source is not None:
            found.source = (self.source - source).astype(np.float32)
        return found

    def _about(self, mean: np.ndarray, moments: np.ndarray, drift) -> "Statistics":
        """Return statistics of X - mean ``(in,)`` with sums that are known."""
        found = copy.copy(self)
        found.center = np.zeros(self.inputs, np.float32)
        found.moments, found.drift_moments = moments, drift
        if mean.any():
            found.held_out = (self.held_out - mean).astype(np.float32)
        return found

    def bias_shift(self, weight: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return float32 ``(out,)``: what `values` lack on average of what `weight` gives.

        Bias correction (Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.2) from data.

        Parameters
        ----------
        weight, values : numpy.ndarray
            float32 ``(out, in)``: as they were, and as the machine computes with them.
        """
        lacking = weight @ self.source_total - values @ self.total
        return (lacking / max(self.rows, 1)).astype(np.float32)

    def held_out_loss(
        self, weight: np.ndarray, values: np.ndarray, shift: np.ndarray | None = None
    ) -> tuple[float, float]:
        """Return ``|X values^T + shift - S weight^T|^2`` and ``|S weight^T|^2`` of held-out rows.

        X are the rows as the quantized model has them, S as the model before quantization.

        Parameters
        ----------
        weight, values : numpy.ndarray
            float32 ``(out, in)``: as they were, and as the machine computes with them.
        shift : numpy.ndarray, optional
            float32 ``(out,)``: what was added to the bias.
        """
        added = np.float32(0) if shift is None else shift
        if self.source is None:
            wanted = self.held_out @ weight.T
            return power(self.held_out @ (values - weight).T + added), power(wanted)
        wanted = self.source @ weight.T
        return power(self.held_out @ values.T + added - wanted), power(wanted)


def _center(x: np.ndarray) -> np.ndarray:
    """Return float32 ``(in,)``: the mean where it is far from 0 for the spread of ``(rows, in)``.

    Elsewhere 0, and sums of X itself are as good.
    """
    with np.errstate(invalid="ignore"):  # what isn't finite is refused behind
        mean = x.mean(axis=0, dtype=np.float64)
        spread = np.square(x - mean).mean(axis=0)
        return np.where(np.square(mean) > FAR * spread, mean, 0).astype(np.float32)


def _finite(product: np.ndarray) -> np.ndarray:
    if not np.isfinite(product).all():
        raise FloatingPointError("activations aren't finite")
    return product


def held_out_stride(rows: int) -> int:
    """Return the power of two: of so many held-out rows one is kept."""
    stride = 1
    while -(-rows // stride) > MOST_HELD_OUT:
        stride *= 2
    return stride


def power(y: np.ndarray) -> float:
    """Return the sum of squares of float32 ``(rows, columns)``, rows added up in float64."""
    return float(np.einsum("mn,mn->m", y, y).sum(dtype=np.float64))
