"""ONNX Runtime's own static INT8 of a file, for comparison: calibrated, and run by itself."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization

PRODUCTS = ["Conv", "ConvTranspose", "MatMul", "Gemm"]
"""What is quantized where its tool fails on the whole graph."""

Inputs = dict[str, np.ndarray]


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, calls: Sequence[Inputs]) -> None:
        self.calls = iter(calls)

    def get_next(self) -> Inputs | None:
        return next(self.calls, None)


def static_int8(path: Path, samples: Sequence[Inputs], inputs: Inputs) -> list[np.ndarray]:
    """Return what a file gives once ONNX Runtime's tool has quantized it: QDQ, weights by channel.

    Parameters
    ----------
    samples : sequence of dict of str to numpy.ndarray
        Inputs for the calibration, least and largest values of each tensor.
    inputs : dict of str to numpy.ndarray
        What it is run with.

    Raises
    ------
    RuntimeError
        When the tool fails, on products alone as well.
    """
    logging.disable(logging.WARNING)
    reasons = []
    for kinds in (None, PRODUCTS):
        with tempfile.TemporaryDirectory() as folder:
            source, made = Path(folder) / "source.onnx", Path(folder) / "int8.onnx"
            try:
                onnx.save(_present(path), source)
                quantization.quantize_static(
                    source,
                    made,
                    _Reader([_taken(source, one) for one in samples]),
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=kinds,
                    per_channel=True,
                    activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8,
                )
                return _session(made).run(None, _taken(source, inputs))
            except Exception as error:
                lines = str(error).strip().splitlines() or [""]
                reasons.append(f"{type(error).__name__}: {lines[-1][:120]}")
    raise RuntimeError("; ".join(reasons))


def _present(path: Path) -> onnx.ModelProto:
    """Return a file in an opset that has scales by channel, with short names for its values.

    Names that the tool makes by adding to others meet those that a file has.
    """
    model = onnx.load(path)
    version = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    model = onnx.version_converter.convert_version(model, 13) if version < 13 else model
    kept = {one.name for one in (*model.graph.input, *model.graph.output)}
    if any(one.type == onnx.AttributeProto.GRAPH for n in model.graph.node for one in n.attribute):
        return model
    del model.graph.value_info[:]
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if not name or name in kept else short.setdefault(name, f"v{len(short)}_")

    for one in model.graph.initializer:
        one.name = renamed(one.name)
    for node in model.graph.node:
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    return model


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def _taken(path: Path, inputs: Inputs) -> Inputs:
    """Return those inputs that a file takes, in its types."""
    kinds = {one.name: one.type for one in _session(path).get_inputs()}
    names = {"float": "float32", "double": "float64"}
    found = {}
    for name, kind in kinds.items():
        word = kind.removeprefix("tensor(").removesuffix(")")
        found[name] = np.asarray(inputs[name]).astype(names.get(word, word))
    return found
