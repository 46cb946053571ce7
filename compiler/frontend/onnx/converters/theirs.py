"""TVM's own converters, for those of ours that only prepare what they are given."""

from typing import Any

from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend


def by_tvm(
    operator: str,
    builder: relax.BlockBuilder,
    inputs: list[relax.Expr | None],
    attributes: dict[str, Any],
    opset: int,
) -> relax.Expr:
    """Return what TVM's converter of an operator makes of a node."""
    convert = onnx_frontend._get_convert_map()[operator].get_converter(opset)
    return convert(builder, onnx_frontend.onnx_input(inputs), attributes, [{}, {}])
