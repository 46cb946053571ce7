"""TVM's ONNX importer, with converters of this project before its own."""

from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from .converters import CONVERTERS, full_name


class Importer(onnx_frontend.ONNXGraphImporter):
    """Looks for an operator's converter in `CONVERTERS` first."""

    def __init__(self) -> None:
        super().__init__({}, "float32")

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        theirs = {*onnx_frontend._get_convert_map(), "If", "Constant"}
        lacking = {
            node.op_type
            for node in graph.node
            if node.op_type not in theirs and node.op_type not in CONVERTERS
        }
        if lacking:
            raise tvm.error.OpNotImplemented(
                "operators are not supported: " + ", ".join(sorted(lacking))
            )

    def _convert_operator(
        self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        ours = CONVERTERS.get(op_name)
        if ours is None:
            return super()._convert_operator(op_name, inputs, attrs, opset)
        result = ours(self.bb, list(inputs), attrs, opset)
        return self.bb.normalize(result) if isinstance(result, relax.Expr) else result


def import_graph(model: onnx.ModelProto) -> tvm.IRModule:
    """Return the Relax module of a model whose operators all have converters."""
    # TVM's importer knows no domains: there an operator's name has to say it all.
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for node in named.graph.node:
        node.op_type, node.domain = full_name(node), ""
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    return Importer().from_onnx(named.graph, max(opsets, default=1))
