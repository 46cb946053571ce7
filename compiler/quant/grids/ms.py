"""MicroScopiQ's formats: inliers of one power of two per macro-block, outliers at twice the bits.

Follows A1, A2 and A7 of the paper notes: blocks along output channels inside one input channel,
3-sigma outliers, power-of-two inlier scales, one exponent per micro-block of outliers. Choices
where the paper is silent: an outlier that its micro-block's exponent would push further off than
clamping as an inlier stays an inlier.
"""

from dataclasses import dataclass

import numpy as np

from ....target.errors import ConfigError, unknown_name
from ....target.formats import (
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
    outlier_exponent_range,
)
from ....target.routing import passes
from ....target.weight import QuantizedWeight, blocks
from ..host_formats import StudyWeight
from ..lower_slots import choose_lower_slots
from .alignment import raised_floor
from .ms_weight import ISF_MIN, MICROS, Chosen, ms_weight, spread

INLIER_SCALES = ("mse", "floor", "ceil")
SCALE_CANDIDATES = 3
"""Powers of two tried per inlier scale, from the one that clips nothing downwards."""
ISF_MAX = 100


@dataclass(frozen=True)
class MsOptions:
    """What the paper leaves open, and what its ablation switches off.

    Attributes
    ----------
    sigmas : float
        An outlier is further from its macro-block's mean than this many standard deviations.
    inlier_scale : str
        ``mse``: the power of two of least squared error; ``ceil``: the one that clips nothing;
        ``floor``: that of the largest inlier, which clips up to an eighth of its octave.
    outlier_block : int
        Output channels whose outliers share an exponent: 8, the machine's, or 128 to compare.
    prune : bool
        Whether Lower halves take slots of pruned inliers, as on the machine; if not, outliers
        have room of their own, to compare.
    """

    sigmas: float = 3.0
    inlier_scale: str = "mse"
    outlier_block: int = MICRO_BLOCK
    prune: bool = True

    @property
    def on_machine(self) -> bool:
        """Whether the bytes that a machine loads can hold what comes out."""
        return self.prune and self.outlier_block == MICRO_BLOCK

    def __post_init__(self):
        if not self.sigmas > 0:
            raise ConfigError(f"sigmas = {self.sigmas!r}; allowed: above 0")
        if self.inlier_scale not in INLIER_SCALES:
            raise ConfigError(unknown_name("inlier scale", str(self.inlier_scale), INLIER_SCALES))
        if self.outlier_block not in (MICRO_BLOCK, MACRO_BLOCK):
            raise ConfigError(
                f"outlier_block = {self.outlier_block!r}; allowed: {MICRO_BLOCK}, {MACRO_BLOCK}"
            )
        if not isinstance(self.prune, bool):
            raise ConfigError(f"prune = {self.prune!r}; allowed: true, false")


