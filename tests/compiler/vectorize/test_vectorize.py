"""Functions of the vector unit: the program gives the bits of the module on LLVM, all on chip."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import build_host
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make
from tests.compiler.vectorize.judge import check, compiled, normal, odd
from tests.numpy_calls import check_calls


def softmaxless(emit, x):
    """Norms, means and extremes of rows, of other axes, and of several."""
    mean = emit(op.mean(x, [-1], keepdims=True))
    centered = emit(op.subtract(x, mean))
    variance = emit(op.mean(emit(op.multiply(centered, centered)), [-1], keepdims=True))
    y = emit(
        op.divide(centered, emit(op.sqrt(emit(op.add(variance, relax.const(1e-5, "float32"))))))
    )
    return emit(op.subtract(y, emit(op.max(x, [-2], keepdims=True))))


def rotated(emit, x):
    """Rotary embedding: halves change places, as Llama's attention does."""
    x = emit(op.permute_dims(emit(op.reshape(x, (6, 2, 8))), [1, 0, 2]))
    halves = emit(op.split(x, 2, -1))
    low, high = (emit(relax.TupleGetItem(halves, n)) for n in (0, 1))
    turned = emit(op.concat([emit(op.negative(high)), low], -1))
    angles = [make.const(6, 8, seed=seed) for seed in (1, 2)]
    return emit(op.add(emit(op.multiply(x, angles[0])), emit(op.multiply(turned, angles[1]))))


def gates(emit, x):
    """The gates of an LSTM: parts of one sum."""
    parts = emit(op.split(emit(op.add(x, make.const(12, seed=1))), 3, -1))
    one, two, three = (emit(relax.TupleGetItem(parts, n)) for n in range(3))
    held = emit(op.multiply(emit(op.sigmoid(one)), emit(op.tanh(two))))
    return emit(op.multiply(held, emit(op.sigmoid(three))))


def shuffled(emit, x):
    """Four images whose pixels lie beside each other in one, as a transposed convolution makes."""
    parts = [emit(op.add(x, relax.const(float(n), "float32"))) for n in range(4)]
    y = emit(op.reshape(emit(op.stack(parts, 2)), (1, 3, 2, 2, 5, 4)))
    return emit(
        op.tanh(emit(op.reshape(emit(op.permute_dims(y, [0, 1, 4, 2, 5, 3])), (1, 3, 10, 8))))
    )


def group_norm_silu(emit, x):
    y = emit(op.nn.group_norm(x, make.const(6, seed=1), make.const(6, seed=2), 2, 1, [2, 3]))
    return emit(op.multiply(y, emit(op.sigmoid(y))))


def times(emit, x):
    """Embedding of a time step: sines beside cosines of the same products."""
    y = emit(op.multiply(x, make.const(8, seed=1)))
    return emit(op.concat([emit(op.sin(y)), emit(op.cos(y))], -1))


def pool(kind: str, size: int, **attrs):
    return lambda e, x: e(getattr(op.nn, f"{kind}_pool2d")(x, (size, size), **attrs))


