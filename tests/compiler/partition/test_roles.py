"""compiler/partition/roles.py: what is known of a layer's input."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.partition.graph import Graph
from microscopiq.compiler.partition.partition import partition
from microscopiq.compiler.partition.roles import HAS_ROLE, roles
from microscopiq.compiler.quant.roles import ROLES
from tests.compiler import relax_modules as make

SHAPE = (2, 4, 6, 5)


def test_all_roles_are_told_apart():
    assert list(HAS_ROLE) == list(ROLES)


def roles_behind(body, *shapes) -> tuple[str, ...]:
    """Return the roles of a convolution's input, which is what ``body(emit, *inputs)`` gives."""

    def whole(emit, *inputs):
        return make.conv(emit, body(emit, *inputs), 3)

    function = make.module(whole, SHAPE, *shapes)["main"]
    (layer,) = partition(function, {}).layers
    return roles(Graph(function), layer)


def relu(emit, x):
    return emit(op.nn.relu(x))


def padded(value):
    return lambda emit, x: emit(op.nn.pad(relu(emit, x), [0, 0, 0, 0, 1, 1, 0, 2], pad_value=value))


def joined(emit, x):
    return emit(op.concat([relu(emit, x), emit(op.exp(x))], axis=1))


def moved(emit, x):
    y = emit(op.reshape(emit(op.nn.max_pool2d(relu(emit, x), (2, 2))), (2, 4, 4, 5)))
    return emit(op.strided_slice(emit(op.permute_dims(y, (0, 1, 3, 2))), [2], [0], [4], [1]))


NEVER_BELOW_0 = {
    "relu": relu,
    "padded": padded(0.0),
    "joined": joined,
    "moved": moved,
    "added": lambda emit, x: emit(op.add(relu(emit, x), emit(op.abs(x)))),
    "scaled": lambda emit, x: emit(op.multiply(relu(emit, x), relax.const(np.float32(2)))),
    "clipped": lambda emit, x: emit(op.clip(x, 0, 6)),
    "maximum": lambda emit, x: emit(op.maximum(x, relax.const(np.float32(0)))),
    "softmax": lambda emit, x: emit(op.nn.softmax(x)),
}
SIGNED = {
    "padded": padded(-1.0),
    "joined": lambda emit, x: emit(op.concat([relu(emit, x), emit(op.tanh(x))], axis=1)),
    "added": lambda emit, x: emit(op.add(relu(emit, x), emit(op.tanh(x)))),
    "scaled": lambda emit, x: emit(op.multiply(relu(emit, x), relax.const(np.float32(-2)))),
    "clipped": lambda emit, x: emit(op.clip(x, -1, 6)),
    "maximum": lambda emit, x: emit(op.maximum(x, relax.const(np.float32(-1)))),
    "minimum": lambda emit, x: emit(op.minimum(relu(emit, x), relax.const(np.float32(-1)))),
    "subtracted": lambda emit, x: emit(op.subtract(relu(emit, x), relax.const(np.float32(1)))),
}
OUTSIDE = {
    "as it is": lambda emit, x: x,
    "moved": lambda emit, x: emit(op.permute_dims(emit(op.reshape(x, (4, 2, 6, 5))), (1, 0, 2, 3))),
    "padded": lambda emit, x: emit(op.nn.pad(x, [0, 0, 0, 0, 1, 1, 0, 2])),
}


@pytest.mark.parametrize("name", NEVER_BELOW_0)
def test_never_below_0(name):
    assert roles_behind(NEVER_BELOW_0[name]) == ("nonnegative",)


@pytest.mark.parametrize("name", SIGNED)
def test_maybe_below_0(name):
    assert roles_behind(SIGNED[name]) == ()


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_comes_from_outside(name):
    assert roles_behind(OUTSIDE[name]) == ("inputs",)


def test_products_of_two_activations():
    def body(emit, x, y):
        return emit(op.matmul(emit(op.nn.softmax(x)), emit(op.tanh(y))))

    function = make.module(body, (3, 4, 5), (3, 5, 6))["main"]
    (layer,) = partition(function, {}).layers
    assert roles(Graph(function), layer) == ("attention",)
