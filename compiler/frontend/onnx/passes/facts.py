"""What is known of a graph's values while its nodes are gone through in order."""

import math

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from .graph import Names, attribute, subgraphs, used

FOLDED_BYTES = 16 << 20
"""A constant that is larger than this, and than what it is computed from, stays a computation."""
KEPT = {
    # Quantized models keep their integers, and what is random isn't a constant.
    *("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Bernoulli", "Multinomial", "Optional", "SequenceEmpty", "SequenceConstruct"),
}
SMALL = 4096
"""Elements of a constant whose values shapes may depend on."""


class Facts:
    """Types and constants of a model's values, by name, and names that are still free.

    Attributes
    ----------
    types : dict of str to onnx.TypeProto
    constants : dict of str to onnx.TensorProto
    names : Names
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = {each.domain: each.version for each in model.opset_import}
        self.imports = list(model.opset_import)
        self.types: dict[str, onnx.TypeProto] = {v.name: v.type for v in model.graph.input}
        self.declared = {v.name: v.type for v in model.graph.value_info}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.names = Names(model)
        self._arrays: dict[str, np.ndarray] = {}
        for tensor in model.graph.initializer:
            self.put_tensor(tensor.name, tensor)

    def put_tensor(self, name: str, tensor: onnx.TensorProto) -> None:
        """Note that a value is a constant."""
        if tensor.name != name:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = name
            tensor = copy
        self.constants[name] = tensor
        self.types[name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)

    def put(self, name: str, array: np.ndarray) -> None:
        """Note that a value is a constant."""
        self.put_tensor(name, onnx.numpy_helper.from_array(array, name))

    def array(self, name: str) -> np.ndarray | None:
        """Return a constant's values; None for a value that is none."""
        if name not in self._arrays and name in self.constants:
            self._arrays[name] = onnx.numpy_helper.to_array(self.constants[name])
        return self._arrays.get(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a value's shape; None where any of it is unknown."""
        kind = self.types.get(name)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        dims = kind.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") for dim in dims):
            return None
        return tuple(dim.dim_value for dim in dims)

    def infer(self, node: onnx.NodeProto) -> None:
        """Note the types of a node's outputs, as far as ONNX or the model says them."""
        for name, kind in self._inferred(node).items():
            self.types[name] = kind
        for name in node.output:
            if name in self.declared and self.shape(name) is None:
                stated = self.declared[name]
                if stated.HasField("tensor_type") and name:
                    self.types[name] = stated

    def _inferred(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        known = {name: self.types[name] for name in used(node) if name in self.types}
        if any(name and name not in known for name in node.input):
            return {}
        small = {
            name: self.constants[name]
            for name in node.input
            if name in self.constants and math.prod(self.constants[name].dims) <= SMALL
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self.version(node), node.domain)
            return infer_node_outputs(schema, node, known, small, opset_imports=self.imports)
        except Exception:
            # No schema, or a node that breaks it: who needs its types says so.
            return {}

    def evaluate(self, node: onnx.NodeProto) -> list[np.ndarray] | None:
        """Return a node's results if they are constants that are worth being one, else None."""
        if node.op_type in KEPT or any(True for _ in subgraphs(node)):
            return None
        if any(name and name not in self.constants for name in node.input):
            return None
        if node.op_type == "Constant" and (tensor := attribute(node, "value")) is not None:
            return [onnx.numpy_helper.to_array(tensor)]
        arrays = {name: self.array(name) for name in node.input if name}
        limit = max(FOLDED_BYTES, sum(each.nbytes for each in arrays.values() if each is not None))
        if sum(map(self._bytes, self._inferred(node).values())) > limit:
            return None
        try:
            results = ReferenceEvaluator(node, opsets=self.opsets).run(None, arrays)
        except Exception:
            # The reference lacks an operator or refuses its arguments: then it is no constant.
            return None
        plain = all(isinstance(each, np.ndarray | np.generic) for each in results)
        return [np.asarray(each) for each in results] if plain else None

    def version(self, node: onnx.NodeProto) -> int:
        """Return the version of the operators that a node is one of."""
        return self.opsets.get(node.domain, self.opsets.get("ai.onnx", 1))

    def _bytes(self, kind: onnx.TypeProto) -> int:
        sizes = [dim.dim_value for dim in kind.tensor_type.shape.dim]
        return 8 * math.prod(sizes)
