"""compiler/passes/products: each product against TVM's own operator, and all of it on the array."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import run_import
from microscopiq.compiler.names import digest, read_names, with_names
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition.constraints import PRODUCTS
from microscopiq.compiler.partition.partition import partition
from microscopiq.compiler.passes.products.registry import REWRITES
from microscopiq.compiler.passes.products.rewrite import as_products
from microscopiq.compiler.passes.products.transposed import phases
from tests.compiler import relax_modules as make
from tests.compiler.relax_modules import batch_norm, const, module, relu
from tests.tolerance import sqnr_db


def transposed(kernel, inputs=4, **attrs):
    return lambda emit, x: emit(op.nn.conv2d_transpose(x, const(inputs, *kernel), **attrs))


def behind(emit, y):
    """Bias, norm and bound, as a decoder has them."""
    y = emit(op.add(y, emit(op.reshape(const(6, seed=5), (1, 6, *[1] * (len(y.ty.shape) - 2))))))
    return emit(op.clip(batch_norm(emit, y), 0, 2))


def attend(**attrs):
    return lambda emit, q, k, v: emit(op.nn.attention(q, k, v, **attrs))


def einsum(text):
    return lambda emit, *x: emit(op.einsum(relax.Tuple(list(x)), text))


SIGNAL, VOLUME, IMAGE = (2, 6, 19), (2, 4, 7, 6, 5), (2, 4, 5, 6)
QKV = [(2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 4)]
CASES = {
    # name: (body, input shapes, layers)
    "conv1d": (
        lambda emit, x: relu(
            emit, batch_norm(emit, emit(op.nn.conv1d(x, const(8, 6, 3), padding=2, dilation=2)))
        ),
        [SIGNAL],
        1,
    ),
    "conv1d residual": (
        lambda emit, x: emit(op.add(emit(op.nn.conv1d(x, const(6, 6, 3), padding=1)), x)),
        [SIGNAL],
        1,
    ),
    "conv1d grouped": (
        lambda emit, x: emit(
            op.nn.conv1d(x, const(4, 3, 4), strides=3, padding=(1, 2), groups=2)
        ),
        [SIGNAL],
        1,
    ),
    "conv3d": (
        lambda emit, x: behind(emit, emit(op.nn.conv3d(
            x, const(6, 2, 3, 2, 3), strides=(2, 1, 1), padding=(1, 0, 1), dilation=(1, 2, 1),
            groups=2,
        ))),
        [VOLUME],
        1,
    ),
    "conv3d uneven pads": (
        lambda emit, x: emit(op.nn.conv3d(x, const(3, 4, 2, 2, 2), padding=(0, 1, 2, 1, 0, 1))),
        [VOLUME],
        1,
    ),
    "conv3d patches": (
        lambda emit, x: emit(op.nn.conv3d(x, const(6, 4, 2, 3, 5), strides=(2, 3, 5))),
        [(2, 4, 6, 6, 5)],
        1,
    ),
    "k4 s2 p1": (
        lambda emit, x: behind(
            emit, transposed((6, 4, 4), strides=(2, 2), padding=(1, 1))(emit, x)
        ),
        [IMAGE],
        4,
    ),
    "kernel is the stride": (
        lambda emit, x: behind(emit, transposed((6, 2, 2), strides=(2, 2))(emit, x)),
        [IMAGE],
        1,
    ),
    "grouped, dilated, output padding": (
        lambda emit, x: behind(emit, transposed(
            (3, 3, 3), strides=(2, 3), padding=(1, 2), output_padding=(1, 0), dilation=(1, 2),
            groups=2,
        )(emit, x)),
        [IMAGE],
        4,
    ),
    "phases of zeros": (
        lambda emit, x: behind(emit, transposed((6, 1, 2), strides=(3, 3))(emit, x)),
        [IMAGE],
        1,
    ),
    "stride 1": (transposed((6, 3, 3), padding=(2, 0, 1, 1)), [IMAGE], 1),
    "pads cut the input": (transposed((6, 3, 3), strides=(2, 2), padding=(4, 5)), [IMAGE], 4),
    "conv1d transposed": (
        lambda emit, x: behind(emit, emit(op.nn.conv1d_transpose(
            x, const(6, 6, 5), strides=3, padding=2, output_padding=1
        ))),
        [SIGNAL],
        2,
    ),
    "signal too long to count": (
        lambda emit, x: behind(emit, emit(
            op.nn.conv1d(x, const(6, 2, 90), strides=45, padding=(40, 7), dilation=3, groups=1)
        )),
        [(1, 2, 140_000)],
        3,
    ),
    "image too high to count": (
        lambda emit, x: behind(emit, make.conv(
            emit, x, 6, (3, 2), groups=2, strides=(20, 1), padding=(2, 0, 0, 1)
        )),
        [(1, 2, 66_000, 2)],
        2,
    ),
    "constants": (
        lambda emit, x: emit(op.add(emit(op.matmul(const(2, 5, 4), const(4, 3))), x)),
        [(2, 5, 3)],
        0,
    ),
    "broadcast": (
        lambda emit, x, y: emit(op.matmul(x, y)), [(2, 3, 4, 5), (3, 5, 6)], 1
    ),
    "one matrix for all": (
        lambda emit, x, y: emit(op.matmul(x, y)), [(2, 3, 4, 5), (1, 5, 6)], 1
    ),
    "vectors": (
        lambda emit, x, y: emit(op.matmul(emit(op.matmul(x, y)), const(4))), [(5,), (3, 5, 4)], 2
    ),
    "constant left": (lambda emit, x: emit(op.matmul(const(3, 4), x)), [(2, 4, 7)], 1),
    "constant stack left": (lambda emit, x: emit(op.matmul(const(3, 5, 4), x)), [(2, 1, 4, 7)], 3),
    "constant stack": (
        lambda emit, x: emit(op.matmul(x, const(2, 1, 3, 4, 5))), [(6, 1, 7, 4)], 6
    ),
    "one of a constant stack": (lambda emit, x: emit(op.matmul(x, const(1, 4, 5))), [(3, 4)], 1),
    "a matrix repeated": (
        lambda emit, x: emit(op.matmul(x, emit(op.reshape(
            emit(op.broadcast_to(const(4, 5), (2, 3, 4, 5))), (6, 4, 5)
        )))),
        [(6, 7, 4)],
        1,
    ),
    "a stack repeated": (
        lambda emit, x: emit(op.matmul(x, emit(op.reshape(
            emit(op.broadcast_to(const(3, 4, 5), (2, 3, 4, 5))), (6, 4, 5)
        )))),
        [(6, 7, 4)],
        3,
    ),
    "attention": (attend(), QKV, 2),
    "attention scaled": (attend(scale=0.3, causal_mask="TopLeft"), QKV, 2),
    "attention to the end": (attend(causal_mask="BottomRight"), QKV, 2),
    "attention biased": (
        lambda emit, q, k, v, b: emit(op.nn.attention(q, k, v, bias=b)), [*QKV, (2, 3, 5, 7)], 2
    ),
    "einsum": (einsum("bhqd,bhkd->bqhk"), [(2, 3, 5, 4), (2, 3, 6, 4)], 1),
    "einsum of a constant": (
        lambda emit, x: emit(op.einsum(relax.Tuple([x, const(4, 3, 5)]), "bsc,chd->bhsd")),
        [(2, 6, 4)],
        1,
    ),
}  # fmt: skip
NAMES = list(CASES)


def whole(names=NAMES) -> tvm.IRModule:
    """Return a module with a result for each case: one build for all."""
    shapes = [shape for name in names for shape in CASES[name][1]]

    def body(emit, *inputs):
        left, results = list(inputs), []
        for name in names:
            case, own, _ = CASES[name]
            results.append(case(emit, *(left.pop(0) for _ in own)))
        return tuple(results)

    return module(body, *shapes)


@pytest.fixture(scope="module")
def both():
    mod = whole()
    inputs = make.inputs_of(mod)
    return [make.run_llvm(each, inputs) for each in (mod, as_products(mod))]


@pytest.mark.parametrize("name", NAMES)
def test_the_values_are_those_of_tvms_operator(both, name):
    want, found = (results[NAMES.index(name)] for results in both)
    assert want.shape == found.shape and sqnr_db(want, found) > 110


def partitioned(mod):
    state = run_import(make.Compilation(Options(), None, mod))
    return partition(state.mod["main"], {})


@pytest.mark.parametrize("name", NAMES)
def test_all_products_are_layers_and_what_follows_fuses(name):
    part = partitioned(whole([name]))
    assert len(part.layers) == CASES[name][2]
    left = {operator for operator, _ in part.host}
    assert not left & set(PRODUCTS)
    # Sums of scores, and of no product.
    if name not in ("attention biased", "phases of zeros", "constants"):
        assert not left & {"add", "clip", "nn.batch_norm", "nn.relu"}


def test_every_rewrite_is_tried():
    tried = {"nn.attention_bias", "maximum", "minimum"}  # other names of what the cases have
    for body, shapes, _ in CASES.values():
        text = module(body, *shapes).script(show_meta=False)
        tried |= {name for name in REWRITES if f"R.{name}(" in text}
    assert tried == REWRITES.keys()


def test_the_machine_computes_them():
    """Bit for bit what LLVM does with the quantized module."""
    names = ["conv1d", "conv3d", "kernel is the stride", "constant stack left", "attention scaled"]
    make.assert_right(whole(names))


def test_constants_keep_the_name_of_what_they_are_made_of():
    mod = module(transposed((6, 4, 4), strides=(2, 2), padding=(1, 1)), IMAGE)
    names = {digest(make.numbers(4, 6, 4, 4)): ["up.weight"]}
    state = run_import(make.Compilation(Options(), None, with_names(mod, names)))
    found = partition(state.mod["main"], read_names(state.mod))
    assert [layer.name for layer in found.layers] == ["up"] * 4


def test_a_weight_that_the_model_computes_is_a_constant():
    """A weight norm, by the name of its direction; what an input is a part of isn't computed."""
    direction, gain = make.numbers(4, 2, 3), make.numbers(4, 1, 1, seed=1)

    def body(emit, x):
        v = relax.const(direction)
        length = emit(op.sqrt(emit(op.sum(emit(op.multiply(v, v)), (1, 2), keepdims=True))))
        weight = emit(op.multiply(relax.const(gain), emit(op.divide(v, length))))
        y = emit(op.nn.conv1d(x, weight, groups=2))
        halves = emit(op.split(emit(op.exp(const(7, 3))), [4], axis=0))
        half = emit(op.strided_slice(emit(relax.TupleGetItem(halves, 0)), [1], [0], [2]))
        y = emit(op.matmul(y, half))
        return emit(op.matmul(y, emit(op.permute_dims(emit(op.exp(y)), (0, 2, 1)))))

    mod = module(body, (2, 4, 6))
    names = {digest(direction): ["conv.parametrizations.weight.original1"]}
    made = as_products(with_names(mod, names))
    found = partition(made["main"], read_names(made))
    assert [layer.name for layer in found.layers] == ["conv", "linear0", "attention0"]
    wanted = direction / np.sqrt(np.square(direction).sum((1, 2), keepdims=True)) * gain
    np.testing.assert_allclose(found.layers[0].weight[:, :, 0], wanted, rtol=1e-5)
    # Only of the input: sizes of products, and the exponential of one.
    assert {name for name, _ in found.host} <= {"reshape", "permute_dims", "exp"}
    inputs = make.inputs_of(mod)
    want, have = (make.run_llvm(each, inputs)[0] for each in (mod, made))
    assert sqnr_db(want, have) > 110


