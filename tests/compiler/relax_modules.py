"""Small Relax modules in the shapes that frontends make, and what becomes of them."""

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import Compilation, compile_model, run_stages
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.records import is_quantized
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.runtime.session import Session
from tests.tolerance import SQNR_DB, sqnr_db


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Return fp32 numbers that depend on the shape and the seed only."""
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(np.float32)


def const(*shape: int, seed: int = 0) -> relax.Expr:
    return relax.const(numbers(*shape, seed=seed))


def add_function(builder, name: str, body, *shapes, private: bool = False, dtype: str = "float32"):
    """Add a function of one dataflow block; `body` takes an emitter and the parameters."""
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    with builder.function(name, inputs, private=private):
        with builder.dataflow():
            result = body(builder.emit, *inputs)
            if isinstance(result, tuple):
                result = relax.Tuple(list(result))
            output = builder.emit_output(result)
        builder.emit_func_output(output)


def module(body, *shapes, dtype: str = "float32") -> tvm.IRModule:
    """Return a module whose only function is `main`."""
    builder = relax.BlockBuilder()
    add_function(builder, "main", body, *shapes, dtype=dtype)
    return builder.get()


def arrays(outputs) -> list[np.ndarray]:
    if hasattr(outputs, "numpy"):
        return [outputs.numpy()]
    return [array for item in outputs for array in arrays(item)]


def run_llvm(
    mod: tvm.IRModule, inputs, function: str = "main", target: str | None = None
) -> list[np.ndarray]:
    executable = relax.build(mod, target=target) if target else build_for_llvm(mod)
    vm = relax.VirtualMachine(executable, tvm.cpu())
    return arrays(vm[function](*map(tvm.runtime.tensor, inputs)))


def inputs_of(mod: tvm.IRModule, function: str = "main") -> list[np.ndarray]:
    shapes = [param.ty.shape.values for param in mod[function].params]
    return [numbers(*map(int, shape), seed=9 + i) for i, shape in enumerate(shapes)]


def operators_of(program) -> list[str]:
    """Return the names of a program's operators, those that share a function too."""
    names = [
        [part.name for part in function.parts] or [function.name]
        for function in program.functions.values()
    ]
    return [name for each in names for joint in each for name in joint.split("+")]


def compiled(
    mod: tvm.IRModule,
    recipe: str | None = "int8",
    arch: str = "tiny-4x4",
    vector: bool = True,
    graph: bool = True,
) -> Compilation:
    needed = bool(recipe) and load_recipe(recipe).needs_statistics() and not is_quantized(mod)
    samples = [tuple(inputs_of(mod))] if needed else None
    options = Options(recipe=recipe, arch=arch, calibration=samples, vector=vector, graph=graph)
    return compile_model(mod, options)


def emitted(
    mod: tvm.IRModule, recipe: str = "int8", arch: str = "tiny-4x4", graph: bool = True
) -> Compilation:
    """Return a compilation with its program, without the host's code."""
    return run_stages(mod, Options(recipe=recipe, arch=arch, graph=graph))


def assert_equal_bits(expected, found) -> None:
    assert len(expected) == len(found)
    for want, have in zip(expected, found, strict=True):
        assert want.shape == have.shape
        np.testing.assert_array_equal(want.view(np.int32), have.view(np.int32))


def assert_right(mod: tvm.IRModule, recipe: str = "int8", functions=("main",)) -> Compilation:
    """Check that the simulator equals LLVM's run of the quantized module, and is near fp32."""
    state = compiled(mod, recipe)
    relax.analysis.well_formed(state.quantized)
    relax.analysis.well_formed(state.mod)
    for function in functions:
        inputs = inputs_of(mod, function)
        found = Session(state.executable).run(*inputs, function=function).outputs
        assert_equal_bits(run_llvm(state.quantized, inputs, function), found)
        for want, have in zip(run_llvm(mod, inputs, function), found, strict=True):
            assert sqnr_db(want, have) >= SQNR_DB[recipe]
    return state


def torch_linear(emit, x, n: int):
    """``torch.nn.Linear`` of a 3-D input, as torch's exporter writes it."""
    *lead, k = map(int, x.ty.shape.values)
    flat = emit(op.reshape(x, (int(np.prod(lead)), k)))
    product = emit(op.matmul(flat, emit(op.permute_dims(const(n, k)))))
    return emit(op.reshape(emit(op.add(const(n), product)), (*lead, n)))


def linear(emit, x, n: int, seed: int = 0):
    """MatMul and Add of ONNX."""
    k = int(x.ty.shape.values[-1])
    return emit(op.add(emit(op.matmul(x, const(k, n, seed=seed))), const(n, seed=seed)))


