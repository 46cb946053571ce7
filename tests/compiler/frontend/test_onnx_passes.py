"""Passes over an ONNX graph: each on the smallest model that needs it, against ONNX Runtime."""

import re

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from microscopiq.compiler.frontend.onnx.passes import Given, simplify
from microscopiq.target.errors import ConfigError, InputError, UnsupportedError
from tests.compiler.frontend.onnx_models import by_runtime, feeds, graph, model, value

X = value("x", [2, 3, 4, 4])
Y = value("y", None)
ONES = np.ones(3, np.float32)


def simple(of: onnx.ModelProto, values=None, **shapes) -> onnx.ModelProto:
    """Return the model after all passes, which gives what it gave, seen by ONNX Runtime."""
    made = simplify(of, Given(shapes, values or {}))
    onnx.checker.check_model(made)
    inputs = feeds(made)
    constants = {name: np.asarray(each) for name, each in (values or {}).items()}
    for wanted, found in zip(
        by_runtime(of, inputs | constants), by_runtime(made, inputs), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    return made


def operators(of: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in of.graph.node]


def test_initializers_among_the_inputs_are_constants():
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    nodes = [oh.make_node("MatMul", ["x", "w"], ["y"])]
    made = simple(model(nodes, [X, value("w", [4, 3])], [Y], {"w": w}, ir_version=3))
    assert [each.name for each in made.graph.input] == ["x"]


# Sizes


def test_an_optional_input_is_a_tensor_and_a_sequence_is_refused():
    node = oh.make_node("OptionalGetElement", ["x"], ["y"])
    tensor = oh.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2])
    sequence = oh.make_sequence_type_proto(tensor)
    for kind in (oh.make_optional_type_proto(tensor), sequence):
        given = oh.make_value_info("x", kind)
        of = model([node], [given], [value("y", [2])], opset=18)
        if kind is sequence:
            with pytest.raises(UnsupportedError, match="input 'x' is of sequence; programs take"):
                simple(of)
        else:
            assert shapes_of(simple(of)) == [[2]]


def two_inputs(first, second) -> onnx.ModelProto:
    nodes = [oh.make_node("Add", ["a", "b"], ["y"])]
    return model(nodes, [value("a", first), value("b", second)], [Y])


def shapes_of(of: onnx.ModelProto) -> list[list[int]]:
    return [[dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in of.graph.input]


def test_a_lone_symbolic_batch_is_one_and_says_so():
    with pytest.warns(UserWarning, match=r"the batch \(N\).* --input-shape a=N,3 "):
        assert shapes_of(simple(two_inputs(["N", 3], ["N", 3]))) == [[1, 3], [1, 3]]
    with pytest.warns(UserWarning, match="the batch has no size"):
        assert shapes_of(simple(two_inputs([None, 3], [4, 3]))) == [[1, 3], [4, 3]]
    # Exporters that count through their symbols have one for each input.
    for symbol in ("unk__{}", "p2o.DynamicDimension.{}"):
        batches = [[symbol.format(each), 3] for each in (330, 4)]
        with pytest.warns(UserWarning, match=rf"the batch \({re.escape(batches[0][0])}\).* as 1; "):
            assert shapes_of(simple(two_inputs(*batches))) == [[1, 3], [1, 3]]


def test_a_size_that_is_given_goes_to_all_inputs_that_name_it():
    assert shapes_of(simple(two_inputs(["N", "T"], [1, "T"]), a=(2, 5))) == [[2, 5], [1, 5]]
    assert shapes_of(simple(two_inputs(None, ["N", 3]), a=(2, 3), b=(1, 3))) == [[2, 3], [1, 3]]


@pytest.mark.parametrize(
    ("first", "shapes", "error", "words"),
    [
        (["N", "T"], {}, InputError, ["a [N, T]", "--input-shape a=N,M", "input_shapes="]),
        (["unk__1", "unk__2"], {}, InputError, ["--input-shape a=N,M"]),
        ([2, "T"], {}, InputError, ["a [2, T]", "--input-shape a=2,N"]),
        (None, {}, InputError, ["a (of any rank)", "--input-shape a=N,..."]),
        (["N", 3], {"a": (1, 4)}, ConfigError, ["[N, 3]", "its dimension 1 is 3, not 4"]),
        (["N", 3], {"a": (1, 3, 1)}, ConfigError, ["a has 2 dimension(s), [N, 3]", "[1, 3, 1]"]),
        (["N", 3], {"c": (1,)}, ConfigError, ["unknown input 'c'", "a, b"]),
        (["N", 3], {"a": (-1, 3)}, ConfigError, ["[-1, 3] has a negative size"]),
    ],
)
def test_sizes_that_are_missing_or_wrong(first, shapes, error, words):
    with pytest.raises(error) as caught:
        simplify(two_inputs(first, [1, 3]), Given(shapes))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_sizes_with_a_bound_stay_open(recwarn):
    def first(given: Given, shape) -> list:
        made = simplify(two_inputs(shape, [1, 3]), given).graph.input[0].type.tensor_type.shape
        return [dim.dim_param or dim.dim_value for dim in made.dim]

    assert first(Given(largest={"N": 8}), ["N", 3]) == ["N", 3]
    assert first(Given(largest={"N": 8, "T": 5}), ["N", "T"]) == ["N", "T"]
    assert first(Given({"a": ("N", 3)}, largest={"N": 8}), ["N", "T"]) == ["N", 3]
    # A name of the user's own, where the model has none.
    assert first(Given({"a": ("rows", 3)}, largest={"rows": 8}), [None, 3]) == ["rows", 3]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (Given(largest={"M": 4}), ConfigError, "max_sizes: unknown size 'M'.*N, T.*input_shapes"),
        (Given(largest={"N": 0, "T": 1}), ConfigError, "max_sizes: N = 0; allowed: 1 or more"),
        (Given({"a": ("N", 4)}), ConfigError, "'N' of a needs a bound: --max-size N=N"),
        (Given(largest={"N": 4}), InputError, r"a \[N, T\].*--max-size T=N"),
        (Given({"a": (2, 3)}, largest={"N": 4}), ConfigError, "unknown size 'N'"),
    ],
)
def test_bounds_that_are_missing_or_wrong(given, error, words):
    with pytest.raises(error, match=words):
        simplify(two_inputs(["N", "T"], [1, 1]), given)


