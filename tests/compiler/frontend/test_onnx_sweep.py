"""Every attribute of the operators that models have most, over their opsets, by ONNX Runtime.

The cases of an operator are nodes of one model: it is built once.
"""

import numpy as np
import onnx.helper as oh
import pytest
from onnx import TensorProto

from microscopiq.compiler.frontend.load import load_model
from microscopiq.target.errors import UnsupportedError
from tests.compiler.frontend.onnx_models import by_runtime, feeds, model, on_llvm, value

RNG = np.random.default_rng(11)


def floats(*shape) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def agree(operator, shape, cases, opset=17, rtol=1e-5, atol=1e-5, gives=np.float32) -> None:
    """Hold each case, constants behind x and attributes, against ONNX Runtime."""
    nodes, constants = [], {}
    for number, (arrays, attributes) in enumerate(cases):
        names = ["x"]
        for place, array in enumerate(arrays):
            names.append("" if array is None else f"c{number}_{place}")
            if array is not None:
                constants[names[-1]] = np.asarray(array)
        nodes.append(oh.make_node(operator, names, [f"y{number}"], **attributes))
    outputs = [value(f"y{number}", None, gives) for number in range(len(nodes))]
    of = model(nodes, [value("x", list(shape))], outputs, constants, opset=opset)
    inputs = feeds(of)
    wanted = by_runtime(of, inputs)
    found = on_llvm(load_model(of), list(inputs.values()))
    for case, one, want in zip(cases, found, wanted, strict=True):
        assert one.shape == want.shape, case
        np.testing.assert_allclose(one, want, rtol=rtol, atol=atol, err_msg=str(case[1]))