def conv(emit, x, n: int, kernel=(3, 3), groups=1, seed=0, **attrs):
    channels = int(x.ty.shape.values[1])
    weight = const(n, channels // groups, *kernel, seed=seed)
    return emit(op.nn.conv2d(x, weight, groups=groups, **attrs))


def batch_norm(emit, x, **attrs):
    channels = int(x.ty.shape.values[1])
    variance = relax.const(np.abs(numbers(channels, seed=4)) + 0.1)
    parameters = [const(channels, seed=seed) for seed in (1, 2, 3)]
    result = emit(op.nn.batch_norm(x, *parameters, variance, axis=1, training=False, **attrs))
    return emit(relax.TupleGetItem(result, 0))


def relu(emit, x):
    return emit(op.nn.relu(x))


def mlp(emit, x):
    """Three layers, the first two read as int8 rows in two groups and in one."""
    for n, seed in ((140, 1), (9, 2)):
        x = relu(emit, linear(emit, x, n, seed))
    return linear(emit, x, 6, 3)


def bias_4d(emit, y):
    channels = int(y.ty.shape.values[1])
    return emit(op.add(y, emit(op.reshape(const(channels, seed=5), (1, channels, 1, 1)))))


IMAGE = (2, 4, 7, 6)
MODELS = {
    # name: (body, input shapes, layers with what they absorb, operators left to the host)
    "torch linear": (
        lambda emit, x: relu(emit, torch_linear(emit, x, 8)),
        [(2, 3, 10)],
        ["linear bias clamp"],
        ["reshape"],
    ),
    "onnx linear": (lambda emit, x: linear(emit, x, 8), [(2, 3, 10)], ["linear bias"], []),
    "gemm transB": (
        lambda emit, x: emit(
            op.add(emit(op.matmul(x, emit(op.permute_dims(const(8, 10))))), const(8))
        ),
        [(5, 10)],
        ["linear bias"],
        [],
    ),
    "scalar bias": (
        lambda emit, x: emit(op.add(emit(op.matmul(x, const(10, 8))), const())),
        [(5, 10)],
        ["linear bias"],
        [],
    ),
    "conv padded": (
        lambda emit, x: conv(emit, x, 6, strides=(2, 1), padding=(1, 0, 2, 1)),
        [IMAGE],
        ["conv2d"],
        [],
    ),
    "conv dilated": (
        lambda emit, x: relu(emit, bias_4d(emit, conv(emit, x, 6, dilation=(2, 1), padding=1))),
        [IMAGE],
        ["conv2d bias clamp"],
        [],
    ),
    "conv grouped": (
        lambda emit, x: bias_4d(emit, conv(emit, x, 6, (3, 2), 2)),
        [IMAGE],
        ["conv2d bias"],
        [],
    ),
    "conv depthwise": (lambda emit, x: conv(emit, x, 4, groups=4), [IMAGE], ["conv2d"], []),
    "conv norm": (
        lambda emit, x: relu(emit, batch_norm(emit, conv(emit, x, 6))),
        [IMAGE],
        ["conv2d bias clamp"],
        [],
    ),
    "conv bias norm relu6": (
        lambda emit, x: emit(
            op.clip(
                batch_norm(emit, bias_4d(emit, conv(emit, x, 6)), center=False, scale=False), 0, 6
            )
        ),
        [IMAGE],
        ["conv2d bias clamp"],
        [],
    ),
    "attention 4-D": (
        lambda emit, q, k: emit(op.matmul(q, k)),
        [(2, 3, 5, 8), (2, 3, 8, 7)],
        ["attention"],
        [],
    ),
    "attention permuted": (
        lambda emit, q, k: emit(op.matmul(q, emit(op.permute_dims(k, (0, 2, 3, 1))))),
        [(2, 3, 5, 8), (2, 7, 3, 8)],
        ["attention"],
        ["permute_dims"],
    ),
    "attention 3-D": (
        lambda emit, q, k: emit(op.matmul(q, emit(op.permute_dims(k, (0, 2, 1))))),
        [(3, 5, 8), (3, 7, 8)],
        ["attention"],
        ["permute_dims"],
    ),
    "attention residual": (
        lambda emit, q, k, r: relu(
            emit, emit(op.add(r, emit(op.reshape(emit(op.matmul(q, k)), (10, 7)))))
        ),
        [(2, 5, 8), (2, 8, 7), (10, 7)],
        ["attention residual clamp"],
        [],
    ),
    "residual is the input": (
        lambda emit, x: emit(op.add(x, linear(emit, x, 10))),
        [(5, 10)],
        ["linear bias residual"],
        [],
    ),
    "residual second": (
        lambda emit, x: relu(emit, emit(op.add(conv(emit, x, 4, (1, 1)), x))),
        [IMAGE],
        ["conv2d residual clamp"],
        [],
    ),
    "sum of two layers": (
        lambda emit, x: relu(
            emit, emit(op.add(conv(emit, x, 6, padding=1), conv(emit, x, 6, (1, 1), seed=1)))
        ),
        [IMAGE],
        ["conv2d residual clamp", "conv2d"],
        [],
    ),
    "sum with itself": (
        lambda emit, x: (lambda y: emit(op.add(y, y)))(linear(emit, x, 6)),
        [(5, 10)],
        ["linear bias"],
        ["add"],
    ),
    "clip": (
        lambda emit, x: emit(op.clip(linear(emit, x, 8), -1.0, 2.5)),
        [(5, 10)],
        ["linear bias clamp"],
        [],
    ),
    "chain": (
        mlp,
        [(2, 3, 10)],
        ["linear bias clamp requantize", "linear bias clamp requantize", "linear bias"],
        [],
    ),
}


def model(name: str) -> tvm.IRModule:
    body, shapes, _, _ = MODELS[name]
    return module(body, *shapes)