class MsGrid:
    """The grid of `ms2` or `ms4`; see `grids.base.Grid`."""

    def __init__(self, format_name: str, inputs: int, out: int, options: MsOptions):
        self.row, self.options = WEIGHT_FORMATS[format_name], options
        self.out, self.columns = out, blocks(out, MACRO_BLOCK) * MACRO_BLOCK
        macro, micro = self.columns // MACRO_BLOCK, self.columns // MICRO_BLOCK
        # Columns of each micro-block that exist: the last may be narrow, some only padding.
        self.width = np.clip(out - MICRO_BLOCK * np.arange(micro), 0, MICRO_BLOCK)
        self.chosen = Chosen(
            np.zeros((inputs, macro), np.int16),
            np.ones((inputs, macro), bool),
            np.zeros((inputs, micro), np.int16),
            np.full((inputs, micro, MAX_OUTLIERS, 2), -1, np.int8),
        )
        self.floor = np.full((inputs, macro), ISF_MIN, np.int16)
        self.lost = {
            name: np.zeros(inputs, np.int64)
            for name in ("overflow", "demoted", "aligned", "saturated")
        }
        self.channels = np.arange(0)

    def prepare(self, channels: np.ndarray, weights: np.ndarray) -> None:
        count = len(channels)
        macro = np.zeros((count, self.columns), np.float32)
        macro[:, : self.out] = weights
        # To about 1: squares stay in the range of fp32.
        shift = np.frexp(np.abs(macro).max(axis=1))[1]
        macro = np.ldexp(macro, -shift[:, None]).reshape(count, -1, MACRO_BLOCK)
        outlier = self._find_outliers(channels, macro)
        isf, self.chosen.empty[channels] = self._inlier_scale(macro, outlier)
        wanted = isf + shift[:, None]
        if self.chosen.empty[channels].any():
            lowest = self._lowest_exponent(macro, outlier, shift)
            wanted = np.where(self.chosen.empty[channels], lowest, wanted)
        least = np.maximum(self.floor[channels], self._least_scale(macro, outlier, shift))
        isf = np.clip(np.maximum(wanted, least), ISF_MIN, ISF_MAX)
        self.lost["aligned"][channels] = ((isf > wanted) & ~self.chosen.empty[channels]).sum(axis=1)
        self.chosen.isf[channels] = isf
        self._demote(channels, macro, outlier, isf - shift[:, None])
        self._choose_slots(channels, macro, outlier, shift)
        self.keep(channels)

    def _find_outliers(self, channels: np.ndarray, macro: np.ndarray) -> np.ndarray:
        """Return the mask ``(c, macro-blocks, 128)``: at most 4 in a micro-block, with partners."""
        valid = np.minimum(self.out - MACRO_BLOCK * np.arange(macro.shape[1]), MACRO_BLOCK)
        centered = macro - (macro.sum(axis=2) / valid)[:, :, None]
        if valid[-1] < MACRO_BLOCK:
            centered[:, -1, valid[-1] :] = 0
        std = np.sqrt(np.square(centered).sum(axis=2) / valid)
        outlier = np.abs(centered) > self.options.sigmas * std[:, :, None]
        mask = outlier.reshape(-1, MICRO_BLOCK)
        most = self._most_outliers(len(channels))
        many = np.flatnonzero(mask.sum(axis=1) > most)
        self.lost["overflow"][channels] = 0
        if len(many):
            magnitude = np.where(mask[many], np.abs(macro.reshape(mask.shape)[many]), -1)
            rank = np.argsort(np.argsort(-magnitude, axis=1, kind="stable"), axis=1, kind="stable")
            kept = mask[many] & (rank < most[many, None])
            dropped = (mask[many] & ~kept).sum(axis=1)
            np.add.at(self.lost["overflow"], channels[many // len(self.width)], dropped)
            mask[many] = kept
        return outlier

    def _most_outliers(self, count: int) -> np.ndarray:
        """Return how many outliers each micro-block of so many channels can hold."""
        return np.tile(np.minimum(MAX_OUTLIERS, self.width // 2), count)

    def _sharing(self, micro: np.ndarray) -> np.ndarray:
        """Return the numbers of the blocks that share an exponent, ascending as `micro`."""
        return micro

    def _inlier_scale(self, macro, outlier) -> tuple[np.ndarray, np.ndarray]:
        """Return exponents ``(c, macro-blocks)`` of the inliers' steps, and where none are."""
        inlier = np.where(outlier, np.float32(0), macro)
        largest = np.abs(inlier).max(axis=2)
        empty = largest == 0
        safe = np.where(empty, 1, largest)
        q_max = np.float32(self.row.q_max)
        if self.options.inlier_scale == "floor":
            return np.frexp(safe)[1] - 1 - (self.row.bits - 2), empty
        top = np.ceil(np.log2(safe / q_max)).astype(np.int64)
        if self.options.inlier_scale == "ceil":
            return top, empty
        best, best_error = top.copy(), np.full(top.shape, np.inf, np.float32)
        for lower in range(SCALE_CANDIDATES):
            scale = np.exp2((top - lower).astype(np.float32))[:, :, None]
            q = inlier * (1 / scale)
            np.rint(q, out=q)
            np.clip(q, -q_max, q_max, out=q)
            q *= scale
            q -= inlier
            error = np.einsum("cbi,cbi->cb", q, q)
            better = error < best_error
            best = np.where(better, top - lower, best)
            best_error = np.where(better, error, best_error)
        return best, empty

    def _lowest_exponent(self, macro, outlier, shift) -> np.ndarray:
        """Return the smallest exponent of the outliers of each macro-block, ISF_MIN if none."""
        magnitude = np.where(outlier, np.abs(macro), 0).reshape(len(macro), -1, MICRO_BLOCK)
        exponent = np.frexp(magnitude.max(axis=2))[1] - 1 + shift[:, None]
        exponent = np.where(magnitude.any(axis=2), exponent, ISF_MAX)
        lowest = exponent.reshape(len(macro), -1, MICROS).min(axis=2)
        return np.where(lowest == ISF_MAX, ISF_MIN, lowest)

    def _least_scale(self, macro, outlier, shift) -> np.ndarray:
        """Return the least exponents of the inliers' steps that the largest outliers allow.

        The MXScale byte holds the distance of both. Inliers that far below are little beside them.
        """
        largest = np.where(outlier, np.abs(macro), 0).max(axis=2)
        exponent = np.frexp(largest)[1] - 1 + shift[:, None]
        high = outlier_exponent_range(self.row.bits)[1]
        return np.where(largest > 0, exponent - high, ISF_MIN)

    def _demote(self, channels, macro, outlier, isf) -> None:
        """Turn outliers back into inliers where clamping costs less than the shared exponent."""
        place, micro, magnitude = self._sparse(macro, outlier)
        exponent = self._shared_exponent(micro, magnitude)
        as_outlier = np.abs(self._outlier_value(magnitude, exponent) - magnitude)
        step = isf.reshape(-1)[micro // MICROS]
        largest = np.ldexp(np.float32(self.row.q_max), step)
        as_inlier = np.abs(np.minimum(magnitude, largest) - magnitude)
        high = outlier_exponent_range(self.row.bits)[1]
        unfit = (exponent < step) | (exponent - step > high)
        demoted = (as_inlier <= as_outlier) | unfit
        outlier.reshape(-1)[place[demoted]] = False
        self.lost["demoted"][channels] = np.bincount(
            micro[demoted] // len(self.width), minlength=len(channels)
        )

    def _sparse(self, macro, outlier) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the outliers' places in the flat block, their micro-blocks, magnitudes."""
        place = np.flatnonzero(outlier)
        return place, place // MICRO_BLOCK, np.abs(macro.reshape(-1)[place])

    def _shared_exponent(self, micro: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """Return floor(log2 max) over the outliers that share one; `micro` ascends."""
        if not len(micro):
            return np.zeros(0, np.int32)
        starts = np.flatnonzero(np.diff(self._sharing(micro), prepend=-1))
        largest = np.maximum.reduceat(magnitude, starts)
        counts = np.diff(np.append(starts, len(micro)))
        return np.repeat(np.frexp(largest)[1] - 1, counts)

    def _outlier_value(self, magnitude, exponent) -> np.ndarray:
        """Return the nearest magnitudes of outliers; those below 2^E saturate up to it."""
        _, kept = self._mantissa(magnitude, exponent)
        return np.ldexp(1 + kept / np.float32(1 << self.row.mantissa_bits), exponent)

    def _mantissa(self, magnitude, exponent) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest mantissas, and the nearest of those that there are."""
        steps = 1 << self.row.mantissa_bits
        mantissa = np.rint((np.ldexp(magnitude, -exponent) - 1) * steps)
        return mantissa, np.clip(mantissa, 0, steps - 1)

    def _choose_slots(self, channels, macro, outlier, shift) -> None:
        """Choose Lower slots and the exponents of the outliers."""
        _, micro, magnitude = self._sparse(macro, outlier)
        exponent = self._shared_exponent(micro, magnitude)
        exponent = exponent + shift[micro // len(self.width)]
        flagged = np.unique(micro)
        # All slots of a micro-block have one input channel, so A2's w^2 / Hinv is w^2.
        saliency = np.square(macro.reshape(-1, MICRO_BLOCK)[flagged].astype(np.float64))
        padding = np.arange(MICRO_BLOCK) >= self.width[flagged % len(self.width), None]
        saliency[padding] = np.inf
        chosen = choose_lower_slots(outlier.reshape(-1, MICRO_BLOCK)[flagged], saliency)
        pairs = np.full((len(channels) * len(self.width), MAX_OUTLIERS, 2), -1, np.int8)
        pairs[flagged] = chosen
        self.chosen.pairs[channels] = pairs.reshape(len(channels), -1, MAX_OUTLIERS, 2)
        shared = np.zeros(len(pairs), np.int16)
        shared[micro] = exponent
        self.chosen.exponent[channels] = shared.reshape(len(channels), -1)

    def keep(self, channels: np.ndarray) -> None:
        self.channels = channels
        isf = self.chosen.isf[channels]
        self.scale, self.inverse = spread(isf, self.out), spread(-isf, self.out)
        self._recall(channels)

    def _recall(self, channels: np.ndarray) -> None:
        """Set what `quantize` needs of the outliers of some channels."""
        pairs = self.chosen.pairs[channels]
        row, micro, entry = np.nonzero(pairs[..., 0] >= 0)
        first = row * self.out + micro * MICRO_BLOCK
        self.upper, self.lower = (first + pairs[row, micro, entry, half] for half in (0, 1))
        self.upper_exponent = self.chosen.exponent[channels][row, micro]
        self.ends = np.searchsorted(row, np.arange(len(channels) + 1))

    def quantize(self, start: int, targets: np.ndarray) -> np.ndarray:
        rows = len(targets)
        values = targets * self.inverse[start : start + rows]
        np.rint(values, out=values)
        q_max = np.float32(self.row.q_max)
        saturated = np.abs(values) > q_max
        np.minimum(values, q_max, out=values)
        np.maximum(values, -q_max, out=values)
        values *= self.scale[start : start + rows]
        flat, first = values.reshape(-1), start * self.out
        begin, end = self.ends[start], self.ends[start + rows]
        upper, lower = self.upper[begin:end] - first, self.lower[begin:end] - first
        flat[lower] = 0
        target = targets.reshape(-1)[upper]
        exponent = self.upper_exponent[begin:end]
        mantissa, kept = self._mantissa(np.abs(target), exponent)
        value = np.ldexp(1 + kept / np.float32(1 << self.row.mantissa_bits), exponent)
        flat[upper] = np.copysign(value, target)
        beyond = saturated.reshape(-1)
        beyond[lower], beyond[upper] = False, mantissa != kept
        counts = [np.count_nonzero(row) for row in saturated]  # of one row, thrice as fast as sum
        self.lost["saturated"][self.channels[start : start + rows]] = counts
        return values

    def finish(self, values: np.ndarray) -> tuple[QuantizedWeight | StudyWeight, dict] | None:
        weight = ms_weight(self.row, self.chosen, values)
        floor = raised_floor(weight, self.floor.T)
        if floor is not None:
            self.floor = np.minimum(floor.T, ISF_MAX).astype(np.int16)
            return None
        assert weight.pairs is not None and weight.relative_exponent is not None
        flagged = weight.relative_exponent >= 0
        outliers = int((weight.pairs[..., 0] >= 0).sum())
        return weight, {
            "outliers": outliers,
            "flagged": int(flagged.sum()),
            "micro_blocks": flagged.size,
            **{name: int(lost.sum()) for name, lost in self.lost.items()},
            "pruned": outliers,
            "second_passes": int((passes(weight.pairs[flagged]) > 1).sum()),
        }
