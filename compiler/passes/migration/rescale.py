"""Multiplies constants of calls and inputs of layers by factors of their channels."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...names import Names, digest
from ...partition.graph import Graph, op_name, shape_of, static_shape
from ...partition.layer import Layer
from .fold import Edit, Fold

INPUT_AXES = {"linear": -1, "conv2d": -3}
"""Layers whose inputs migrate, and where these have their channels."""
FOLDED, MULTIPLIED = "folded into what comes before", "multiplied on the host"


def unshaped(graph: Graph, layer: Layer):
    """Return what a layer's input is a reshape of, as long as the channels stay last."""
    expr = layer.x
    while layer.kind == "linear":
        value = graph.definition.get(expr)
        if value is None or op_name(value) != "reshape" or not _keeps_channels(value):
            break
        expr = value.args[0]
    return expr


def _keeps_channels(value) -> bool:
    shape = static_shape(value.args[0])
    return shape is not None and shape[-1:] == shape_of(value)[-1:]


class Plan:
    """Changes of one function: constants of calls, and inputs that are multiplied."""

    def __init__(self, function: relax.Function):
        self.graph = Graph(function)
        self.edits: dict[int, dict[int, list[np.ndarray]]] = {}
        self.quotients: dict[int, tuple] = {}

    def divide(self, source, layers: list[Layer], factors: np.ndarray) -> str:
        """Divide a value by factors for these layers, and multiply their weights by them.

        Returns
        -------
        str
            Where the division went: `FOLDED` or `MULTIPLIED`.
        """
        axis = INPUT_AXES[layers[0].kind]
        inverse = (1 / factors).reshape(-1, *[1] * (-axis - 1))
        calls = {hash(layer.call) for layer in layers}
        edits = None
        if self._seen_only_by(source, calls):
            edits = Fold(self.graph, inverse).only_used_here(source)
        for edit in edits or ():
            self._note(edit)
        for layer in layers:
            self._note(Edit(layer.call, 1, _columns(layer, factors)))
            if edits is None:
                self.quotients[hash(layer.call)] = (source, inverse)
        return MULTIPLIED if edits is None else FOLDED

    def weights(self, layers: list[Layer]) -> np.ndarray:
        """Return ``(in,)``: largest magnitude of each channel's weights in all layers.

        The weights are those that will be quantized, with a batch norm behind in them.
        """
        found = []
        for layer in layers:
            linear = layer.kind == "linear"
            weight = np.abs(layer.matrix.T if linear else layer.matrix)
            for factor in self._rows(layer):
                weight = weight * factor
            if linear:
                found.append(weight.max(axis=1))
            else:
                rows = len(weight) // layer.groups
                parts = weight.reshape(layer.groups, rows, weight.shape[1], -1)
                found.append(parts.max(axis=(1, 3)).reshape(-1))
        return np.max(found, axis=0)

    def constant(self, call, index: int) -> np.ndarray:
        """Return a call's operand with its changes so far, rounded once."""
        value = self.original(call, index)
        factors = self._factors(call, index)
        if not factors:
            return value
        changed = value.astype(np.float64)
        for factor in factors:
            changed = changed * factor
        return changed.astype(np.float32)

    def original(self, call, index: int) -> np.ndarray:
        """Return a call's operand as the source has it."""
        value = self.graph.constant(call.args[index])
        if value is None:
            raise TypeError(f"operand {index} is no constant: {call}")
        return value

    def replaced(self, call) -> dict[int, np.ndarray]:
        """Return the operands of a call that are new constants."""
        return {index: self.constant(call, index) for index in self.edits.get(hash(call), {})}

    def _factors(self, call, index: int) -> list[np.ndarray]:
        return self.edits.get(hash(call), {}).get(index, [])

    def _rows(self, layer: Layer) -> list[np.ndarray]:
        """Return what a layer's weight is multiplied by so far: its readers' factors."""
        found = list(self._factors(layer.call, 1))
        for call in layer.absorbed:
            if op_name(call) == "nn.batch_norm":
                found += [factor.reshape(-1, 1, 1, 1) for factor in self._factors(call, 1)]
        return found

    def _note(self, edit: Edit) -> None:
        operands = self.edits.setdefault(hash(edit.call), {})
        operands.setdefault(edit.index, []).append(edit.factor)

    def _seen_only_by(self, var, calls: set[int]) -> bool:
        for user, value in self.graph.users.get(var, []):
            if user is None:
                return False
            view = op_name(value) == "reshape" and _keeps_channels(value)
            if hash(value) not in calls and not (view and self._seen_only_by(user, calls)):
                return False
        return True


def _columns(layer: Layer, factors: np.ndarray) -> np.ndarray:
    """Return factors as they multiply the weight of the layer's call."""
    if layer.kind == "linear":
        return factors[:, None]
    rows = len(layer.matrix) // layer.groups
    return np.repeat(factors.reshape(layer.groups, -1), rows, axis=0)[:, :, None, None]


@mutator
class Rescale(PyExprMutator):
    """Gives calls their changed constants and layers their multiplied inputs.

    Attributes
    ----------
    names : dict
        Of parameters, as `Names`, with those of changed ones.
    quotients : dict
        The multiplications that were inserted.
    """

    def __init__(self, mod, plan: Plan, names: Names):
        super().__init__(mod)
        self.plan = plan
        self.names: dict[str, Sequence[str]] = dict(names)
        self.quotients: dict = {}
        self.seen: Counter[str] = Counter()

    def _rename(self, old: np.ndarray, new: np.ndarray) -> None:
        """Give a changed parameter its name, whichever way round a source had the matrix.

        Parameters that were equal needn't be any more: the names go round in their order.
        """
        for turn in (np.asarray, np.transpose):
            before, after = digest(turn(old)), digest(turn(new))
            found = list(self.names.get(before, ()))
            if found and before != after:
                at = self.seen[before] % len(found)
                self.seen[before] += 1
                self.names.setdefault(after, found[at:] + found[:at])

    def visit_call_(self, call):
        changed = self.plan.replaced(call)
        for index, value in changed.items():
            self._rename(self.plan.original(call, index), value)
        constants = {index: relax.const(value) for index, value in changed.items()}
        quotient = self.plan.quotients.get(hash(call))
        new = self.visit_expr_post_order(call)
        if not constants and quotient is None:
            return new
        args = [constants.get(index, arg) for index, arg in enumerate(new.args)]
        if quotient is not None:
            source, inverse = quotient
            args[0] = self.quotient(source, inverse, shape_of(call.args[0]))
        return self.builder_.normalize(relax.Call(new.op, args, new.attrs, new.ty_args))

    def quotient(self, source, inverse: np.ndarray, shape: tuple[int, ...]):
        """Return a value divided by factors, one multiplication for all readers."""
        key = hash(source), inverse.ndim
        if key not in self.quotients:
            factor = relax.const(inverse.astype(np.float32))
            product = relax.op.multiply(self.visit_expr(source), factor)
            self.quotients[key] = self.builder_.emit(product)
        result = self.quotients[key]
        if static_shape(result) == shape:
            return result
        return self.builder_.emit(relax.op.reshape(result, shape))
