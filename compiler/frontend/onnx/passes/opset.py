"""Old opsets to one that operators have had their present form since."""

import onnx
from onnx import version_converter

from .....target.errors import UnsupportedError, last_line
from .graph import OWN, opset_of, walk

OPSET = 13
"""Axes, pads and bounds are inputs since then, and Softmax works along one axis."""


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring operators to their present form: importers know few of the old ones.

    Raises
    ------
    UnsupportedError
        Where ONNX has no conversion.
    """
    version = opset_of(model)
    if version >= OPSET or not any(each.domain in OWN for each in model.opset_import):
        return model
    try:
        raised = version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise UnsupportedError(
            f"ONNX can't bring the model from opset {version} to {OPSET}: {last_line(error)}; "
            "export it again with a later opset"
        ) from None
    _keep_sampling(model, raised, version)
    raised.functions.extend(model.functions)
    return raised


def _keep_sampling(model: onnx.ModelProto, raised: onnx.ModelProto, version: int) -> None:
    """Say where an old Resize takes its samples: the default changed with opset 11."""
    old = {
        node.output[0]
        for node in walk(model.graph)
        if node.op_type == "Upsample" or (node.op_type == "Resize" and version < 11)
    }
    for node in walk(raised.graph):
        if node.op_type == "Resize" and node.output[0] in old:
            for name, value in (
                ("coordinate_transformation_mode", "asymmetric"),
                ("nearest_mode", "floor"),
            ):
                node.attribute.append(onnx.helper.make_attribute(name, value))
