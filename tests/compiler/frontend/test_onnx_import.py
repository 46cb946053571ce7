"""From a simplified ONNX graph to Relax: messages, names, what is left out, and Clip."""

import numpy as np
import onnx.helper as oh
import pytest
import tvm

import microscopiq as mq
from microscopiq.compiler.cli.arrays import write_outputs
from microscopiq.compiler.driver import build_host
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.frontend.outputs import output_names
from microscopiq.compiler.names import read_names
from microscopiq.compiler.partition.partition import partition_module
from microscopiq.runtime.session import Session
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.onnx_models import by_runtime, feeds, model, on_llvm, value

X = value("x", [2, 3, 4, 4])
Y = value("y", None)


def refused(of) -> str:
    with pytest.raises(UnsupportedError) as caught:
        load_model(of)
    return str(caught.value)


def test_all_nodes_that_fail_are_named_at_once(capfd):
    nodes = [
        oh.make_node("Wiggle", ["x"], ["a"], "first"),
        oh.make_node("Relu", ["x"], ["b"]),
        oh.make_node("Wiggle", ["b"], ["c"]),
        oh.make_node("Gelu2", ["b"], ["d"], "gelu", domain="com.microsoft"),
        oh.make_node("Convv", ["b"], ["e"], "typo"),
        # Of three axes for an input of four.
        oh.make_node("Conv", ["b", "w"], ["y"], "rank"),
    ]
    outputs = [value(name, None) for name in "acdey"]
    message = refused(model(nodes, [X], outputs, {"w": np.ones((1, 3, 1), np.float32)}))
    assert message.startswith("the model: 5 node(s) can't be imported:\n")
    assert "  2 x Wiggle (first, c): it has no converter\n" in message
    assert "com.microsoft.Gelu2 (gelu): it has no converter; ONNX Runtime's optimizer" in message
    assert "Convv (typo): it has no converter; the nearest that has: Conv" in message
    assert "Conv (rank): " in message
    assert capfd.readouterr() == ("", "")


def test_what_follows_a_failure_is_still_looked_at():
    shape = [2, 3, 4, 4]
    nodes = [
        oh.make_node("Wiggle", ["x"], ["a"]),
        oh.make_node("Waggle", ["a"], ["b"]),
        oh.make_node("Woggle", ["b"], ["y"]),
    ]
    of = model(nodes, [X], [Y])
    assert "1 node(s)" in refused(of)
    of.graph.value_info.append(value("a", shape))
    assert "2 node(s)" in refused(of)


def test_inputs_keep_their_names():
    odd = value("serving_default_x:0", [1, 2])
    mod = load_model(model([oh.make_node("Relu", [odd.name], ["y"])], [odd], [Y]))
    assert [each.name for each in mod["main"].params] == ["serving_default_x:0"]


