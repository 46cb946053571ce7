"""Ranges narrower than their largest weight: what is beyond is clipped, and all others gain."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....target.errors import ConfigError, unknown_name
from ..statistics import Statistics

CLIPS = ("none", "mse", "outputs")
FACTORS = tuple(1 - step / 20 for step in range(13))
"""Parts of a group's range that are tried: AWQ's steps of a twentieth, past its half, because 2
bits gain most at some 0.4."""


@dataclass(frozen=True)
class ClipOptions:
    """How ranges of groups are chosen, in formats that have such.

    Attributes
    ----------
    clip : str
        ``none``: a group's largest weight; ``mse``: of 13 parts of that, down to 0.4, the one of
        least squared error of the weights; ``outputs``: of what they add to the outputs, which
        needs samples.
    """

    clip: str = "none"

    def __post_init__(self):
        if self.clip not in CLIPS:
            raise ConfigError(unknown_name("clip", str(self.clip), CLIPS))


@dataclass(frozen=True)
class Clip:
    """What a narrower range is judged by.

    Attributes
    ----------
    moments : numpy.ndarray or None
        ``(in, in)``: second moments of the inputs, for errors of outputs; None for those of
        weights.
    """

    moments: np.ndarray | None = None

    def narrowed(
        self, weights: np.ndarray, group: int, rounded: Callable[[float], np.ndarray]
    ) -> np.ndarray:
        """Return float32 ``(groups, out)``: the part of each range that leaves least error.

        Parameters
        ----------
        weights : numpy.ndarray
            ``(in, out)``.
        group : int
            Input channels that share a range.
        rounded : callable
            Returns values ``(in, out)`` with all ranges times a factor.
        """
        starts = range(0, len(weights), group)
        best = np.ones((len(starts), weights.shape[1]), np.float32)
        least = np.full(best.shape, np.inf)
        for factor in FACTORS:
            error = rounded(factor) - weights
            for number, start in enumerate(starts):
                part = error[start : start + group]
                cost = np.einsum("ko,ko->o", part.astype(np.float64), self._pull(part, start))
                better = cost < least[number]
                best[number, better], least[number, better] = factor, cost[better]
        return best

    def _pull(self, error: np.ndarray, start: int) -> np.ndarray:
        if self.moments is None:
            return error
        inside = np.s_[start : start + len(error)]
        return self.moments[inside, inside] @ error


def clip_of(options: ClipOptions, statistics: Statistics | None) -> Clip | None:
    """Return what ranges are judged by, None for those that clip nothing.

    Raises
    ------
    ConfigError
        For errors of outputs without statistics of the inputs.
    """
    if options.clip == "none":
        return None
    if options.clip == "mse":
        return Clip()
    if statistics is None:
        raise ConfigError("clip = 'outputs' needs calibration data; 'mse' and 'none' need none")
    return Clip(statistics.hessian)
