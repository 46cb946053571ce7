"""Batch norms behind convolutions of every kind: part of weight and bias."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx

from .graph import Names, attribute, walk

CONVOLUTIONS = ("Conv", "ConvTranspose")


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Multiply a batch norm's factors into the convolution before it.

    The host has nothing to do then, whatever runs the convolution.
    """
    if not any(node.op_type == "BatchNormalization" for node in model.graph.node):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    readers = Counter(name for node in walk(graph) for name in node.input)
    readers.update(value.name for value in graph.output)
    made = {name: node for node in graph.node for name in node.output}
    arrays = _Arrays(changed)
    gone: set[int] = set()
    for norm in graph.node:
        if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
            continue
        chain = _chain(norm, made, readers, arrays)
        if chain is None:
            continue
        convolution, addition = chain
        _fold(convolution, addition, norm, arrays, readers)
        convolution.output[0] = norm.output[0]
        gone |= {id(each) for each in (norm, addition) if each is not None}
    kept = [node for node in graph.node if id(node) not in gone]
    if not gone:
        return model
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    arrays.write()
    return changed


class _Arrays:
    """A graph's constants, and those that take their place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.names = Names(model)
        self.tensors = {each.name: each for each in model.graph.initializer}
        self.made: dict[str, np.ndarray] = {}

    def get(self, name: str) -> np.ndarray | None:
        """Return a constant of fp32; None for anything else."""
        if name in self.made:
            return self.made[name]
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return onnx.numpy_helper.to_array(tensor)

    def exact(self, name: str) -> np.ndarray:
        """Return a constant that is one, in fp64."""
        array = self.get(name)
        assert array is not None
        return array.astype(np.float64)

    def put(self, name: str, array: np.ndarray, readers: Counter) -> str:
        """Keep a constant in the place of another one, and return its name."""
        # Layers are called by their weights, so that a name stays where nobody else reads it.
        fresh = name if readers[name] == 1 else self.names.fresh(name)
        self.made[fresh] = array.astype(np.float32)
        return fresh

    def write(self) -> None:
        """Give the graph the constants that its nodes read now."""
        used = {name for node in walk(self.graph) for name in node.input}
        used |= {value.name for value in self.graph.output}
        kept = [
            each
            for each in self.graph.initializer
            if each.name in used and each.name not in self.made
        ]
        kept += [onnx.numpy_helper.from_array(array, name) for name, array in self.made.items()
                 if name in used]  # fmt: skip
        tensors = [onnx.TensorProto.FromString(each.SerializeToString()) for each in kept]
        del self.graph.initializer[:]
        self.graph.initializer.extend(tensors)


def _chain(
    norm: onnx.NodeProto,
    made: Mapping[str, onnx.NodeProto],
    readers: Counter,
    arrays: _Arrays,
) -> tuple[onnx.NodeProto, onnx.NodeProto | None] | None:
    """Return the convolution before a batch norm, and an addition of constants between them."""
    if len([name for name in norm.output if name]) > 1:
        return None
    if any(arrays.get(name) is None for name in norm.input[1:]):
        return None
    addition = None
    before = made.get(norm.input[0])
    if before is not None and before.op_type == "Add" and readers[before.output[0]] == 1:
        addition = before
        sources = [made[name] for name in before.input if name in made]
        before = sources[0] if len(sources) == 1 else None
    if before is None or before.op_type not in CONVOLUTIONS or readers[before.output[0]] != 1:
        return None
    if any(arrays.get(name) is None for name in before.input[1:] if name):
        return None
    rank = arrays.exact(before.input[1]).ndim
    if addition is not None and _added(addition, arrays, rank) is None:
        return None
    return before, addition


def _added(addition: onnx.NodeProto, arrays: _Arrays, rank: int) -> np.ndarray | None:
    """Return what an addition adds to each channel of `rank` dimensions, None if it isn't that."""
    constants = [each for each in map(arrays.get, addition.input) if each is not None]
    if len(constants) != 1:
        return None
    value = constants[0]
    # Of (1, C, 1, 1) it is the second, of (C, 1, 1) the first.
    axis = value.ndim - (rank - 1)
    return value.ravel() if axis in (0, 1) and value.size == value.shape[axis] else None


def _fold(convolution, addition, norm, arrays: _Arrays, readers: Counter) -> None:
    """Give a convolution the weight and bias that do what batch norm and addition did."""
    gamma, beta, mean, variance = map(arrays.exact, norm.input[1:])
    factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    weight = arrays.exact(convolution.input[1])
    biased = len(convolution.input) > 2
    total = arrays.exact(convolution.input[2]) if biased else np.zeros_like(mean)
    if addition is not None:
        added = _added(addition, arrays, weight.ndim)
        assert added is not None
        total = total + added
    if convolution.op_type == "Conv":
        scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:
        # (in, out of a group, ...): the inputs of a group follow each other.
        groups = attribute(convolution, "group", 1)
        split = weight.reshape(groups, -1, *weight.shape[1:])
        each = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        scaled = (split * each).reshape(weight.shape)
    named = convolution.input[2] if biased else norm.input[2]
    convolution.input[1:] = [
        arrays.put(convolution.input[1], scaled, readers),
        arrays.put(named, (total - mean) * factor + beta, readers),
    ]
