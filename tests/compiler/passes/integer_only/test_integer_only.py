"""A model in integers alone: values, bits, and the proof that nothing between is fp32."""

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.integer_only.check import floating, pieces, problems
from microscopiq.runtime.session import Session
from microscopiq.target.errors import ConfigError, UnsupportedError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.spec import Affine
from microscopiq.target.vector_operations import OPERATIONS
from tests.compiler.relax_modules import run_llvm

RNG = np.random.default_rng(5)
SHAPE = (6, 24)


def weight(*shape: int):
    return relax.const((RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))


def module(body, shape=SHAPE) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x], attrs={"num_input": 1}):
        with builder.dataflow():
            y = builder.emit_output(body(builder.emit, x))
        builder.emit_func_output(y)
    return builder.get()


def block(emit, x):
    """Return what a transformer's block has: norm, attention, residual, gate."""
    normed = emit(op.nn.layer_norm(x, weight(24), weight(24), [-1]))
    query, key, value = (emit(op.matmul(normed, weight(24, 24))) for _ in range(3))
    key = emit(op.permute_dims(key, [1, 0]))
    scores = emit(op.multiply(emit(op.matmul(query, key)), relax.const(0.2)))
    mixed = emit(op.matmul(emit(op.nn.softmax(scores, -1)), value))
    x = emit(op.add(x, emit(op.add(mixed, weight(24)))))
    hidden = emit(op.matmul(emit(op.nn.rms_norm(x, weight(24), [-1])), weight(24, 32)))
    return emit(op.matmul(emit(op.nn.gelu(hidden)), weight(32, 10)))


def network(emit, x):
    """Return what a convolutional network has, with a residual and pooling."""
    x = emit(op.nn.relu(emit(op.nn.conv2d(x, weight(8, 3, 3, 3), padding=1))))
    more = emit(op.add(emit(op.nn.conv2d(x, weight(8, 8, 3, 3), padding=1)), weight(1, 8, 1, 1)))
    x = emit(op.nn.relu(emit(op.add(x, more))))
    x = emit(op.nn.max_pool2d(x, (2, 2), (2, 2)))
    return emit(op.matmul(emit(op.mean(x, [2, 3])), weight(8, 5)))


MODELS = {"block": (block, SHAPE), "network": (network, (2, 3, 8, 8))}


def samples(shape, count: int = 4) -> list[tuple[np.ndarray]]:
    return [
        (np.random.default_rng(n).standard_normal(shape).astype(np.float32),) for n in range(count)
    ]


def compiled(mod: tvm.IRModule, shape, arch: str = "int8-64x64"):
    options = Options("integer-only", arch=arch, vector=True, calibration=samples(shape))
    return compile_model(mod, options)


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    body, shape = MODELS[request.param]
    mod = module(body, shape)
    return mod, compiled(mod, shape), samples(shape)[1]


def test_near_fp32_and_the_same_bits_on_llvm_and_in_both_modes(built):
    mod, state, inputs = built
    (want,) = run_llvm(mod, inputs)
    (reference,) = run_llvm(state.quantized, inputs)
    for mode in ("fast", "structural"):
        (found,) = Session(state.executable, mode=mode).run(*inputs).outputs
        np.testing.assert_array_equal(found.view(np.int32), reference.view(np.int32))
    noise = np.square(want - found).sum() / np.square(want).sum()
    assert 10 * np.log10(1 / noise) > 20


def test_nothing_stays_on_the_host_and_nothing_between_is_fp32(built):
    _, state, _ = built
    assert state.host == ()
    assert problems(state.mod, state.program) == []
    every = [code for f in state.program.functions.values() for _, code in pieces(f)]
    edges = [code for code in every if floating(code)]
    assert len(edges) == 2  # one makes integers of the input, one scales the output


def test_the_check_finds_one_instruction(built):
    _, state, _ = built
    ((symbol, function),) = state.program.functions.items()
    at = next(at for at, each in enumerate(function.code) if isinstance(each, isa.Matmul))
    name = [part.name for part in function.parts if part.first <= at][-1]
    for wrong in (
        isa.Fill(Affine(), 4, 1.0, 0, 0),
        isa.Map(OPERATIONS["int_less"].code, Affine(), 4, *(Affine(), 0, 0) * 3, 0, 0),
        isa.Drain(Affine(), 4, Affine(), 4, 0, Affine(), 1, Affine(), 1, 0, 0, Affine()),
    ):
        code = (*function.code[:at], wrong, *function.code[at + 1 :])
        functions = {symbol: dataclasses.replace(function, code=code)}
        program: Program = dataclasses.replace(state.program, functions=functions)
        assert [row.partition(": ")[0] for row in problems(state.mod, program)] == [name]


def test_another_recipe_does_not_pass():
    body, shape = MODELS["network"]
    state = compile_model(module(body, shape), Options("int8", arch="int8-64x64", vector=True))
    assert any("a value of fp32" in row for row in problems(state.mod, state.program))


def test_samples_are_needed():
    with pytest.raises(ConfigError, match="'integer-only' takes its scales from samples"):
        compile_model(module(block), Options("integer-only"))


def test_unknown_operators_are_listed_at_once():
    mod = module(lambda emit, x: emit(op.sin(emit(op.tan(x)))))
    with pytest.raises(UnsupportedError, match=r"no integers are known for 1 of sin .*; 1 of tan"):
        compiled(mod, SHAPE)
