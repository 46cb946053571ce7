"""What a graph declares as its inputs."""

import onnx


def initializers_off_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take initializers off the inputs, where IR version 3 demanded them: they are constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    if not any(value.name in constants for value in model.graph.input):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.ir_version = max(model.ir_version, 4)
    kept = [value for value in model.graph.input if value.name not in constants]
    del changed.graph.input[:]
    changed.graph.input.extend(kept)
    return changed
