"""Small models of all that a program computes with beside plain layers."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax import op

from microscopiq.compiler.driver import Compilation, compile_model
from microscopiq.compiler.frontend.repair import repair
from microscopiq.compiler.options import Options
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make

TINY = load_arch("tiny-4x4")
TABLE = make.const(8, 5, seed=3)
INDICES = np.int64([[3, -8, 0], [7, 7, -1]])


def functions(emit, x):
    """Return functions of the vector unit, and a row's sum."""
    for function in (op.sin, op.erf, op.exp, op.sigmoid, op.tanh):
        x = emit(function(x))
    return emit(op.nn.softmax(emit(op.power(x, relax.const(np.float32(1.7))))))


def integers(emit, x):
    """Return what has integer kernels: a product, a norm, a gate and a softmax."""
    normed = emit(op.nn.layer_norm(x, make.const(6, seed=1), make.const(6, seed=2), [-1]))
    return emit(op.nn.softmax(emit(op.nn.gelu(emit(op.matmul(normed, make.const(6, 5)))))))


def looked_up(emit, x):
    """Return rows by index, which are checked before, as numbers of a product."""
    return make.linear(emit, emit(op.take(TABLE, x, axis=0)), 4)


def scattered(emit, x):
    """Return what is computed under masks: cumulative sums, and updates by index."""
    total = emit(op.cumsum(x, 1))
    places = relax.const(np.int64([[2, -1, 0], [1, 1, 2]]), "int64")
    return emit(op.scatter_elements(total, places, make.const(2, 3, seed=5), 1, "add"))


def ranked(emit, x):
    """Return what is computed by ranks: an order, and its numbers."""
    order = emit(op.argsort(x, 1, False, "int64"))
    return relax.Tuple([order, emit(op.sort(x, 1, True))])


def handed_over(emit, x):
    """Return two products, and between them what the host does if it's told to."""
    return make.linear(emit, emit(op.nn.softmax(make.linear(emit, x, 8))), 8)


def sized() -> tvm.IRModule:
    """Return a module whose batch a call decides."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 20), "float32"))
    attributes = {"tir_var_upper_bound": {"n": 6}, "num_input": 1}
    with builder.function("main", [x], attrs=attributes):
        with builder.dataflow():
            y = make.linear(builder.emit, x, 5)
            y = builder.emit_output(op.nn.softmax(builder.emit(op.tanh(y))))
        builder.emit_func_output(y)
    return builder.get()


@dataclass(frozen=True)
class Family:
    """A module, an input, and the instructions that it's there for."""

    mod: tvm.IRModule
    given: np.ndarray
    computes: set[str]
    recipe: str = "int8"
    vector: bool = True
    host: tuple[str, ...] = ()
    handovers: int = 2


FAMILIES = {
    "functions": lambda: Family(
        make.module(functions, (3, 20)), make.numbers(3, 20), {"map", "reduce"}
    ),
    "integers": lambda: Family(
        make.module(integers, (3, 6)),
        make.numbers(3, 6),
        {"map", "reduce", "drain.int", "fill.int"},
        "integer-only",
    ),
    "indices": lambda: Family(
        repair(make.module(looked_up, (2, 3), dtype="int64")), INDICES, {"map", "dma.gather"}
    ),
    "scatter": lambda: Family(make.module(scattered, (2, 3)), make.numbers(2, 3), {"map"}),
    "ranks": lambda: Family(make.module(ranked, (3, 7)), make.numbers(3, 7), {"map", "reduce"}),
    "host": lambda: Family(
        make.module(handed_over, (3, 20)),
        make.numbers(3, 20),
        {"matmul", "quant"},
        vector=False,
        host=("softmax",),
        handovers=4,
    ),
    "sizes": lambda: Family(sized(), make.numbers(4, 20), {"map", "reduce"}, host=("shape_func",)),
}


def compiled(family: Family) -> Compilation:
    """Compile a family's model for the machine of tests."""
    samples = [(make.numbers(*family.given.shape, seed=n),) for n in range(3)]
    calibration = samples if family.recipe == "integer-only" else None
    options = Options(family.recipe, TINY, calibration=calibration, vector=family.vector)
    return compile_model(family.mod, options)