def operators(mod: tvm.IRModule) -> list[str]:
    found = []

    def visit(expr):
        if isinstance(expr, tvm.relax.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(expr.op.name.removeprefix("relax."))
        if isinstance(expr, tvm.relax.TupleGetItem):
            found.append("item")

    tvm.relax.analysis.post_order_visit(mod["main"], visit)
    return found


def test_of_a_batch_norm_only_its_first_result_is_left():
    ones = dict.fromkeys("abcd", np.ones(3, np.float32))
    mod = load_model(model([oh.make_node("BatchNormalization", [*"xabcd"], ["y"])], [X], [Y], ones))
    assert operators(mod) == ["nn.batch_norm", "item"]


NAN = np.float32("nan")


@pytest.mark.parametrize(
    ("opset", "bounds", "wanted"),
    [
        (6, {"min": 0.0, "max": 6.0}, ["clip"]),
        (6, {"max": 0.5}, ["minimum"]),
        (13, [0.0, 6.0], ["clip"]),
        (13, [0.0], ["nn.relu"]),
        (13, [-0.5], None),
        (13, [None, 0.5], None),
        (13, [NAN, 0.5], None),
        (13, ["low", "high"], None),
        (13, [], []),
    ],
)
def test_clip_in_each_form(opset, bounds, wanted):
    constants = {}
    inputs = ["x"]
    attributes = bounds if isinstance(bounds, dict) else {}
    for at, bound in enumerate(bounds if isinstance(bounds, list) else []):
        inputs.append("" if bound is None else bound if isinstance(bound, str) else f"c{at}")
        if isinstance(bound, float | np.floating):
            constants[f"c{at}"] = np.float32(bound)
    given = [value(name, []) for name in bounds if isinstance(name, str) and opset > 6]
    # ONNX brings old forms to the present one before they are imported.
    node = oh.make_node("Clip", inputs, ["y"], **attributes)
    of = model([node], [X, *given], [Y], constants, opset)
    mod = load_model(of)
    if wanted is not None and opset > 6:
        assert operators(mod) == wanted
    arrays = feeds(of)
    (found,) = on_llvm(mod, list(arrays.values()))
    np.testing.assert_array_equal(found, by_runtime(of, arrays)[0])


@pytest.mark.parametrize(
    ("weight", "node", "wanted"),
    [
        ("fc.weight", "/other/MatMul", "fc"),
        ("onnx::MatMul_147", "/encoder/fsmn.0/linear/MatMul", "encoder.fsmn.0.linear"),
        ("val_10", "node_MatMul_11", "node_MatMul_11"),
        ("model/dense_9/MatMul/ReadVariableOp:0", "model/dense_9/MatMul", "model.dense_9"),
        ("147", "/head/MatMul_2", "head"),
        ("147", "", "linear0"),
    ],
)
def test_layers_are_called_by_their_weights_or_their_nodes(weight, node, wanted):
    w = {weight: np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)}
    of = model([oh.make_node("MatMul", ["x", weight], ["y"], node)], [value("x", [2, 4])], [Y], w)
    parts = partition_module(load_model(of), read_names(load_model(of)))
    assert [name for part in parts.values() for name in part.names] == [wanted]


def test_what_tvm_cant_build_is_said_in_our_words(monkeypatch):
    def fails(*_arguments, **_options):
        raise ValueError("many lines\nCodeGenVM cannot emit it")

    monkeypatch.setattr(tvm.relax, "build", fails)
    with pytest.raises(UnsupportedError, match=r"host: CodeGenVM cannot emit it \(ValueError\)"):
        build_host(tvm.IRModule())


def test_extremes_of_infinities_alone():
    """TVM's reductions start at the last finite number; masked rows of attention ask for these."""
    nodes = [
        oh.make_node(f"Reduce{name}", ["x"], [name], axes=[1], keepdims=0)
        for name in ("Max", "Min")
    ]
    of = model(nodes, [value("x", [4, 2])], [value(name, [4]) for name in ("Max", "Min")])
    x = np.float32([[-np.inf, -np.inf], [np.inf, np.inf], [-np.inf, 1], [-3.4e38, np.inf]])
    for found, wanted in zip(on_llvm(load_model(of), [x]), by_runtime(of, {"x": x}), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_outputs_are_called_as_in_onnx(tmp_path):
    """In a session, in a library, and in functions of several models; `file` is a name as any."""
    nodes = [oh.make_node("Neg", ["x"], ["file"]), oh.make_node("Abs", ["x"], ["a/b:0"])]
    outputs = [value("a/b:0", [2]), value("file", [2])]
    of = model(nodes, [value("x", [2])], outputs)
    names = ["a/b:0", "file"]
    x = np.float32([3, -4])
    other = model([oh.make_node("Exp", ["x"], ["e"])], [value("x", [2])], [value("e", [2])])
    both = load_model({"first": of, "second": other})
    mq.export_library(mq.build(both), tmp_path / "m.tar")
    session = Session(tmp_path / "m.tar")
    assert session.output_names("first") == names and session.output_names("second") == ["e"]
    result = session.run(x, function="first")
    assert list(result.named) == names
    np.testing.assert_array_equal(result.named["file"], -x)
    write_outputs(tmp_path / "y.npz", result.named)
    with np.load(tmp_path / "y.npz") as written:
        assert written.files == names
        np.testing.assert_array_equal(written["a/b:0"], np.abs(x))
    assert output_names(load_model(of)) == {"main": names}


def test_outputs_without_names_are_numbered():
    mod = load_model(model([oh.make_node("Neg", ["x"], ["y"])], [value("x", [2])], [Y]))
    bare = tvm.IRModule({gv: each for gv, each in mod.functions.items() if gv.name_hint == "main"})
    result = Session(mq.build(bare)).run(np.float32([1, 2]))
    assert list(result.named) == ["out0"]
