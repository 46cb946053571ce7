"""Makes quantized operators of those that the array runs.

The result is an ordinary Relax module: run-time quantization, unpacking of the packed weights and
integer GEMMs as `call_tir` of plain TIR. It builds for LLVM, and that is the reference.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import tvm
from tvm import relax

from ...target.errors import ConfigError, UnsupportedError
from ..names import digest, read_names
from ..partition.constraints import PRODUCTS
from ..partition.layer import Layer, Replaced
from ..partition.partition import Partitions, partition_module
from ..quant.base import check_finite
from ..quant.recipe import FP32, Recipe
from ..quant.statistics import Statistics
from .activations import chosen_activations
from .host_layers import keep_on_host
from .integers.split import split_long_sums
from .kv_cache import round_caches
from .migration.factors import make_rule
from .migration.migrate import migrate_model
from .order import order_outputs
from .pack import Packed, corrected, pack_integers, pack_layer
from .records import with_recipe, with_records
from .rewrite.replace import replace_layers
from .rotation import rotate_model

Take = Callable[[Layer, Sequence[Statistics] | None], Replaced | None]
"""Quantizes a layer with the statistics of its groups, None if no row ever reached it; returns what
it computes with from now on, if it has statistics."""
Calibrate = Callable[[tvm.IRModule, Partitions, Take, bool], None]


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
    names = read_names(mod)
    # Quantized inputs are shared by all readers, which may stand in different dataflow blocks.
    mod = relax.transform.ToNonDataflow()(split_long_sums(mod))
    if recipe.kv_cache != FP32:
        mod = round_caches(mod, recipe)
    parts = partition_module(mod, names, recipe.in_fp32)
    _check_patterns(parts, recipe)
    if strict:
        _refuse_host_anchors(parts)
    _check_finite(parts)
    migration: Mapping[int, str] = {}
    if recipe.migration is not None:
        if calibrate is None:
            raise ConfigError(
                f"recipe '{recipe.name}': migration = {recipe.migration!r} needs calibration data: "
                "give `calibration` some inputs of the model, or leave migration out"
            )
        mod, parts, migration = migrate_model(
            mod, parts, names, calibrate, make_rule(recipe), recipe.in_fp32
        )
    if recipe.rotation:
        mod, parts = rotate_model(mod, parts, names, recipe)
    if not recipe.on_host:
        parts = {gv: order_outputs(mod[gv], part, recipe) for gv, part in parts.items()}
    packed = _pack(mod, parts, recipe, progress, calibrate)
    parts = {gv: corrected(part, packed) for gv, part in parts.items()}
    kept = {gv: keep_on_host(part, packed, recipe) for gv, part in parts.items()}
    parts = {gv: part for gv, (part, _) in kept.items()}
    if strict:
        _refuse_host_anchors(parts)
    attrs = dict(mod.attrs) if mod.attrs else {}
    activations, parts = chosen_activations(mod, parts, recipe)
    mod, records = replace_layers(mod, parts, packed, migration, activations)
    on_host = tuple(record for _, found in kept.values() for record in found)
    mod = relax.transform.ConvertToDataflow(min_size=1)(mod)
    mod = relax.transform.DeadCodeElimination()(mod)
    mod = with_records(mod.with_attrs(attrs), replace(records, host_layers=on_host))
    return with_recipe(mod, recipe.name, repr(recipe))


def _check_patterns(parts: Partitions, recipe: Recipe) -> None:
    """Raise ConfigError for overrides that no layer has a name for."""
    names = [name for part in parts.values() for name in part.names]
    unused = [row.pattern for row in recipe.overrides if not fnmatch.filter(names, row.pattern)]
    if unused:
        raise ConfigError(
            f"recipe '{recipe.name}': no layer is called as override(s) {', '.join(unused)} say; "
            f"the model's are: {', '.join(names) or 'none'}"
        )


def _check_finite(parts: Partitions) -> None:
    # All at once and before any rewriting: a rewriter that stops half way leaves TVM complaining.
    for layer in (layer for part in parts.values() for layer in part.layers):
        for what, values in (("weight", layer.weight), ("bias", layer.bias)):
            if values is not None:
                check_finite(values, what, layer.name)


def _refuse_host_anchors(parts: Partitions) -> None:
    refused = [
        f"{name}: {reason}"
        for part in parts.values()
        for name, reason in part.host
        if name in PRODUCTS
    ]
    if refused:
        listing = "\n  ".join(sorted(set(refused)))
        raise UnsupportedError(f"{len(refused)} operator(s) can't run on the array:\n  {listing}")


def _pack(
    mod: tvm.IRModule, parts: Partitions, recipe: Recipe, progress, calibrate: Calibrate | None
) -> dict[int, Packed]:
    """Return the packed weights of all layers by the layer's number."""
    layers = [layer for part in parts.values() for layer in part.layers if layer.weight is not None]
    packed = {
        layer.number: pack_integers(layer)
        for part in parts.values()
        for layer in part.layers
        if layer.integers is not None
    }
    given = len(packed)
    several = sum(bool(part.layers) for part in parts.values()) > 1
    done: dict[tuple, tuple[Packed, Replaced | None]] = {}

    def take(layer: Layer, statistics) -> Replaced | None:
        key = _content(layer) if several else (layer.number,)
        if statistics is not None or key not in done:
            done[key] = pack_layer(layer, recipe, statistics)
        packed[layer.number], replaced = done[key]
        if progress:
            progress(len(packed) - given, len(layers), layer.name)
        return replaced

    if calibrate is not None:
        calibrate(mod, parts, take, recipe.compensates())
    else:
        for layer in layers:
            take(layer, None)
    return packed


def _content(layer: Layer) -> tuple:
    """Return what layers of several functions have in common that share their weights.

    Where no sample reaches one of them, it gets what the other was given.
    """
    bias = "" if layer.bias is None else digest(layer.bias)
    return layer.name, layer.groups, digest(layer.matrix), bias