W, B = floats(6, 4, 3, 2), floats(6)
PADDINGS = [
    {},
    {"pads": [1, 0, 2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID", "strides": [1, 2]},
]


@pytest.mark.parametrize("opset", [1, 11, 17])
def test_conv(opset):
    cases = [((W, B), each) for each in PADDINGS]
    cases += [
        ((W,), {"dilations": [2, 3], "kernel_shape": [3, 2]}),
        ((floats(6, 2, 3, 2), B), {"group": 2, "strides": [2, 1]}),
        ((floats(4, 1, 1, 1),), {"group": 4, "pads": [0, 1, 0, 1]}),
    ]
    agree("Conv", (2, 4, 9, 8), cases, opset)


def test_conv_of_other_ranks():
    agree("Conv", (2, 4, 9), [((floats(6, 4, 3), B), {"auto_pad": "SAME_LOWER", "strides": [2]})])
    cases = [((floats(3, 4, 2, 3, 2),), {"pads": [1, 0, 1, 0, 1, 0]})]
    agree("Conv", (1, 4, 4, 5, 4), cases)


def test_a_window_larger_than_its_input_is_refused():
    node = oh.make_node("Conv", ["x", "w"], ["y"])
    of = model([node], [value("x", [1, 4, 2, 8])], [value("y", None)], {"w": W})
    with pytest.raises(UnsupportedError, match=r"window of 3 is larger than axis 2 .*, 2 and pads"):
        load_model(of)


@pytest.mark.parametrize("opset", [1, 11])
def test_conv_transpose(opset):
    w, b = floats(4, 6, 3, 2), floats(6)
    cases = [
        ((w, b), {}),
        ((w, b), {"strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]}),
        ((w, b), {"strides": [3, 2], "output_shape": [12, 10]}),
        ((w, b), {"strides": [3, 2], "output_shape": [13, 11], "auto_pad": "SAME_UPPER"}),
        ((w,), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ((w,), {"dilations": [2, 2], "kernel_shape": [3, 2], "auto_pad": "VALID"}),
        ((floats(4, 3, 2, 2), b), {"group": 2, "strides": [2, 2]}),
    ]
    agree("ConvTranspose", (2, 4, 4, 5), cases, opset)


POOLS = [each | {"kernel_shape": [3, 2]} for each in PADDINGS] + [
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    {"kernel_shape": [40, 9], "strides": [40, 2], "ceil_mode": 1},
]


def test_max_pool():
    cases = [((), each) for each in [*POOLS, {"kernel_shape": [3, 2], "dilations": [2, 2]}]]
    agree("MaxPool", (2, 3, 9, 8), cases, 12)
    agree("MaxPool", (2, 3, 9), [((), {"kernel_shape": [4], "auto_pad": "SAME_LOWER"})], 12)


KINDS = (("y", np.float32), ("i", np.int64))


def test_max_pool_says_where():
    nodes = [
        oh.make_node("MaxPool", ["x"], [f"y{n}", f"i{n}"], kernel_shape=[3, 2], **attributes)
        for n, attributes in enumerate([
            {"strides": [2, 1], "pads": [1, 0, 0, 1]},
            {"dilations": [2, 2]},
            {"storage_order": 1},
        ])
    ]  # fmt: skip
    outputs = [value(f"{kind}{n}", None, dtype) for n in range(3) for kind, dtype in KINDS]
    of = model(nodes, [value("x", [2, 3, 6, 5])], outputs)
    inputs = feeds(of)
    for found, want in zip(
        on_llvm(load_model(of), list(inputs.values())), by_runtime(of, inputs), strict=True
    ):
        np.testing.assert_array_equal(found, want)


def test_average_pool():
    cases = [((), each | {"count_include_pad": n}) for each in POOLS for n in (0, 1)]
    agree("AveragePool", (2, 3, 9, 8), cases, 11)
    dilated = {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1], "ceil_mode": 1}
    agree("AveragePool", (2, 3, 9, 8), [((), dilated)], 19)


MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(mode):
    scales = [1, 1, 1.7, 0.6]
    cases = []
    for where in MODES:
        attributes = {"mode": mode, "coordinate_transformation_mode": where}
        cases.append(((None, np.float32(scales)), attributes))
        cases.append(((None, None, np.int64([2, 3, 3, 11])), attributes))
    if mode == "nearest":
        cases += [
            ((None, np.float32(scales)), {"nearest_mode": each})
            for each in ("floor", "ceil", "round_prefer_ceil")
        ]
    if mode == "cubic":
        cases.append(((None, np.float32(scales)), {"mode": mode, "cubic_coeff_a": -0.5,
                                                   "exclude_outside": 1}))  # fmt: skip
    if mode == "linear":
        crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
        roi = np.float32([0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2])
        cases.append(((roi, None, np.int64([2, 3, 5, 4])), crop | {"mode": mode}))
    agree("Resize", (2, 3, 6, 7), cases, 13, atol=1e-4)


def test_resize_of_chosen_axes_and_with_a_policy():
    cases = [
        ((None, None, np.int64([9, 5])), {"axes": [3, 2], "mode": "nearest"}),
        ((None, None, np.int64([9, 15])), {"axes": [2, 3], "mode": "linear",
                                           "keep_aspect_ratio_policy": "not_larger"}),
        ((None, None, np.int64([9, 15])), {"axes": [2, 3], "mode": "linear",
                                           "keep_aspect_ratio_policy": "not_smaller"}),
    ]  # fmt: skip
    agree("Resize", (2, 3, 6, 7), cases, 18)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode):
    scales = np.float32([1, 1, 2, 3])
    agree("Upsample", (1, 2, 4, 3), [((), {"mode": mode, "scales": scales.tolist()})], 7)
    agree("Upsample", (1, 2, 4, 3), [((scales,), {"mode": mode})], 9)


def test_pad():
    pads = np.int64([0, 1, 2, 0, 1, 1])
    modes = ("constant", "reflect", "edge")
    cases = [((pads,), {"mode": mode}) for mode in modes]
    cases += [((pads, np.float32(2.5)), {}), ((np.int64([0, -1, 0, 1, 0, -2]),), {})]
    agree("Pad", (2, 4, 5), cases, 13)
    attributes = [{"mode": mode, "pads": pads.tolist(), "value": 1.5} for mode in modes]
    agree("Pad", (2, 4, 5), [((), each) for each in attributes], 2)
    chosen = (np.int64([1, 2]), None, np.int64([-1]))
    agree("Pad", (2, 4, 5), [(chosen, {}), (chosen, {"mode": "wrap"})], 19)


def test_slice():
    i = np.int64
    cases = [
        ((i([1]), i([-1])), {}),
        ((i([0, -3]), i([2, 9]), i([1, -1])), {}),
        ((i([-1, 3]), i([-9, 0]), i([2, 1]), i([-1, -2])), {}),
        ((i([1]), i([2**62]), i([2]), i([3])), {}),
        ((i([4]), i([2]), i([2])), {}),
    ]
    agree("Slice", (4, 5, 6), cases[:4], 13)
    attributes = [
        {"starts": [1, -2], "ends": [3, 2**40], "axes": [0, 2]},
        {"starts": [1], "ends": [3]},
    ]
    agree("Slice", (4, 5, 6), [((), each) for each in attributes], 1)


@pytest.mark.parametrize("opset", [1, 11, 13])
def test_gather(opset):
    top = 3 if opset > 1 else 0
    cases = [((np.int64([[0, 2], [1, -1 if top else 1]]),), {"axis": axis}) for axis in (0, 1, 2)]
    agree("Gather", (4, 5, 6), [*cases, ((np.int32(2),), {"axis": -1 if top else 2})], opset)


def test_reshape():
    shapes = ([24, 5], [0, -1], [4, 6, 5], [-1], [0, 0, 5, 1])
    agree("Reshape", (4, 6, 5), [((np.int64(each),), {}) for each in shapes], 13)
    agree("Reshape", (4, 6, 5), [((), {"shape": [6, -1]})], 1)
    agree("Reshape", (4, 6, 5), [((np.int64([5, 24]),), {"allowzero": 1})], 14)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_gemm(opset):
    b, c = floats(6, 5), floats(5)
    cases = [
        ((b, c), {}),
        ((b.T.copy(), c), {"transB": 1, "alpha": 0.5, "beta": -2.0}),
        ((b, floats(4, 1)), {"beta": 3.0}),
        ((b, np.float32(1.5)), {}),
    ]
    agree("Gemm", (4, 6), cases if opset > 7 else cases[:3], opset)
    agree("Gemm", (6, 4), [((b, floats(1, 5)), {"transA": 1})], opset)


def test_mat_mul():
    rights = [(6, 5), (6,), (3, 6, 2), (2, 3, 6, 4), (2, 1, 6, 4)]
    agree("MatMul", (3, 4, 6), [((floats(*shape),), {}) for shape in rights], 13)
    agree("MatMul", (6,), [((floats(*shape),), {}) for shape in ((6, 5), (6,), (2, 6, 3))], 9)


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization(opset):
    def parts(channels):
        return floats(channels), floats(channels), floats(channels), np.abs(floats(channels)) + 0.1

    agree("BatchNormalization", (2, 4, 3, 5), [(parts(4), {}), (parts(4), {"epsilon": 0.1})], opset)
    agree("BatchNormalization", (3, 6), [(parts(6), {"momentum": 0.5})], opset)


REDUCE = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


@pytest.mark.parametrize("name", REDUCE)
def test_reductions(name):
    cases = [((), {"axes": axes, "keepdims": keep}) for axes in ([1], [0, -1]) for keep in (0, 1)]
    cases += [((), {}), ((), {"keepdims": 0})]
    if name != "Sum":
        agree(f"Reduce{name}", (3, 4, 5), cases, 13, rtol=1e-4)
    axes = np.int64([-2])
    later = [((axes,), {}), ((axes,), {"keepdims": 0}), ((), {"noop_with_empty_axes": 1})]
    agree(f"Reduce{name}", (3, 4, 5), later[: 3 if name == "Sum" else 2], 18, rtol=1e-4)


ELEMENTS = [
    ("Pow", 13, [((np.int64([[2], [3]]),), {}), ((np.float32(-2),), {})]),
    ("Mod", 13, [((np.float32([[0.7, -0.3, 2.0]]),), {"fmod": 1})]),
    ("IsInf", 10, [((), {}), ((), {"detect_negative": 0}), ((), {"detect_positive": 0})]),
    ("Celu", 12, [((), {"alpha": 1.7}), ((), {})]),
    ("Mish", 18, [((), {})]),
    ("LpNormalization", 1, [((), {}), ((), {"p": 1, "axis": 0})]),
    ("Dropout", 13, [((), {}), ((np.float32(0.3),), {})]),
    ("Split", 11, [((), {"split": [3], "axis": 1})]),
    ("EyeLike", 9, [((), {"k": 1}), ((), {"k": -1, "dtype": 1})]),
]


@pytest.mark.parametrize(("name", "opset", "cases"), ELEMENTS)
def test_operators_of_elements(name, opset, cases):
    agree(name, (2, 3), cases, opset, gives=bool if name == "IsInf" else np.float32)


def test_one_hot():
    nodes = [
        oh.make_node("OneHot", ["i", "depth", "x"], [f"y{n}"], axis=axis)
        for n, axis in enumerate((-1, 0, 1))
    ]
    constants = {"i": np.int64([[0, -1, 4], [7, 2, 3]]), "depth": np.int64(5)}
    of = model(nodes, [value("x", [2])], [value(f"y{n}", None) for n in range(3)], constants, 11)
    x = feeds(of)
    for found, want in zip(on_llvm(load_model(of), [x["x"]]), by_runtime(of, x), strict=True):
        np.testing.assert_array_equal(found, want)


def test_training_is_refused():
    node = oh.make_node("Dropout", ["x", "ratio", "train"], ["y", "mask"])
    constants = {"ratio": np.float32(0.5), "train": np.array(True)}
    outputs = [value("y", None), value("mask", None, bool)]
    of = model([node], [value("x", [3])], outputs, constants)
    with pytest.raises(UnsupportedError, match="training drops at random"):
        load_model(of)


def test_fourier_transforms():
    cases = [
        ((), {"axis": 1}),
        ((), {"axis": 2, "onesided": 1}),
        ((np.int64(4),), {"axis": 1}),
        ((np.int64(9),), {"axis": 2}),
    ]
    agree("DFT", (2, 6, 5, 1), cases, 17)
    inverse = [((), {"axis": axis, "inverse": 1}) for axis in (1, 2)]
    agree("DFT", (2, 6, 5, 2), inverse, 17)


def test_columns_to_an_image():
    sizes = np.int64([5, 6]), np.int64([2, 3])
    agree("Col2Im", (2, 12, 16), [(sizes, {})], 18)
    agree("Col2Im", (2, 12, 9), [(sizes, {"strides": [2, 2], "pads": [0, 1, 1, 0]})], 18)
    agree("Col2Im", (2, 12, 6), [(sizes, {"dilations": [2, 2]})], 18)


def test_types_that_no_program_has_are_refused():
    text = oh.make_tensor_value_info("x", TensorProto.STRING, [2])
    four = oh.make_tensor_value_info("z", TensorProto.INT4, [2])
    nodes = [oh.make_node("Identity", ["x"], ["y"]), oh.make_node("Identity", ["z"], ["w"])]
    of = model(nodes, [text, four], [value("y", None), value("w", None)], opset=21, ir_version=10)
    with pytest.raises(UnsupportedError, match="input 'x' is of string; input 'z' is of int4"):
        load_model(of)