def test_one_name_with_two_sizes():
    with pytest.raises(ConfigError, match="'N' is 2 in one input and 3 in b"):
        simplify(two_inputs(["N"], ["N"]), Given({"a": (2,), "b": (3,)}))


def test_an_input_with_a_value_is_a_constant():
    nodes = [oh.make_node("Mul", ["x", "k"], ["y"])]
    of = model(nodes, [X, value("k", [])], [Y])
    made = simple(of, {"k": np.float32(3)})
    assert [each.name for each in made.graph.input] == ["x"]
    with pytest.raises(ConfigError, match=r"k has shape \[\], the value \(2,\)"):
        simplify(of, Given(values={"k": [1.0, 2.0]}))


# Old forms


@pytest.mark.parametrize(
    ("opset", "node", "constants"),
    [
        (7, oh.make_node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 2.0]), {}),
        (7, oh.make_node("Upsample", ["x"], ["y"], scales=[1.0, 1, 3, 2], mode="linear"), {}),
        (9, oh.make_node("Upsample", ["x", "s"], ["y"], mode="linear"), {"s": [1, 1, 2, 1.5]}),
        (10, oh.make_node("Resize", ["x", "s"], ["y"], mode="linear"), {"s": [1, 1, 0.5, 1.5]}),
        (10, oh.make_node("Resize", ["x", "s"], ["y"]), {"s": [1, 1, 1.3, 1.5]}),
        (7, oh.make_node("BatchNormalization", [*"xabcd"], ["y"]), dict.fromkeys("abcd", ONES)),
        (2, oh.make_node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 1, 0], value=2.0), {}),
        (7, oh.make_node("Dropout", ["x"], ["y"], ratio=0.3), {}),
        (6, oh.make_node("Clip", ["x"], ["y"], min=-0.5, max=0.5), {}),
        (1, oh.make_node("Unsqueeze", ["x"], ["y"], axes=[0]), {}),
        (1, oh.make_node("Slice", ["x"], ["y"], axes=[1], starts=[1], ends=[3]), {}),
        (11, oh.make_node("ReduceSum", ["x"], ["y"], axes=[1]), {}),
        (11, oh.make_node("Softmax", ["x"], ["y"], axis=1), {}),
    ],
    ids=lambda case: case.op_type if isinstance(case, onnx.NodeProto) else None,
)
def test_old_forms_of_operators(opset, node, constants):
    given = {name: np.asarray(each, np.float32) for name, each in constants.items()}
    made = simple(model([node], [X], [Y], given, opset))
    assert made.opset_import[0].version == 13
    assert not {"Upsample", "Dropout"} & set(operators(made))


