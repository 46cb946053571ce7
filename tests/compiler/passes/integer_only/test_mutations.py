"""Every instruction of the integer kernels counts: lost or changed, it never passes unnoticed."""

import dataclasses
import inspect

import numpy as np
import pytest
from tvm import relax

from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.integer_only import kernels
from microscopiq.compiler.passes.vectorize.vectorize import KERNEL
from microscopiq.target.isa import instructions as isa
from microscopiq.target.vector_operations import OPERATIONS, REDUCTIONS
from tests.runtime.test_mutations import run, with_code

RNG = np.random.default_rng(4)
OTHER = {
    "int_add": "int_subtract", "int_subtract": "int_add", "int_multiply": "int_add",
    "int_min": "int_max", "int_max": "int_min", "shift_left": "shift_right",
    "shift_right": "shift_left", "floor_divide": "int_subtract", "dyadic": "int_max",
    "copy": "float32_to_int32", "bit_and": "bit_or",
    "int_sum": "int_maximum", "int_maximum": "int_minimum",
}  # fmt: skip
"""What is put in the place of each operation."""
ALIKE = ("bit_and",)
"""What may be lost: it keeps a shift below 32 bits, and that of a power always is."""
KERNELS = {
    "shiftmax": (lambda x: kernels.shiftmax(x, 64, 10), (3, 7), (700, 40, 5000)),
    "gate": (lambda x: kernels.gate(x, 1 << 30, 4, 64, 10), (3, 7), (9000, 300, 90000)),
    "gated": (lambda x: kernels.gated(x, 1 << 30, 4, 64, 10), (3, 7), (9000, 300, 90000)),
    "norm": (lambda x: kernels.norm(x, 1 << 20, True), (3, 7), (2, 500, 9000, 15000)),
    "norm of roots": (lambda x: kernels.norm(x, 1 << 20, False), (3, 7), (2, 500, 9000, 15000)),
    "requantize": (
        lambda x: kernels.requantize(x, [(1 << 30) + 77, -3, 3, 40], 127, "int8"),
        (3, 7),
        (100, 1 << 30),
    ),
    "window_sums": (
        lambda x: kernels.window_sums(x, (2, 2), (1, 2), (0, 0, 0, 0), (3, 2)),
        (1, 1, 4, 4),
        (9,),
    ),
}
"""Kernels, shapes, and the largest magnitudes of inputs: each change shows on one of these."""


def emitted(name):
    """Return a kernel's function, inputs, and the right bytes of each."""
    kernel, shape, limits = KERNELS[name]
    inputs = [RNG.integers(-limit, limit + 1, shape, dtype=np.int32) for limit in limits]
    builder = relax.BlockBuilder()
    var = relax.Var("x", relax.TensorType(shape, "int32"))
    with builder.function("main", [var]):
        with builder.dataflow():
            y = builder.emit_output(builder.call_te(kernel, var, primfunc_attrs={KERNEL: True}))
        builder.emit_func_output(y)
    state = compile_model(builder.get(), Options(arch="tiny-4x4", vector=True))
    (made,) = state.program.functions.values()
    function = dataclasses.replace(made, name="f")
    expected = [run(function, [x], timing=True) for x in inputs]
    assert all(each is not None and any(each) for each in expected)
    return function, inputs, expected


def changes(instruction):
    """Yield what stands in the place of an instruction: nothing, or others of its kind."""
    table = OPERATIONS if isinstance(instruction, isa.Map) else REDUCTIONS
    if isinstance(instruction, isa.Map | isa.Reduce):
        operation = list(table)[instruction.operation - 1]
        yield (dataclasses.replace(instruction, operation=table[OTHER[operation]].code),)
        if operation in ALIKE:
            return
    yield ()


@pytest.mark.parametrize("name", KERNELS)
def test_no_instruction_can_be_dropped_or_be_another(name, monkeypatch):
    # Of ten steps of a root the last make good what the first lose.
    monkeypatch.setattr(kernels, "STEPS", 2)
    function, inputs, expected = emitted(name)
    survivors = []
    for index, instruction in enumerate(function.code):
        for changed in changes(instruction):
            code = [*function.code[:index], *changed, *function.code[index + 1 :]]
            other = with_code(function, code)
            if all(run(other, [x], True) == y for x, y in zip(inputs, expected, strict=True)):
                survivors.append(f"{index}: {instruction} -> {[*map(str, changed)]}")
    assert not survivors, "\n".join(survivors)


def test_all_kernels_are_changed():
    public = {
        name
        for name, function in inspect.getmembers(kernels, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == kernels.__name__
    }
    assert public == public & KERNELS.keys()
