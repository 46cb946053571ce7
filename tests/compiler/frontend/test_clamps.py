"""Clip as TVM's own importer gives it, in each of its forms: part of the product before it."""

import numpy as np
import onnx.helper as oh
import pytest
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.clamps import clamps_as_operators
from microscopiq.compiler.frontend.repair import repair
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition.partition import partition
from microscopiq.runtime.session import Session
from tests.compiler.frontend.onnx_models import by_runtime, constant, model, on_llvm, value

FORMS = {
    "attributes": (6, {"min": -1.0, "max": 2.0}, {}, (-1, 2)),
    "one attribute": (6, {"max": 2.0}, {}, (None, 2)),
    "inputs": (11, {}, {"low": -1, "high": 2}, (-1, 2)),
    "inputs now": (13, {}, {"low": 0, "high": 6}, (0, 6)),
    "lower alone": (13, {}, {"low": 0.5}, (0.5, None)),
    "upper alone": (12, {}, {"": 0, "high": 0.5}, (None, 0.5)),
}
X = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)


def clipped(opset, attributes, bounds):
    """Return a product with Clip behind it."""
    nodes = [
        oh.make_node("MatMul", ["x", "w"], ["p"]),
        oh.make_node("Clip", ["p", *bounds], ["y"], **attributes),
    ]
    weight = np.random.default_rng(1).standard_normal((10, 8)).astype(np.float32)
    constants = {name: np.float32(each) for name, each in bounds.items() if name}
    of = model(nodes, [value("x", [3, 10])], [value("y", [3, 8])], opset=opset)
    of.graph.initializer.extend(constant(n, each) for n, each in {"w": weight, **constants}.items())
    return of


@pytest.mark.parametrize("form", FORMS)
def test_it_is_a_clamp_of_the_layer(form):
    opset, attributes, given, bounds = FORMS[form]
    of = clipped(opset, attributes, given)
    mod = repair(from_onnx(of))
    found = partition(mod["main"], {})
    (layer,) = found.layers
    assert (layer.low, layer.high) == bounds and not found.host
    (wanted,) = by_runtime(of, {"x": X})
    np.testing.assert_allclose(on_llvm(mod, [X])[0], wanted, rtol=1e-5, atol=1e-6)


def test_what_only_has_the_name_stays():
    """A function of the model's own that is called `maximum` and computes something else."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 10), "float32"))
    with builder.function("main", [x]):

        def maximum(a):
            return tvm.topi.add(tvm.topi.maximum(a, 1.0), 1.0)

        builder.emit_func_output(builder.emit_te(maximum, x, primfunc_name_hint="maximum"))
    mod = builder.get()
    np.testing.assert_array_equal(
        on_llvm(clamps_as_operators(mod), [X])[0], np.maximum(X, 1) + np.float32(1)
    )


def test_a_bound_that_is_no_number_is_none():
    mod = clamps_as_operators(from_onnx(clipped(13, {}, {"low": np.nan, "high": 1})))
    np.testing.assert_array_equal(
        on_llvm(mod, [X])[0], on_llvm(from_onnx(clipped(13, {}, {"": 0, "high": 1})), [X])[0]
    )


@pytest.mark.parametrize("form", ["upper alone", "lower alone"])
def test_the_machine_clamps_as_the_quantized_module_does(form):
    opset, attributes, given, (low, high) = FORMS[form]
    compiled = compile_model(from_onnx(clipped(opset, attributes, given)), Options(recipe="int8"))
    (found,) = Session(compiled.executable).run(X).outputs
    np.testing.assert_array_equal(found, on_llvm(compiled.quantized, [X])[0])
    assert found.min() == low if high is None else found.max() == high