MODELS = {
    "max pool": (pool("max", 3, strides=2, padding=1), (1, 3, 9, 8)),
    "max pool, nothing beside": (pool("max", 2, strides=2), (2, 3, 8, 6)),
    "avg pool": (pool("avg", 3, strides=2, padding=1), (1, 3, 9, 8)),
    "avg pool, zeros count": (
        pool("avg", 3, strides=2, padding=1, count_include_pad=True),
        (1, 3, 9, 8),
    ),
    "avg pool, ceiling": (pool("avg", 3, strides=2, ceil_mode=True), (1, 3, 8, 8)),
    "avg pool of 25": (pool("avg", 5, strides=5), (1, 2, 10, 10)),
    "rotary": (rotated, (1, 12, 8)),
    "gates": (gates, (5, 12)),
    "shuffle": (shuffled, (1, 3, 5, 4)),
    "group norm, silu": (group_norm_silu, (2, 6, 5, 7)),
    "times": (times, (1, 1)),
    "elementwise": (
        lambda e, x: e(op.nn.relu(e(op.multiply(x, relax.const(2.5, "float32"))))),
        (3, 700),
    ),
    "broadcast": (
        lambda e, x: e(op.broadcast_to(e(op.sum(x, [1], keepdims=True)), (4, 37, 5))),
        (4, 37, 5),
    ),
    "norm": (softmaxless, (3, 17, 45)),
    "layer norm": (
        lambda e, x: e(op.nn.layer_norm(x, make.const(45, seed=1), make.const(45, seed=2), -1)),
        (3, 17, 45),
    ),
    "group norm": (
        lambda e, x: e(
            op.nn.group_norm(x, make.const(6, seed=1), make.const(6, seed=2), 2, 1, [2, 3])
        ),
        (2, 6, 5, 7),
    ),
    "transpose": (lambda e, x: e(op.permute_dims(x, [0, 2, 3, 1])), (2, 3, 5, 70)),
    "heads": (
        lambda e, x: e(
            op.reshape(e(op.permute_dims(e(op.reshape(x, (2, 9, 4, 6))), [0, 2, 1, 3])), (8, 54))
        ),
        (2, 9, 24),
    ),
    "slice": (lambda e, x: e(op.strided_slice(x, [1], [1], [8], [2])), (4, 9, 3)),
    "slices and pad": (
        lambda e, x: e(
            op.nn.pad(
                e(op.strided_slice(e(op.strided_slice(x, [2], [0], [8], [2])), [3], [0], [8], [2])),
                [0, 0, 1, 1, 0, 0, 0, 0],
                "constant",
                0.0,
            )
        ),
        (1, 4, 8, 8),
    ),
    "pad": (lambda e, x: e(op.nn.pad(x, [0, 0, 1, 2, 3, 0], "constant", 1.5)), (2, 5, 6)),
    "concat": (lambda e, x: e(op.concat([x, e(op.nn.relu(x)), x], 1)), (2, 5, 6)),
    "split": (
        lambda e, x: e(op.add(*[e(relax.TupleGetItem(e(op.split(x, 2, 1)), n)) for n in (0, 1)])),
        (2, 8, 6),
    ),
    "choose": (
        lambda e, x: e(
            op.where(e(op.greater(x, relax.const(0.5, "float32"))), e(op.floor(x)), e(op.abs(x)))
        ),
        (3, 50),
    ),
    "clip": (lambda e, x: e(op.clip(e(op.round(e(op.multiply(x, x)))), -1, 1)), (3, 50)),
    "softmax": (lambda e, x: e(op.nn.softmax(x, -1)), (3, 5, 47)),
    "gelu": (lambda e, x: e(op.nn.gelu(x)), (3, 50)),
    "gelu tanh": (lambda e, x: e(op.nn.gelu_tanh(x)), (3, 50)),
    "silu": (lambda e, x: e(op.nn.silu(x)), (3, 50)),
    "rotation": (lambda e, x: e(op.add(e(op.sin(x)), e(op.cos(x)))), (3, 50)),
    "log of exp": (lambda e, x: e(op.log(e(op.exp(x)))), (3, 50)),
    "max of all": (lambda e, x: e(op.max(x)), (3, 50, 4)),
}


@pytest.mark.parametrize("arch", ["microscopiq-64x64", "tiny-4x4"])
@pytest.mark.parametrize("name", MODELS)
def test_bits_of_llvm(name, arch):
    build, shape = MODELS[name]
    check(make.module(build, shape), arch)


@pytest.mark.parametrize("name", ["norm", "pad", "softmax"])
def test_numpy_gives_the_same_bits(name):
    build, shape = MODELS[name]
    state = compiled(make.module(build, shape), "tiny-4x4")
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    assert check_calls(build_host(state.mod), [x], load_arch("tiny-4x4")) >= 1


LONG = {
    "sum": (lambda e, x: e(op.sqrt(e(op.sum(e(op.multiply(x, x)), [1])))), (2, 5000)),
    "largest, of a few rows": (lambda e, x: e(op.max(x, [1])), (40, 1503)),
    "softmax": (lambda e, x: e(op.nn.softmax(x, -1)), (2, 3000)),
    "layer norm of two axes, gelu": (
        lambda e, x: e(
            op.nn.gelu(
                e(
                    op.nn.layer_norm(
                        x, make.const(30, 100, seed=1), make.const(30, 100, seed=2), [-2, -1]
                    )
                )
            )
        ),
        (2, 30, 100),
    ),
    "distance to the largest": (
        lambda e, x: e(op.subtract(x, e(op.max(x, [1], keepdims=True)))),
        (2, 5000),
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_rows_longer_than_the_buffer_go_in_pieces(name):
    build, shape = LONG[name]
    mod = make.module(build, shape)
    state, _ = check(mod, "tiny-4x4", odd(mod) if name == "largest, of a few rows" else None)
    assert check_calls(build_host(state.mod), normal(mod), load_arch("tiny-4x4")) >= 1


def test_the_two_zeros_are_two_constants():
    def build(emit, x):
        y = emit(op.minimum(x, relax.const(np.float32(-0.0))))
        return emit(op.maximum(y, relax.const(np.float32(0.0))))

    mod = make.module(build, (4, 33))
    check(mod, inputs=odd(mod))


def test_what_fits_no_machine_stays_on_the_host_with_the_reason():
    mod = make.module(lambda e, x: e(op.sum(x, [1, 3])), (2, 100, 3, 300))
    state = compiled(mod, "tiny-4x4")
    assert [each.operator for each in state.host] == ["sum"]
    assert "don't fit tiny-4x4" in state.host[0].reason


@pytest.mark.parametrize("name", ["sort", "nonzero"])
def test_what_is_no_function_of_tir_stays_in_the_list(name):
    state = compiled(make.module(lambda e, x: e(getattr(op, name)(x)), (3, 900)))
    assert [(each.operator, each.times) for each in state.host] == [(name, 1)]


def test_zeros_and_large_numbers_too():
    build, _ = MODELS["clip"]
    mod = make.module(build, (4, 33))
    check(mod, inputs=odd(mod))
