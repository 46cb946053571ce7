"""Rewrites the operators that the array runs into quantized ones.

The result is an ordinary Relax module: run-time quantization, unpacking of the packed weights and
integer GEMMs as `call_tir` of plain TIR. It builds for LLVM, and that is the reference.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax

from ...target.errors import ConfigError, UnsupportedError
from ..names import NAMES
from ..partition.constraints import PRODUCTS
from ..partition.graph import function_names
from ..partition.layer import WEIGHTED, Layer, Partition, Replaced
from ..partition.partition import partition
from ..quant.base import check_finite
from ..quant.recipe import FP32, Recipe
from ..quant.statistics import Statistics
from .host_layers import HOST_LAYERS, keep_on_host
from .kv_cache import round_caches
from .migration.factors import make_rule
from .migration.migrate import migrate_model
from .order import order_outputs
from .pack import Packed, pack_layer
from .rewrite import Rewriter, State

LAYERS = "microscopiq.layers"
"""Module attribute: JSON of what each accelerated symbol is, for listings and reports."""
HOST = "microscopiq.host"
"""Module attribute: JSON of host operators as [function, op, reason, count]."""

Take = Callable[[Layer, Sequence[Statistics] | None], Replaced | None]
"""Quantizes a layer with the statistics of its groups, None if no row ever reached it; returns what
it computes with from now on, if it has statistics."""
Calibrate = Callable[[tvm.IRModule, dict[Any, Partition], Take, bool], None]


def quantize_model(
    mod: tvm.IRModule,
    recipe: Recipe,
    strict: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    calibrate: Calibrate | None = None,
) -> tvm.IRModule:
    """Return the module with every operator that the array can run quantized by a recipe.

    Parameters
    ----------
    strict : bool
        Make a matrix product or convolution that stays on the host an error.
    progress : callable, optional
        Called as ``progress(done, total, layer name)``.
    calibrate : callable, optional
        Called as ``calibrate(mod, parts, take, sequential)``: it has to call ``take(layer,
        statistics)`` once for every layer with a weight, whose statistics aren't needed any more
        after it; `sequential` says that it may let later layers see the quantized ones. A recipe
        with migration does so twice, and the second time with the migrated module.

    Raises
    ------
    ConfigError
        For a recipe with migration and no `calibrate`, or with a cache and no attention.
    UnsupportedError
        With `strict`, listing operators and reasons.
    InputError
        For NaN or Inf in weights.
    """
    names = json.loads(str(mod.attrs[NAMES])) if mod.attrs and NAMES in mod.attrs else {}
    # Quantized inputs are shared by all readers, which may stand in different dataflow blocks.
    mod = relax.transform.ToNonDataflow()(mod)
    if recipe.kv_cache != FP32:
        mod = round_caches(mod, recipe)
    parts = {gv: partition(mod[gv], names) for gv in function_names(mod)}
    if strict:
        _refuse_host_anchors(parts)
    # All at once and before any rewriting: a rewriter that stops half way leaves TVM complaining.
    for layer in (layer for part in parts.values() for layer in part.layers):
        for what, values in (("weight", layer.weight), ("bias", layer.bias)):
            if values is not None:
                check_finite(values, what, layer.name)
    if recipe.migration is not None:
        if calibrate is None:
            raise ConfigError(
                f"recipe '{recipe.name}': migration = {recipe.migration!r} needs calibration data: "
                "give `calibration` some inputs of the model, or leave migration out"
            )
        mod, parts = migrate_model(mod, parts, names, calibrate, make_rule(recipe))
    if not recipe.on_host:
        for gv, part in parts.items():
            order_outputs(mod[gv], part, recipe)
    packed = _pack(mod, parts, recipe, progress, calibrate)
    on_host = [record for part in parts.values() for record in keep_on_host(part, packed, recipe)]
    if strict:
        _refuse_host_anchors(parts)
    state = State(packed, recipe.activation)
    attrs = dict(mod.attrs) if mod.attrs else {}
    host: list = []
    for gv, part in parts.items():
        rewrite = Rewriter(mod, part, state)
        rewrite.builder_.update_func(gv, rewrite.visit_expr(mod[gv]))
        mod = rewrite.builder_.get()
        counted: dict = {}
        for name, reason in part.host:
            counted[name, reason] = counted.get((name, reason), 0) + 1
        host += [[gv.name_hint, name, reason, count] for (name, reason), count in counted.items()]
    attrs |= {LAYERS: json.dumps(state.layers), HOST: json.dumps(host)}
    attrs[HOST_LAYERS] = json.dumps(on_host)
    mod = relax.transform.ConvertToDataflow(min_size=1)(mod)
    mod = relax.transform.DeadCodeElimination()(mod)
    return mod.with_attrs(attrs)


def is_quantized(mod: tvm.IRModule) -> bool:
    """Tell whether a module already went through `quantize_model`."""
    return bool(mod.attrs and LAYERS in mod.attrs)


def _refuse_host_anchors(parts: dict) -> None:
    refused = [
        f"{name}: {reason}"
        for part in parts.values()
        for name, reason in part.host
        if name in PRODUCTS
    ]
    if refused:
        listing = "\n  ".join(sorted(set(refused)))
        raise UnsupportedError(f"{len(refused)} operator(s) can't run on the array:\n  {listing}")


def _pack(mod, parts: dict[Any, Partition], recipe: Recipe, progress, calibrate) -> dict:
    """Return the packed weights of all layers by the layer's id."""
    layers = [layer for part in parts.values() for layer in part.layers if layer.kind in WEIGHTED]
    packed: dict[int, Packed] = {}

    def take(layer: Layer, statistics) -> Replaced | None:
        packed[id(layer)], replaced = pack_layer(layer, recipe, statistics)
        if progress:
            progress(len(packed), len(layers), layer.name)
        return replaced

    if calibrate is not None:
        calibrate(mod, parts, take, recipe.compensates())
    else:
        for layer in layers:
            take(layer, None)
    for layer in layers:
        shift = packed[id(layer)].shift
        if shift is not None:
            layer.bias = layer.bias + shift
    return packed
