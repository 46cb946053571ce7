"""Holds a compiled model against the LLVM reference, layer by layer, bit by bit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from ..runtime.session import Session
from ..target.isa.program import Function, Program
from ..target.isa.spec import Mem
from .driver import Compilation
from .kinds.registry import from_attribute
from .link.calls import Call
from .llvm import build_for_llvm
from .operators import ATTRIBUTE, Gemm
from .passes.lower import quantized_functions
from .tir.unpack import unpack

RUN_ON = 0
"""What an instrument returns to let the virtual machine go on as it would."""


@dataclass(frozen=True)
class LayerCheck:
    """One call of one accelerated operator, or a part of a call of several.

    Attributes
    ----------
    different : int
        Output elements whose bits differ from the LLVM reference on the same inputs.
    elements : int
        Those that were compared: 0 of a part whose results never leave the chip.
    """

    symbol: str
    layer: str
    different: int
    elements: int


def verify_layers(
    compilation: Compilation, inputs: list[np.ndarray], function: str = "main"
) -> list[LayerCheck]:
    """Run a model on the simulator and recompute each accelerated operator with LLVM.

    Parameters
    ----------
    compilation : Compilation
        With its executable and its quantized module.
    inputs : list of numpy.ndarray
        Of the compiled shapes.
    function : str
        Which one runs, from the state that the model comes with.

    Returns
    -------
    list of LayerCheck
        One for each call, in the order of execution.
    """
    session = Session(compilation.executable)
    program = session.program
    if program is None:
        return []
    references = _references(compilation, program)
    checks: list[LayerCheck] = []
    joined: dict[str, list] = {}
    on_chip: dict[tuple[Mem, int] | None, np.ndarray] = {}

    def instrument(_function, symbol, before_run, _result, *arguments):
        tensors = [a for a in arguments if hasattr(a, "numpy")]
        if before_run and symbol in compilation.runs:
            joined[symbol] = tensors
        if not before_run and symbol in references and symbol in program.functions:
            checks.append(references[symbol].check([a.numpy() for a in tensors]))
        return RUN_ON

    def observe(symbol, number):
        call = compilation.runs[symbol][number]
        inputs, found = _tensors(call, [np.from_dlpack(a) for a in joined[symbol]], on_chip)
        expected = _expected(call, references, inputs)
        checks.append(_compare(call.function, expected, found))
        results = [n for n, a in enumerate(call.function.arguments) if a.is_output]
        on_chip.update(
            (place, array)
            for argument, array in zip(results, expected, strict=True)
            if (place := _kept(call.function, argument)) is not None
        )

    session.vm.set_instrument(instrument)
    session.native["microscopiq.set_observer"](observe)
    try:
        session.run(*inputs, function=function)
    finally:
        session.native["microscopiq.set_observer"](None)
    return checks


def _expected(
    call: Call, references: dict[str, "_Reference"], inputs: list[np.ndarray]
) -> list[np.ndarray]:
    """Return what the operators of a call give one after the other."""
    first, *behind = call.of
    count = sum(not argument.is_output for argument in first.arguments)
    expected = references[first.name].expect(inputs[:count])
    for function in behind:
        given, at = list(inputs[count:]), call.behind
        given.insert(at, expected[0].reshape(function.arguments[at].shape))
        expected = references[function.name].expect(given)
    return expected


def _tensors(
    call: Call, arguments: list[np.ndarray], on_chip: dict
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return inputs and results of a call that is a part of another one, as they are right now.

    What lies on the chip alone can't be seen: of an input it is what should be there, of a result
    nothing, so that a mistake shows in what reads it.
    """
    inputs, found = [], []
    pairs = zip(call.function.arguments, call.tensors, strict=True)
    for number, (argument, place) in enumerate(pairs):
        array = None
        if place.argument is not None:
            raw = arguments[place.argument].reshape(-1).view(np.uint8)
            raw = raw[place.offset : place.offset + place.size]
            array = raw.view(argument.dtype).reshape(argument.shape).copy()
        if argument.is_output:
            found.append(array)
        else:
            if array is None:
                array = on_chip[_kept(call.function, number)].reshape(argument.shape)
            inputs.append(array)
    return inputs, found


def _kept(function: Function, argument: int) -> tuple[Mem, int] | None:
    """Return where an argument lies on the chip, None of one that doesn't."""
    places = [(b.mem, b.base) for b in function.buffers if b.kept and b.argument == argument]
    return places[0] if places else None


