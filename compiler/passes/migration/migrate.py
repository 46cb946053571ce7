"""Moves outliers from activations into weights: ``x / s`` and ``W * s``, one factor per channel.

Few bits hold a group's largest value and little else, and outliers of activations stand in a few
channels, whatever the token. Weights have scales that follow the channels, so they take part of
the range (SmoothQuant; MicroScopiQ A2). Or weights of channels that matter are made larger, so that
rounding loses less of them (AWQ). The module computes what it did, up to fp32 rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm

from ...names import Names
from ...partition.constraints import OTHER_REASON
from ...partition.graph import Graph
from ...partition.layer import Layer, Partition
from ...partition.partition import Partitions, partition
from ...quant.statistics import Statistics
from .factors import Rule
from .rescale import INPUT_AXES, Plan, Rescale, unshaped

MULTIPLY = "divides channels by the factors that went into the weights behind it"
"""Why a multiplication is on the host that the model doesn't have."""


@dataclass(frozen=True)
class Migration:
    """What became of a module.

    Attributes
    ----------
    mod : tvm.IRModule
    names : Names
        Of parameters, with those of changed ones.
    factors : mapping of int to numpy.ndarray
        float32 ``(in,)`` by the number of a layer of the partition: its input is divided by them.
    placed : mapping of int to str
        By the same numbers, where the division went: `rescale.FOLDED` or `MULTIPLIED`.
    multiplies : mapping of GlobalVar to int
        Multiplications that were inserted.
    """

    mod: tvm.IRModule
    names: Names
    factors: Mapping[int, np.ndarray]
    placed: Mapping[int, str]
    multiplies: Mapping[tvm.ir.GlobalVar, int]


def migrate_model(
    mod: tvm.IRModule,
    parts: Partitions,
    names: Names,
    calibrate: Callable,
    rule: Rule,
    in_fp32: Callable[[str], bool],
) -> tuple[tvm.IRModule, Partitions, Mapping[int, str]]:
    """Return a migrated module, its partitions, and where the factors of each layer went.

    The layers have the numbers that they had.

    Parameters
    ----------
    calibrate : callable
        As `quantize.quantize_model` takes it.
    in_fp32 : callable
        As `partition.partition` takes it.
    """

    def take(layer: Layer, statistics: Sequence[Statistics] | None) -> None:
        if statistics:
            rule.observe(layer, statistics)

    calibrate(mod, parts, take, False)
    done = migrate(mod, parts, names, rule)
    after = {}
    for gv, part in parts.items():
        first = part.layers[0].number if part.layers else 0
        found = partition(done.mod[gv], done.names, first, in_fp32)
        after[gv] = _with_reasons(found, done.multiplies[gv])
    return done.mod, after, done.placed


def _with_reasons(part: Partition, multiplies: int) -> Partition:
    """Return a partition that says why so many multiplications are in it."""
    host = list(part.host)
    for _ in range(multiplies):
        host[host.index(("multiply", OTHER_REASON))] = ("multiply", MULTIPLY)
    return replace(part, host=tuple(host))


def migrate(mod: tvm.IRModule, parts: Partitions, names: Names, rule: Rule) -> Migration:
    """Divide the inputs of layers by per-channel factors, and multiply their weights by them.

    Layers that read one value share its factors. The division goes into constants before the value
    where nothing else sees it (`fold.Fold`), else into a multiplication, which the host runs.

    Parameters
    ----------
    mod : tvm.IRModule
        In non-dataflow form.
    parts : dict of GlobalVar to Partition
        Of the module's functions.
    names : Names
        Of parameters.
    rule : Rule
        It has seen the layers' statistics; a layer that it has no factors for keeps its input.

    Raises
    ------
    InputError
        For magnitudes that aren't finite or of another number of channels.
    """
    attrs, all_names = dict(mod.attrs) if mod.attrs else {}, dict(names)
    used: dict[int, np.ndarray] = {}
    placed: dict[int, str] = {}
    multiplies: dict[tvm.ir.GlobalVar, int] = {}
    for gv, part in parts.items():
        plan = Plan(mod[gv])
        groups = _shared_inputs(plan.graph, part)
        # Readers before what they read: a weight's rows are final when its columns' turn comes.
        for source, layers in reversed(groups):
            factors = rule.factors(layers, plan)
            if factors is not None:
                where = plan.divide(source, layers, factors)
                used |= {layer.number: factors.astype(np.float32) for layer in layers}
                placed |= {layer.number: where for layer in layers}
        rescale = Rescale(mod, plan, all_names)
        rescale.builder_.update_func(gv, rescale.visit_expr(mod[gv]))
        mod, all_names = rescale.builder_.get(), rescale.names
        multiplies[gv] = len(rescale.quotients)
    return Migration(mod.with_attrs(attrs) if attrs else mod, all_names, used, placed, multiplies)


def _shared_inputs(graph: Graph, part: Partition) -> list[tuple]:
    """Return (value, layers that read it), in the order of the first reader."""
    groups: dict = {}
    for layer in part.layers:
        if layer.kind in INPUT_AXES:
            source = unshaped(graph, layer)
            groups.setdefault((hash(source), layer.kind), (source, []))[1].append(layer)
    return list(groups.values())
