"""TVM's ONNX importer, with converters of this project before its own."""

import contextlib
import io
import warnings
from types import SimpleNamespace
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from ....target.errors import MicroscopiqError, UnsupportedError, last_line
from .converters import CONVERTERS, full_name
from .failures import Failure, listing, no_converter, node_name

DISTRUSTED = {
    # TVM's is ONNX Runtime's, of that name in another domain.
    "Attention",
}
"""Operators whose converter in TVM isn't used."""
RUNTIME = "com.microsoft."
"""Domain of operators that ONNX Runtime added."""
THEIRS_OF_RUNTIME = ("Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "Gelu",
                     "SkipLayerNormalization")  # fmt: skip
"""Operators of that domain that TVM has, which knows no domains."""


def has_converter(node: onnx.NodeProto) -> bool:
    """Tell whether a node's operator can be imported as it is."""
    return _is_known(full_name(node))


def _is_known(name: str) -> bool:
    if name in CONVERTERS or name in ("If", "Constant"):
        return True
    if name.startswith(RUNTIME):
        return name.removeprefix(RUNTIME) in THEIRS_OF_RUNTIME
    return name not in DISTRUSTED and name in onnx_frontend._get_convert_map()


class Importer(onnx_frontend.ONNXGraphImporter):
    """Looks for an operator's converter in `CONVERTERS` first, and goes on after what fails.

    Attributes
    ----------
    failures : list of Failure
    first : Exception or None
        What the first of them raised.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        # Names stay those of the model: users find inputs by them.
        # A size of 0 would be a symbol there.
        sizes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in graph.input
            if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
            and value.type.tensor_type.HasField("shape")
        }
        super().__init__(sizes, "float32", sanitize=False)
        self.failures: list[Failure] = []
        self.first: Exception | None = None
        self._types = {value.name: value.type for value in (*graph.value_info, *graph.output)}

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Do nothing: what has no converter fails where it is, with its name."""

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        known = {*onnx_frontend._get_convert_map(), *CONVERTERS}
        unknown: set[str] = set()
        for node in graph.node:
            if not unknown.isdisjoint(node.input):
                unknown.update(node.output)
                continue
            try:
                # TVM's importer prints what fails.
                with contextlib.redirect_stdout(io.StringIO()):
                    if not _is_known(node.op_type):
                        raise UnsupportedError(no_converter(node.op_type, known))
                    super()._construct_nodes(SimpleNamespace(node=[node]))
            except Exception as error:
                reason = str(error) if isinstance(error, MicroscopiqError) else _text(error)
                self.first = self.first or error
                self.failures.append(Failure(node.op_type, node_name(node), reason))
                for name in filter(None, node.output):
                    if not self._stand_in(name):
                        unknown.add(name)
        for value in graph.output:
            # The builder has to end what it began; nobody sees what it made after a failure.
            if self.failures and (value.name in unknown or value.name not in self._nodes):
                self._nodes[value.name] = relax.const(0.0)

    def _stand_in(self, name: str) -> bool:
        """Put zeros in the place of a result that can't be had, to find what else fails."""
        kind = self._types.get(name)
        if kind is None or not kind.HasField("tensor_type"):
            return False
        dims = kind.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") for dim in dims):
            return False
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type).name
        zeros = relax.op.zeros([dim.dim_value for dim in dims], dtype)
        self._nodes[name] = self.bb.emit(zeros)
        return True

    def _convert_operator(
        self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        ours = CONVERTERS.get(op_name)
        if ours is None:
            # TVM knows no domains.
            theirs = op_name.removeprefix(RUNTIME)
            return super()._convert_operator(theirs, inputs, attrs, opset)
        result = ours(self.bb, list(inputs), attrs, opset)
        return self.bb.normalize(result) if isinstance(result, relax.Expr) else result


def _text(error: Exception) -> str:
    """Return what another library's error says, with its kind where that says more."""
    text = last_line(error)
    return (
        text
        if type(error) in (ValueError, NotImplementedError)
        else (f"{text} ({type(error).__name__} in TVM's importer)")
    )


NARROW = ("INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1")
"""Types of less than a byte, of which TVM has no tensors at run time."""


def _refuse_types(model: onnx.ModelProto, where: str) -> None:
    """Raise for inputs and results that a program can't have."""
    refused = []
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            if not value.type.HasField("tensor_type"):
                name = (value.type.WhichOneof("value") or "").removesuffix("_type")
            if name in (*NARROW, "STRING", "sequence", "optional", "map"):
                refused.append(f"{kind} '{value.name}' is of {name.lower()}")
    if refused:
        raise UnsupportedError(
            f"{where}: {'; '.join(refused)}; programs take and give tensors of numbers of whole "
            "bytes"
        )


def import_graph(model: onnx.ModelProto, where: str = "the model") -> tvm.IRModule:
    """Return the Relax module of a model.

    Raises
    ------
    UnsupportedError
        With all nodes that can't be converted.
    """
    _refuse_types(model, where)
    # TVM's importer knows no domains: there an operator's name has to say it all.
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for node in named.graph.node:
        node.op_type, node.domain = full_name(node), ""
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    importer = Importer(named.graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod = importer.from_onnx(named.graph, max(opsets, default=1))
    except Exception as error:
        if not importer.failures:
            raise UnsupportedError(f"{where}: TVM can't import it: {_text(error)}") from error
    if importer.failures:
        raise UnsupportedError(listing(where, importer.failures)) from importer.first
    # The importer unpacks every tuple; what nobody reads would be one more user of its value, and
    # keep a batch norm from being folded.
    return relax.transform.DeadCodeElimination(["main"])(mod)
