"""ONNX models: read, made simple by passes on their graph, imported."""
