"""An imported module beside its source: the fp32 module on LLVM, before anything is quantized.

Equal to LLVM says nothing when the import is wrong. What a source computes is for its frontend to
say; the comparison is the same for all.
"""

from collections.abc import Sequence

import numpy as np
import tvm

from ...runtime.session import Session
from ...target.errors import InputError
from ..llvm import build_for_llvm
from ..partition.graph import sized_shape
from ..sizes import bounded, with_bounds
from .repair import repair

LEAST_DB = 60.0
"""Of fp32 rounding in another order, over a hundred layers and more, with room to spare."""
UNIT = 2.0**-23
"""Differences up to here are none: what ends at 1, such as a sigmoid, is rounded there."""
HALF_DB = 25.0
"""The same for sources that compute in float16 or bfloat16, whose steps are 2^-8 apart."""


def run_fp32(mod: tvm.IRModule, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what an imported module computes, from the state that it came with."""
    return Session(build_for_llvm(repair(mod))).run(*inputs).outputs


def random_inputs(mod: tvm.IRModule, seed: int = 0) -> dict[str, np.ndarray]:
    """Return inputs of a module's `main` by name: normal numbers, and 0 and 1 for integers.

    Whatever integers count, such as tokens, 0 and 1 are among them. Sizes that a call decides are
    the largest ones.

    Raises
    ------
    InputError
        For an input whose sizes are open.
    """
    rng = np.random.default_rng(seed)
    found = {}
    with with_bounds(bounded(mod, {})):
        shapes = [sized_shape(param) for param in mod["main"].params]
    for param, known in zip(mod["main"].params, shapes, strict=True):
        if known is None:
            raise InputError(f"input '{param.name}' has open sizes, so nothing can be run with it")
        kind, shape = str(param.ty.dtype), tuple(map(int, known))
        number = rng.standard_normal(shape) if "float" in kind else rng.integers(0, 2, shape)
        found[param.name] = np.asarray(number).astype(kind)
    return found


def distance_db(
    expected: Sequence[np.ndarray], found: Sequence[np.ndarray], unit: float = UNIT
) -> float:
    """Return the least signal-to-noise ratio of all outputs in dB, infinite if all are equal.

    Integers and booleans are equal or not (-inf), and so is where NaN and infinities are.

    Parameters
    ----------
    unit : float
        Differences up to here are none.
    """
    if len(expected) != len(found):
        return -np.inf
    pairs = zip(expected, found, strict=True)
    return min((_distance(*pair, unit) for pair in pairs), default=np.inf)


def _distance(expected: np.ndarray, found: np.ndarray, unit: float) -> float:
    if expected.shape != found.shape:
        return -np.inf
    if not np.issubdtype(found.dtype, np.floating) or expected.dtype.kind in "biu":
        return np.inf if np.array_equal(expected, found) else -np.inf
    want, have = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(np.where(finite, 0, want), np.where(finite, 0, have), equal_nan=True):
        return -np.inf
    error = np.abs(want[finite] - have[finite])
    noise = float(np.square(error[error > unit]).sum())
    signal = float(np.square(want[finite]).sum())
    if not noise:
        return np.inf
    return 10 * np.log10(signal / noise) if signal else -np.inf


def check_import(
    mod: tvm.IRModule,
    inputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    source: str,
    least_db: float = LEAST_DB,
) -> None:
    """Hold an imported module against what its source computes.

    Parameters
    ----------
    least_db : float
        That a source of half precision rounds more is for the caller to say.

    Raises
    ------
    InputError
        When an output is further away than rounding explains.
    """
    found = run_fp32(mod, inputs)
    distances = [distance_db([want], [have]) for want, have in zip(expected, found, strict=False)]
    if len(found) != len(expected) or min(distances, default=np.inf) < least_db:
        listed = ", ".join(f"output {at}: {value:.0f} dB" for at, value in enumerate(distances))
        raise InputError(
            f"the import isn't what {source} computes ({listed}; {len(found)} of {len(expected)} "
            f"outputs); at least {least_db:.0f} dB are expected"
        )