def test_an_old_form_without_a_conversion_is_refused():
    node = oh.make_node("Pad", ["x"], ["y"], paddings=[0] * 8)
    with pytest.raises(UnsupportedError, match=r"from opset 1 to 13: .*Pad; export it again"):
        simplify(model([node], [X], [Y], opset=1), Given())


# Constants


def test_shapes_that_are_computed_in_the_graph():
    """As exporters flatten: the batch, and all that is left."""
    nodes = [
        oh.make_node("Shape", ["x"], ["s"]),
        oh.make_node("Gather", ["s", "zero"], ["n"]),
        oh.make_node("Unsqueeze", ["n", "zero"], ["n1"]),
        oh.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        oh.make_node("Reshape", ["x", "to"], ["flat"]),
        oh.make_node("Shape", ["flat"], ["f"], start=1),
        oh.make_node("ConstantOfShape", ["f"], ["zeros"]),
        oh.make_node("Size", ["flat"], ["count"]),
        oh.make_node("Cast", ["count"], ["c"], to=1),
        oh.make_node("Add", ["flat", "zeros"], ["sum"]),
        oh.make_node("Div", ["sum", "c"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "rest": np.array([-1], np.int64)}
    constants["zero"] = constants["zero"].reshape(1)
    nodes[1] = oh.make_node("Gather", ["s", "scalar"], ["n"])
    made = simple(model(nodes, [X], [Y], constants | {"scalar": np.array(0, np.int64)}))
    assert operators(made) == ["Reshape", "Add", "Div"]


def test_large_results_and_random_ones_are_no_constants():
    nodes = [
        oh.make_node("Expand", ["one", "size"], ["large"]),
        oh.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        oh.make_node("Add", ["x", "sum"], ["y"]),
    ]
    constants = {"one": np.ones(1, np.float32), "size": np.array([8 << 20], np.int64)}
    assert operators(simple(model(nodes, [X], [Y], constants))) == ["Expand", "ReduceSum", "Add"]
    nodes = [
        oh.make_node("RandomNormal", [], ["r"], shape=[4]),
        oh.make_node("Add", ["x", "r"], ["y"]),
    ]
    assert operators(simplify(model(nodes, [X], [Y]), Given())) == ["RandomNormal", "Add"]


def test_integers_of_a_quantized_model_stay():
    nodes = [
        oh.make_node("DequantizeLinear", ["w", "s", "z"], ["f"]),
        oh.make_node("MatMul", ["x", "f"], ["y"]),
    ]
    constants = {"w": np.ones((4, 3), np.int8), "s": np.float32(0.5), "z": np.int8(0)}
    assert operators(simple(model(nodes, [X], [Y], constants))) == ["DequantizeLinear", "MatMul"]


def test_what_nothing_needs_goes():
    nodes = [
        oh.make_node("Relu", ["x"], ["y"]),
        oh.make_node("Neg", ["x"], ["unused"]),
        oh.make_node("Identity", ["y"], ["z"]),
        oh.make_node("Exp", ["z"], ["out"]),
    ]
    made = simple(model(nodes, [X], [value("out", None)], {"w": ONES}))
    assert operators(made) == ["Relu", "Exp"]
    assert not made.graph.initializer


def test_an_output_that_is_a_constant():
    nodes = [oh.make_node("Shape", ["x"], ["y"]), oh.make_node("Relu", ["x"], ["z"])]
    made = simple(model(nodes, [X], [value("y", None, np.int64), value("z", None)]))
    assert operators(made) == ["Constant", "Relu"]


# Branches


def branch(name: str, operator: str) -> onnx.GraphProto:
    """Return a branch that uses the same inner name as any other, and a value from outside."""
    nodes = [oh.make_node("Add", ["x", "w"], ["inner"]), oh.make_node(operator, ["inner"], [name])]
    return graph(nodes, [], [value(name, None)], {"w": np.float32(len(operator))})


def if_node(condition: str, output: str, then="Neg", other="Exp") -> onnx.NodeProto:
    return oh.make_node(
        "If",
        [condition],
        [output],
        then_branch=branch("r", then),
        else_branch=branch("r", other),
    )


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_a_constant_decides(condition):
    nodes = [if_node("c", "a"), if_node("c", "b", "Abs"), oh.make_node("Add", ["a", "b"], ["y"])]
    made = simple(model(nodes, [X], [Y], {"c": np.array(condition)}))
    first, second = ("Neg", "Abs") if condition else ("Exp", "Exp")
    assert operators(made) == ["Add", first, "Add", second, "Add"]


def test_a_branch_in_a_branch_decided_by_a_shape():
    inner = graph([if_node("one", "q")], [], [value("q", None)])
    nodes = [
        oh.make_node("Shape", ["x"], ["s"]),
        oh.make_node("Gather", ["s", "i"], ["n"]),
        oh.make_node("Equal", ["n", "two"], ["one"]),
        oh.make_node("If", ["one"], ["y"], then_branch=inner, else_branch=branch("r", "Exp")),
    ]
    constants = {"i": np.array(0, np.int64), "two": np.array(2, np.int64)}
    assert operators(simple(model(nodes, [X], [Y], constants))) == ["Add", "Neg"]


@pytest.mark.parametrize("shape", [[], [1]])
def test_branches_that_the_input_decides_are_both_computed(shape):
    of = model([if_node("c", "y")], [X, value("c", shape, bool)], [Y])
    made = simplify(of, Given())
    assert operators(made).count("Where") == 1 and "If" not in operators(made)
    for flag in (True, False):
        inputs = feeds(made) | {"c": np.full(shape, flag)}
        np.testing.assert_array_equal(by_runtime(made, inputs)[0], by_runtime(of, inputs)[0])


def test_branches_of_two_shapes_that_the_input_decides():
    then = graph([oh.make_node("ReduceSum", ["x"], ["r"])], [], [value("r", None)])
    node = oh.make_node(
        "If", ["c"], ["y"], "pick", then_branch=then, else_branch=branch("r", "Exp")
    )
    with pytest.raises(UnsupportedError) as caught:
        simplify(model([node], [X, value("c", [], bool)], [Y]), Given())
    for word in ("If pick", "[1, 1, 1, 1] and [2, 3, 4, 4]", "--input-value"):
        assert word in str(caught.value)


# Loops


def loop(count: str, condition: str, more="going") -> onnx.ModelProto:
    """Return sums of the rows of x so far, and the last, while they are below a bound."""
    body = graph(
        [
            oh.make_node("Gather", ["x", "i"], ["row"], axis=1),
            oh.make_node("Add", ["sum_in", "row"], ["sum_out"]),
            oh.make_node("Add", ["i", "i"], ["twice"]),
            oh.make_node("Less", ["twice", "bound"], ["below"]),
            oh.make_node("Identity", ["sum_out"], ["scan"]),
            oh.make_node("Identity", ["going_in"], ["going"]),
        ],
        [value("i", [], np.int64), value("going_in", [], bool), value("sum_in", None)],
        [value(more, [], bool), value("sum_out", None), value("scan", None)],
        {"bound": np.array(2, np.int64)},
    )
    node = oh.make_node("Loop", [count, condition, "start"], ["y", "sums"], "rows", body=body)
    constants = {
        "start": np.zeros((2, 4, 4), np.float32),
        "three": np.array(3, np.int64),
        "yes": np.array(True),
    }
    inputs = [X, *([value("n", [], np.int64)] if count == "n" else [])]
    return model([node], inputs, [Y, value("sums", None)], constants)


@pytest.mark.parametrize(
    ("count", "condition", "more", "adds"),
    [("three", "", "going", 3), ("three", "yes", "going", 3), ("", "yes", "below", 2)],
)
def test_a_loop_whose_end_is_a_constant_is_unrolled(count, condition, more, adds):
    made = simple(loop(count, condition, more))
    assert operators(made).count("Add") == adds and "Loop" not in operators(made)


def test_a_loop_whose_end_the_input_decides():
    with pytest.raises(UnsupportedError, match=r"Loop rows: its number of iterations \(n\)"):
        simplify(loop("n", ""), Given())
    assert "Loop" not in operators(simple(loop("n", ""), {"n": np.array(2, np.int64)}))


def test_a_loop_that_runs_for_ever():
    with pytest.raises(UnsupportedError, match="Loop rows: it runs more than 1024 times"):
        simplify(loop("", "yes"), Given())


# Functions


def test_functions_that_the_model_brings_along():
    imports = [oh.make_opsetid("", 17)]
    body = [oh.make_node("Neg", ["a"], ["t"]), oh.make_node("Exp", ["t"], ["b"])]
    function = oh.make_function("own", "NegExp", ["a"], ["b"], body, imports)
    of = model([oh.make_node("NegExp", ["x"], ["y"], domain="own")], [X], [Y], functions=[function])
    of.opset_import.append(oh.make_opsetid("own", 1))
    assert operators(simple(of)) == ["Neg", "Exp"]


# Batch norms


def normed(convolution, weight, extra=(), bias=None, **attributes) -> onnx.ModelProto:
    """Return a convolution, other nodes between t and u, and a batch norm."""
    rng = np.random.default_rng(0)
    channels = weight[0] if convolution == "Conv" else weight[1] * attributes.get("group", 1)
    constants = {name: rng.random(channels, np.float32) + 0.5 for name in "abcd"}
    constants["w"] = rng.standard_normal(weight).astype(np.float32)
    inputs = ["x", "w"]
    if bias is not None:
        constants["bias"], inputs = (
            rng.standard_normal(channels).astype(np.float32),
            [*inputs, "bias"],
        )
    between = "u" if extra else "t"
    nodes = [
        oh.make_node(convolution, inputs, ["t"], **attributes),
        *extra,
        oh.make_node("BatchNormalization", [between, *"abcd"], ["y"], epsilon=0.01),
    ]
    size = [2, weight[1] * attributes.get("group", 1)] if convolution == "Conv" else [2, weight[0]]
    x = value("x", [*size, *[6] * (len(weight) - 2)])
    constants["plus"] = rng.standard_normal([channels, *[1] * (len(weight) - 2)]).astype(np.float32)
    return model(nodes, [x], [Y], constants)


def folded(of: onnx.ModelProto) -> onnx.ModelProto:
    made = simplify(of, Given())
    onnx.checker.check_model(made)
    inputs = feeds(made)
    np.testing.assert_allclose(
        by_runtime(made, inputs)[0], by_runtime(of, inputs)[0], rtol=1e-4, atol=1e-4
    )
    return made


PLUS = (oh.make_node("Add", ["t", "plus"], ["u"]),)


@pytest.mark.parametrize(
    ("convolution", "weight", "extra", "bias", "attributes"),
    [
        ("Conv", (4, 3, 3), (), None, {}),
        ("Conv", (4, 3, 3, 3), (), True, {}),
        ("Conv", (4, 3, 2, 2), PLUS, True, {"group": 2}),
        ("Conv", (4, 3, 1, 2, 2), PLUS, None, {}),
        ("ConvTranspose", (6, 2, 2, 2), PLUS, None, {"group": 3, "strides": [2, 2]}),
        ("ConvTranspose", (6, 2, 3), (), True, {}),
    ],
)
def test_a_batch_norm_is_part_of_the_convolution(convolution, weight, extra, bias, attributes):
    made = folded(normed(convolution, weight, extra, bias, **attributes))
    assert operators(made) == [convolution]
    assert made.graph.node[0].input[1] == "w"


def test_batch_norms_that_stay():
    relu = (oh.make_node("Relu", ["t"], ["u"]),)
    assert len(operators(folded(normed("Conv", (4, 3, 3), relu)))) == 3
    # Another reader of what the convolution gives.
    seen = normed("Conv", (4, 3, 3))
    seen.graph.output.append(value("t", None))
    assert operators(folded(seen)) == ["Conv", "BatchNormalization"]
    # Added is not a number for each channel.
    square = normed("Conv", (6, 3, 1, 1), PLUS)
    wide = onnx.numpy_helper.from_array(np.ones((6, 6), np.float32), "plus")
    square.graph.initializer[-1].CopyFrom(wide)
    assert operators(folded(square)) == ["Conv", "Add", "BatchNormalization"]


def test_a_weight_that_two_convolutions_share_is_kept_for_the_other():
    of = normed("Conv", (4, 3, 3))
    of.graph.node.append(oh.make_node("Conv", ["x", "w"], ["z"]))
    of.graph.output.append(value("z", None))
    made = folded(of)
    assert operators(made) == ["Conv", "Conv"]
    assert {node.input[1] for node in made.graph.node} == {"w", "w.1"}
