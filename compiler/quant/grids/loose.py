"""MicroScopiQ's formats before they fit slots: the steps of the paper's ablation (Table 7)."""

import numpy as np

from ....target.formats import MACRO_BLOCK, MICRO_BLOCK
from ..host_formats import StudyWeight
from .ms import MsGrid

SCALE_BITS = 8
"""Of an inlier scale, and of the exponent that outliers share."""
PLACE_BITS = 7
"""Where an outlier is in its macro-block, if there is no permutation list to say so."""


class LooseMsGrid(MsGrid):
    """Outliers with room of their own, which may share an exponent over a macro-block.

    The grid of `ms.MsGrid` otherwise; no machine holds its weights.
    """

    def _most_outliers(self, count: int) -> np.ndarray:
        return np.tile(self.width, count)

    def _sharing(self, micro: np.ndarray) -> np.ndarray:
        return micro // (self.options.outlier_block // MICRO_BLOCK)

    def _choose_slots(self, channels, macro, outlier, shift) -> None:
        place, micro, magnitude = self._sparse(macro, outlier)
        exponent = self._shared_exponent(micro, magnitude) + shift[micro // len(self.width)]
        rows, column = np.divmod(place, self.columns)
        cuts = np.searchsorted(rows, np.arange(1, len(channels)))
        for channel, *kept in zip(
            channels, np.split(column, cuts), np.split(exponent, cuts), strict=True
        ):
            self.kept[channel] = kept
        sharing = np.unique(self._sharing(micro))
        self.outliers[channels] = np.bincount(rows, minlength=len(channels))
        per_row = len(self.width) * MICRO_BLOCK // self.options.outlier_block
        self.exponents[channels] = np.bincount(sharing // per_row, minlength=len(channels))

    def _recall(self, channels: np.ndarray) -> None:
        columns, exponents = zip(*(self.kept[channel] for channel in channels), strict=True)
        self.upper = np.concatenate([row * self.out + at for row, at in enumerate(columns)])
        self.upper_exponent, self.lower = np.concatenate(exponents), self.upper[:0]
        self.ends = np.cumsum([0, *map(len, columns)])

    def __init__(self, format_name, inputs, out, options):
        super().__init__(format_name, inputs, out, options)
        self.outliers, self.exponents = np.zeros((2, inputs), np.int64)
        self.kept: dict[int, list[np.ndarray]] = {}
        """By input channel: its outliers' columns and exponents."""

    def finish(self, values: np.ndarray) -> tuple[StudyWeight, dict]:
        """Return the values; bits count scales, exponents, and outliers with their places."""
        inputs, out = values.shape
        macro = self.columns // MACRO_BLOCK
        extra = int(self.outliers.sum()) * (self.row.bits + PLACE_BITS)
        extra += SCALE_BITS * (int(self.exponents.sum()) + macro * inputs)
        weight = StudyWeight(
            self.row.name,
            np.ascontiguousarray(values.T),
            self.row.bits + extra / values.size,
        )
        counts = {name: int(lost.sum()) for name, lost in self.lost.items()}
        return weight, counts | {"outliers": int(self.outliers.sum())}
