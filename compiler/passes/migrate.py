"""Moves outliers from activations into weights: ``x / s`` and ``W * s``, one factor per channel.

Few bits hold a group's largest value and little else, and outliers of activations stand in a few
channels, whatever the token. Weights have scales that follow the channels, so they take part of
the range (SmoothQuant; MicroScopiQ A2). The module computes what it did, up to fp32 rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm

from ...target.errors import InputError
from ..quant.statistics import Statistics
from .graph import Graph, static_shape
from .partition import OTHER_REASON, Layer, Partition, partition
from .rescale import KINDS, Plan, Rewriter, unshaped

MULTIPLY = "divides channels by the factors that went into the weights behind it"
"""Why a multiplication is on the host that the model doesn't have."""
FACTOR_RANGE = 2.0**10
"""Largest factor and inverse of the smallest: fp16 scales of weights must stay in their range."""


@dataclass
class Migration:
    """What became of a module.

    Attributes
    ----------
    mod : tvm.IRModule
    names : dict of str to str
        Parameter names by digest, with those of changed parameters.
    factors : dict of int to numpy.ndarray
        float32 ``(in,)`` by the id of a layer of the partition: its input is divided by them.
    placed : dict of int to str
        By the same ids, where the division went: `rescale.FOLDED` or `MULTIPLIED`.
    multiplies : dict of GlobalVar to int
        Multiplications that were inserted.
    """

    mod: tvm.IRModule
    names: dict[str, str]
    factors: dict[int, np.ndarray] = field(default_factory=dict)
    placed: dict[int, str] = field(default_factory=dict)
    multiplies: dict = field(default_factory=dict)


def migrate_model(
    mod: tvm.IRModule, parts: dict, names: dict[str, str], calibrate: Callable, alpha: float
) -> tuple[tvm.IRModule, dict]:
    """Return a migrated module and its partitions.

    Parameters
    ----------
    calibrate : callable
        As `quantize.quantize_model` takes it.
    """
    largest: dict[int, np.ndarray] = {}

    def take(layer: Layer, statistics: Sequence[Statistics] | None) -> None:
        if statistics:
            largest[id(layer)] = channel_largest(layer, statistics)

    calibrate(mod, parts, take, False)
    done = migrate(mod, parts, names, largest, alpha)
    after = {gv: partition(done.mod[gv], done.names) for gv in parts}
    for gv, part in after.items():
        for old, new in zip(parts[gv].layers, part.layers, strict=True):
            new.migration = done.placed.get(id(old), "")
        for _ in range(done.multiplies[gv]):
            part.host[part.host.index(("multiply", OTHER_REASON))] = ("multiply", MULTIPLY)
    return done.mod, after


def channel_largest(layer: Layer, statistics: Sequence[Statistics]) -> np.ndarray:
    """Return float32 ``(channels,)`` from the statistics of a layer's groups."""
    rows = np.concatenate([group.largest for group in statistics])
    taps = int(np.prod(layer.weight.shape[2:]))
    return rows.reshape(-1, taps).max(axis=1)


def migrate(
    mod: tvm.IRModule,
    parts: dict,
    names: dict[str, str],
    largest: dict[int, np.ndarray],
    alpha: float,
) -> Migration:
    """Divide the inputs of layers by per-channel factors, and multiply their weights by them.

    Layers that read one value share its factors. The division goes into constants before the value
    where nothing else sees it (`fold.Fold`), else into a multiplication, which the host runs.

    Parameters
    ----------
    mod : tvm.IRModule
        In non-dataflow form.
    parts : dict of GlobalVar to Partition
        Of the module's functions.
    names : dict of str to str
        Parameter names by `partition.digest`.
    largest : dict of int to numpy.ndarray
        float32 ``(in,)`` by the id of a layer: largest magnitude of each input channel. Layers
        that aren't there keep their inputs.
    alpha : float
        Strength, 0 to 1: how much of the activations' range goes into the weights.

    Raises
    ------
    InputError
        For magnitudes that aren't finite or of another number of channels.
    """
    result = Migration(mod, dict(names))
    for gv, part in parts.items():
        plan = Plan(result.mod[gv])
        groups = _shared_inputs(plan.graph, part)
        # Readers before what they read: a weight's rows are final when its columns' turn comes.
        for source, layers in reversed(groups):
            known = [largest[id(layer)] for layer in layers if id(layer) in largest]
            if known:
                factors = channel_factors(_magnitudes(layers, known), plan.weights(layers), alpha)
                placed = plan.divide(source, layers, factors)
                result.factors |= {id(layer): factors.astype(np.float32) for layer in layers}
                result.placed |= {id(layer): placed for layer in layers}
        rewrite = Rewriter(result.mod, plan, result.names)
        rewrite.builder_.update_func(gv, rewrite.visit_expr(result.mod[gv]))
        result.mod = rewrite.builder_.get()
        result.multiplies[gv] = len(rewrite.quotients)
    if mod.attrs:
        result.mod = result.mod.with_attrs(dict(mod.attrs))
    return result


def channel_factors(activations: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Return SmoothQuant's factors ``max|X|^alpha / max|W|^(1 - alpha)``, one per channel.

    Their geometric mean is 1, so that no layer changes its range as a whole; a channel whose
    inputs or weights are all zero has 1.

    Parameters
    ----------
    activations, weights : numpy.ndarray
        ``(in,)``: largest magnitudes.

    Returns
    -------
    numpy.ndarray
        float64 ``(in,)``, `FACTOR_RANGE` at most and its inverse at least.
    """
    factors = np.ones(len(weights))
    used = (activations > 0) & (weights > 0)
    if used.any():
        x, w = np.log(activations[used], dtype=np.float64), np.log(weights[used], dtype=np.float64)
        exponent = alpha * x - (1 - alpha) * w
        factors[used] = np.exp(exponent - exponent.mean())
    # As the machine will have them: what divides and what multiplies must be the same numbers.
    return np.clip(factors, 1 / FACTOR_RANGE, FACTOR_RANGE).astype(np.float32).astype(np.float64)


def _magnitudes(layers: list[Layer], known: list[np.ndarray]) -> np.ndarray:
    name, layer = layers[0].name, layers[0]
    channels = static_shape(layer.x)[KINDS[layer.kind]]
    for values in known:
        if values.shape != (channels,):
            raise InputError(
                f"layer '{name}': largest magnitudes of {values.shape} channels; ({channels},) "
                "are needed"
            )
        if not (np.isfinite(values) & (values >= 0)).all():
            raise InputError(f"layer '{name}': largest magnitudes must be finite and at least 0")
    return np.max(known, axis=0)


def _shared_inputs(graph: Graph, part: Partition) -> list[tuple]:
    """Return (value, layers that read it), in the order of the first reader."""
    groups: dict = {}
    for layer in part.layers:
        if layer.kind in KINDS:
            source = unshaped(graph, layer)
            groups.setdefault((hash(source), layer.kind), (source, []))[1].append(layer)
    return list(groups.values())
