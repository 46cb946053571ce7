"""Puts what the kinds of layers emit in the place of their roots."""

from collections import Counter
from collections.abc import Mapping

import tvm
from tvm.relax.expr_functor import mutator

from ...partition.layer import Layer
from ...partition.partition import Partitions
from ...sizes import variables_of
from ..activations import Activations
from ..pack import Packed
from ..records import HostOperator, Records
from .emission import Emission, Shared
from .layer_kinds import LAYER_KINDS


def replace_layers(
    mod: tvm.IRModule,
    parts: Partitions,
    packed: Mapping[int, Packed],
    migration: Mapping[int, str],
    activations: Activations,
) -> tuple[tvm.IRModule, Records]:
    """Return the module with its layers replaced, and the records of those and of the host.

    Parameters
    ----------
    packed, migration : mapping of int
        By the number of a layer; see `Shared`.
    """
    shared = Shared(packed, migration, activations)
    host: list[HostOperator] = []
    for gv, part in parts.items():
        replace = _ReplaceLayers(mod, part, shared, variables_of(mod[gv]))
        replace.builder_.update_func(gv, replace.visit_expr(mod[gv]))
        mod = replace.builder_.get()
        counted = Counter([*part.host, *replace.host])
        host += [HostOperator(gv.name_hint, *why, count) for why, count in counted.items()]
    return mod, Records(shared.records, tuple(host))


@mutator
class _ReplaceLayers(Emission):
    """Replaces the root of each layer by its quantized operators; the rest becomes dead."""

    def __init__(self, mod, part, shared: Shared, variables):
        super().__init__(mod, part, shared, variables)
        self.roots = {hash(layer.root): layer for layer in part.layers}

    def visit_call_(self, call):
        layer = self.roots.get(hash(call))
        return self.visit_expr_post_order(call) if layer is None else self.replaced(layer)

    def visit_tuple_getitem_(self, item):
        layer = self.roots.get(hash(item))
        return super().visit_tuple_getitem_(item) if layer is None else self.replaced(layer)

    def replaced(self, layer: Layer):
        packed, kind = self.shared.packed.get(layer.number), LAYER_KINDS[layer.kind]
        if packed is not None and packed.values is not None and kind.on_host is not None:
            return kind.on_host(self, layer, packed.values)
        return kind.on_array(self, layer)
