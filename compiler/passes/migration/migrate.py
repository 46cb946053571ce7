"""Moves outliers from activations into weights: ``x / s`` and ``W * s``, one factor per channel.

Few bits hold a group's largest value and little else, and outliers of activations stand in a few
channels, whatever the token. Weights have scales that follow the channels, so they take part of
the range (SmoothQuant; MicroScopiQ A2). Or weights of channels that matter are made larger, so that
rounding loses less of them (AWQ). The module computes what it did, up to fp32 rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm

from ...partition.constraints import OTHER_REASON
from ...partition.graph import Graph
from ...partition.layer import Layer, Partition
from ...partition.partition import partition
from ...quant.statistics import Statistics
from .factors import Rule
from .rescale import KINDS, Plan, Rewriter, unshaped

MULTIPLY = "divides channels by the factors that went into the weights behind it"
"""Why a multiplication is on the host that the model doesn't have."""


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
    mod: tvm.IRModule, parts: dict, names: dict[str, str], calibrate: Callable, rule: Rule
) -> tuple[tvm.IRModule, dict]:
    """Return a migrated module and its partitions.

    Parameters
    ----------
    calibrate : callable
        As `quantize.quantize_model` takes it.
    """

    def take(layer: Layer, statistics: Sequence[Statistics] | None) -> None:
        if statistics:
            rule.observe(layer, statistics)

    calibrate(mod, parts, take, False)
    done = migrate(mod, parts, names, rule)
    after = {gv: partition(done.mod[gv], done.names) for gv in parts}
    for gv, part in after.items():
        for old, new in zip(parts[gv].layers, part.layers, strict=True):
            new.migration = done.placed.get(id(old), "")
        for _ in range(done.multiplies[gv]):
            part.host[part.host.index(("multiply", OTHER_REASON))] = ("multiply", MULTIPLY)
    return done.mod, after


def migrate(mod: tvm.IRModule, parts: dict, names: dict[str, str], rule: Rule) -> Migration:
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
    rule : Rule
        It has seen the layers' statistics; a layer that it has no factors for keeps its input.

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
            factors = rule.factors(layers, plan)
            if factors is not None:
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


def _shared_inputs(graph: Graph, part: Partition) -> list[tuple]:
    """Return (value, layers that read it), in the order of the first reader."""
    groups: dict = {}
    for layer in part.layers:
        if layer.kind in KINDS:
            source = unshaped(graph, layer)
            groups.setdefault((hash(source), layer.kind), (source, []))[1].append(layer)
    return list(groups.values())