def test_codes_of_a_weight_are_not_computed():
    """A second quantization would round them."""

    def body(emit, x):
        codes = relax.const(np.arange(12, dtype=np.int8).reshape(4, 3))
        weight = emit(op.exp(emit(op.astype(codes, "float32"))))
        return emit(op.matmul(x, weight))

    part = partitioned(module(body, (2, 4)))
    assert ("exp", "not a matrix product") in part.host


def test_what_cant_be_rewritten_stays():
    """A kernel known at run time, another layout, a window: the host runs TVM's own."""
    mod = module(
        lambda emit, x, w: emit(op.nn.conv2d_transpose(x, w, strides=(2, 2))), IMAGE, (4, 6, 2, 2)
    )
    part = partitioned(mod)
    assert not part.layers and part.host[0][0] == "nn.conv2d_transpose"
    assert part.host[0][1].startswith("only float32, a constant weight")


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_phases_cover_every_tap_once(stride, dilation):
    """Output o sees input i through tap k where o + pad = i * stride + k * dilation, only there."""
    kernel, pad, inputs = 5, 2, 7
    found = set()
    for phase, seen in enumerate(phases(kernel, stride, pad, dilation)):
        for t in range(9):
            for number, tap in enumerate(seen.taps):
                found.add((stride * t + phase, t + seen.first + number * seen.step, tap))
    wanted = {(i * stride + k * dilation - pad, i, k) for i in range(inputs) for k in range(kernel)}
    inside = {each for each in found if 0 <= each[1] < inputs}
    assert inside == {each for each in wanted if 0 <= each[0] < 9 * stride}
