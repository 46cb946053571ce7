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


def optional_inputs_given(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make tensors of inputs that are optional ones: who runs a program gives all of its inputs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value in changed.graph.input:
        inner = value.type.optional_type.elem_type
        if value.type.HasField("optional_type") and inner.HasField("tensor_type"):
            tensor = onnx.TypeProto.FromString(inner.SerializeToString())
            value.type.CopyFrom(tensor)
    return model if changed == model else changed
