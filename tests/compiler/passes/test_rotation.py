"""compiler/passes/rotation.py: rotated inputs and weights compute what the model did."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.options import Options
from microscopiq.compiler.partition.partition import partition_module
from microscopiq.compiler.passes.rotation import hadamard, rotate_model, rotated
from microscopiq.compiler.quant.recipe import Recipe, load_recipe
from microscopiq.compiler.verify import run_reference
from microscopiq.runtime.session import Session
from microscopiq.target.errors import ConfigError
from tests.compiler import relax_modules as make

SHAPE = (2, 10, 64)


def recipe(rotation: int, **by_role: str) -> Recipe:
    return Recipe(
        "rotated", "", "rtn", "int4-g32", "mxint4", rotation=rotation, activations=by_role
    )


def body(emit, x):
    """Return layers that share an input, one behind GELU, and one whose inputs are few."""
    y = emit(op.nn.gelu(emit(op.matmul(x, make.const(64, 96)))))
    z = emit(op.matmul(y, make.const(96, 40)))
    z = emit(op.add(z, emit(op.matmul(x, make.const(64, 40)))))
    return emit(op.matmul(emit(op.tanh(z)), make.const(40, 24)))


def loud() -> np.ndarray:
    """Return inputs with two channels that take the bits of those beside them."""
    x = make.numbers(*SHAPE)
    x[..., [5, 40]] *= 30
    return x


def rotated_module(rotation: int, what=body, **by_role):
    mod = relax.transform.ToNonDataflow()(make.module(what, SHAPE))
    return rotate_model(mod, partition_module(mod, {}), {}, recipe(rotation, **by_role))


def on_llvm(mod, x: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(build_for_llvm(mod), tvm.cpu())
    return make.arrays(machine["main"](tvm.runtime.tensor(x)))[0]


@pytest.mark.parametrize("rotation", [16, 64, 256])
def test_the_module_computes_what_it_did(rotation):
    mod, parts = rotated_module(rotation)
    (part,) = parts.values()
    assert [layer.number for layer in part.layers] == [0, 1, 2, 3]
    before, x = on_llvm(make.module(body, SHAPE), loud()), loud()
    np.testing.assert_allclose(on_llvm(mod, x), before, rtol=1e-4, atol=1e-4 * abs(before).max())


def test_weights_of_each_layer():
    """Blocks of what divides both; 40 inputs make blocks of 8, too few."""
    _, parts = rotated_module(64)
    layers = next(iter(parts.values())).layers
    sources = [make.numbers(*shape) for shape in ((64, 96), (96, 40), (64, 40), (40, 24))]
    for layer, source, block in zip(layers, sources, (64, 32, 64, 0), strict=True):
        expected = rotated(source, block) if block else source
        np.testing.assert_array_equal(layer.matrix, expected.T)


def test_inputs_without_a_sign_are_left():
    def behind_relu(emit, x):
        return emit(op.matmul(emit(op.nn.relu(x)), make.const(64, 96)))

    for by_role, left in (({"nonnegative": "mxuint4"}, True), ({}, False)):
        _, parts = rotated_module(64, behind_relu, **by_role)
        (layer,) = next(iter(parts.values())).layers
        assert np.array_equal(layer.matrix.T, make.numbers(64, 96)) == left


@pytest.mark.parametrize("rotation", [0, 32])
def test_all_ways_of_computing_agree(rotation):
    state = compile_model(
        make.module(body, SHAPE), Options(recipe=recipe(rotation), arch="tiny-4x4")
    )
    assert sum(row.kind == "linear" for row in state.layers.values()) == 4
    x = loud()
    (expected,) = run_reference(state, [x])
    for mode in ("fast", "structural"):
        (found,) = Session(state.executable, mode=mode).run(x).outputs
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32), mode)


def test_four_bits_hold_more_of_rotated_inputs():
    weight = make.numbers(64, 48)

    def one(emit, x):
        return emit(op.matmul(x, relax.const(weight)))

    x = loud()
    exact, errors = x.astype(np.float64) @ weight, []
    for rotation in (0, 64):
        options = Options(recipe=recipe(rotation), arch="tiny-4x4")
        (found,) = (
            Session(compile_model(make.module(one, SHAPE), options).executable).run(x).outputs
        )
        errors.append(np.square(found - exact).sum())
    assert errors[1] < 0.7 * errors[0]


def test_matrices():
    for size in (2, 16, 64):
        matrix = hadamard(size)
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(matrix @ matrix, size * np.eye(size))
        assert set(matrix.ravel()) == {1, -1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("rotation = 24", "rotation = 24: allowed 0, 16, 32, 64, 128, 256"),
        ("rotation = true", "rotation = True: allowed 0, 16"),
        ("rotation = 32\nmigration = 0.5", "rotation = 32 beside a migration: allowed one of"),
    ],
)
def test_mistakes(tmp_path, lines, message):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ndescription = ""\nmethod = "rtn"\nweight_format = "int4-g32"\n'
        f'activation = "mxint4"\n{lines}\n'
    )
    with pytest.raises(ConfigError) as error:
        load_recipe(file)
    assert message in str(error.value)
