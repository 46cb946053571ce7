"""Every instruction of the vector unit's functions counts: lost, it never passes unnoticed."""

import dataclasses

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.frontend.repair import repair
from microscopiq.compiler.options import Options
from microscopiq.compiler.verify import RUN_ON
from microscopiq.runtime.session import Session
from tests.compiler import relax_modules as make
from tests.runtime.test_mutations import run, with_code

TABLE = make.const(6, 5, seed=3)


def scattered(emit, x):
    total = emit(op.cumsum(x, 1))
    places = relax.const(np.int64([[2, -1, 0, 3], [1, 1, 2, 0]]), "int64")
    return emit(op.scatter_elements(total, places, make.const(2, 4, seed=5), 1, "add"))


def functions(emit, x):
    for function in (op.sin, op.erf, op.exp, op.sigmoid, op.tanh, op.log):
        x = emit(function(x))
    return emit(op.nn.softmax(x))


FAMILIES = {
    "functions": (functions, make.numbers(3, 5), "float32"),
    "norm": (
        lambda e, x: e(op.nn.layer_norm(x, make.const(9, seed=1), make.const(9, seed=2), [-1])),
        make.numbers(4, 9),
        "float32",
    ),
    "rows by index": (
        lambda e, x: e(op.take(TABLE, x, axis=0)), np.int64([[3, -6, 0], [5, 2, -1]]), "int64"
    ),
    "masks": (scattered, make.numbers(2, 4), "float32"),
    "ranks": (
        lambda e, x: e(op.sort(x, 1, True)), np.int64([[7, -9, 7, 2]]) << 20, "int64"
    ),
}  # fmt: skip


def calls_of(name):
    """Return the functions of a family, each with its inputs and the right bytes."""
    body, given, dtype = FAMILIES[name]
    mod = repair(make.module(body, given.shape, dtype=dtype))
    state = compile_model(mod, Options(arch="tiny-4x4", vector=True, graph=False))
    assert not state.host
    session, found = Session(state.executable), []

    def instrument(_function, symbol, before_run, _result, *arguments):
        if before_run and symbol in state.program.functions:
            function = dataclasses.replace(state.program.functions[symbol], name="f")
            tensors = [a.numpy().copy() for a in arguments if hasattr(a, "numpy")]
            pairs = zip(tensors, function.arguments, strict=True)
            found.append((function, [t for t, a in pairs if not a.is_output]))
        return RUN_ON

    session.vm.set_instrument(instrument)
    session.run(given)
    return [(function, inputs, run(function, inputs, True)) for function, inputs in found]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_instruction_can_be_dropped(name):
    survivors = []
    for function, inputs, expected in calls_of(name):
        assert expected is not None and any(expected)
        for index, instruction in enumerate(function.code):
            code = with_code(function, function.code[:index] + function.code[index + 1 :])
            if run(code, inputs, True) == expected:
                survivors.append(f"{function.name} {index}: {instruction}")
    assert not survivors, "\n".join(survivors)