def _references(compilation: Compilation, program: Program) -> dict[str, "_Reference"]:
    """Return the reference of each program function; equal operators share one LLVM function."""
    attributes = {
        gv.name_hint: str(func.attrs[ATTRIBUTE])
        for gv, func in quantized_functions(compilation.placed)
    }
    funcs = {str(f.attrs[ATTRIBUTE]): f for _, f in quantized_functions(compilation.placed)}
    single = _single(compilation, program)
    for name, function in single.items():
        operator: Any = from_attribute(attributes[name])
        if function.weights:
            shape = (operator.conv_groups, operator.n, operator.k)
            key = f"{operator.weight_format}{shape}"
            funcs.setdefault(key, unpack(operator.weight_format, *shape))
    # One LLVM module: starting the JIT costs more than most of these functions.
    symbols = {key: f"reference{number}" for number, key in enumerate(funcs)}
    mod = tvm.IRModule(
        {symbols[key]: f.with_attr("global_symbol", symbols[key]) for key, f in funcs.items()}
    )
    built = build_for_llvm(mod)
    references = {}
    for name, function in single.items():
        operator = from_attribute(attributes[name])
        decoded: list[np.ndarray] = []
        if function.weights:
            shape = (operator.conv_groups, operator.n, operator.k)
            decode = built[symbols[f"{operator.weight_format}{shape}"]]
            decoded = _decode(decode, operator, function.weights)
        references[name] = _Reference(function, built[symbols[attributes[name]]], decoded)
    return references


def _single(compilation: Compilation, program: Program) -> dict[str, Function]:
    """Return the functions of single operators, those that others are made of too."""
    alone = {name: f for name, f in program.functions.items() if name not in compilation.runs}
    parts = {f.name: f for calls in compilation.runs.values() for c in calls for f in c.of}
    return alone | parts


@dataclass(frozen=True)
class _Reference:
    """The plain TIR of one operator, built for LLVM, with its weights decoded by TIR."""

    function: Function
    run: Callable
    decoded: list[np.ndarray]

    def check(self, tensors: list[np.ndarray]) -> LayerCheck:
        outputs = sum(argument.is_output for argument in self.function.arguments)
        return _compare(self.function, self.expect(tensors[:-outputs]), tensors[-outputs:])

    def expect(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return what the operator gives for inputs."""
        outputs = [a for a in self.function.arguments if a.is_output]
        arguments = inputs[:2] + self.decoded + inputs[2:] if self.decoded else inputs
        expected = [tvm.runtime.tensor(np.zeros(a.shape, a.dtype)) for a in outputs]
        self.run(*[tvm.runtime.tensor(np.asarray(a, order="C")) for a in arguments], *expected)
        return [array.numpy() for array in expected]


def _compare(
    function: Function, expected: list[np.ndarray], found: Sequence[np.ndarray | None]
) -> LayerCheck:
    """Return how results compare, without those that aren't known."""
    pairs = [(w, h) for w, h in zip(expected, found, strict=True) if h is not None]
    different = sum(_different(want.reshape(have.shape), have) for want, have in pairs)
    elements = sum(have.size for _, have in pairs)
    return LayerCheck(function.name, function.layer, different, elements)


def _different(want: np.ndarray, have: np.ndarray) -> int:
    """Return how many elements differ in any bit."""
    bits = f"u{want.dtype.itemsize}"
    same = np.ascontiguousarray(want).view(bits) == np.ascontiguousarray(have).view(bits)
    return int((~same).sum())


def _decode(run, operator: Gemm, segment: bytes) -> list[np.ndarray]:
    groups, out, inputs = operator.conv_groups, operator.n, operator.k
    values = tvm.runtime.tensor(np.zeros((groups, out, inputs), np.int32))
    scale = tvm.runtime.tensor(np.zeros((groups, operator.groups, out), np.float32))
    run(tvm.runtime.tensor(np.frombuffer(segment, np.uint8).copy()), values, scale)
    return [values.numpy(), scale.numpy()]


def run_reference(
    compilation: Compilation, inputs: list[np.ndarray], function: str = "main"
) -> list[np.ndarray]:
    """Return the outputs of the quantized module built for plain LLVM."""
    return Session(build_for_llvm(compilation.quantized)).run(*inputs, function=function).outputs
