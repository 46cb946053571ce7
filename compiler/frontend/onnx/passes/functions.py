"""Functions that a model brings along."""

import onnx
from onnx import inliner


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the bodies of a model's own functions in the place of their calls: importers see none."""
    if not model.functions:
        return model
    return inliner.inline_local_functions(model, convert_version=True)
