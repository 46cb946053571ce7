"""Replaces quantized operators by calls into the program that the machine runs."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...target.arch import Arch
from ...target.errors import CapacityError, UnsupportedError
from ...target.formats import ACTIVATION_FORMATS, WEIGHT_FORMATS
from ...target.isa.program import Function, Program
from ..kinds.registry import from_attribute, kind_of, scheduled
from ..link.calls import Runs
from ..operators import ATTRIBUTE, Gemm
from ..partition.graph import function_calls, function_names, op_name
from ..tiling.tile import GemmTile
from .emitted import Emitted
from .graph.graph import one_program
from .records import LOWERED, HostOperator, read_records, with_records

TWO_ACTIVATIONS = "the PEs take no int8 weights, and a second activation is int8"
"""Why a product of two activations stays on the host of a machine without that format."""


def leave_to_host(mod: tvm.IRModule, arch: Arch, strict: bool = False) -> tvm.IRModule:
    """Return the module with the products that this machine can't multiply left to the host.

    They keep their int8 operands and their bits: the host runs what is the reference elsewhere.
    Weights without a decoder aren't left, they are a choice of the wrong recipe.

    Raises
    ------
    UnsupportedError
        With `strict`, when there is such a product.
    """
    left = {
        gv.name_hint: function
        for gv, function in quantized_functions(mod)
        if on_host(from_attribute(str(function.attrs[ATTRIBUTE])), arch)
    }
    if not left:
        return mod
    if strict:
        raise UnsupportedError(
            f"{len(left)} operator(s) can't run on the array:\n  matmul: {TWO_ACTIVATIONS} "
            f"({arch.name}: {', '.join(arch.weight_formats)})"
        )
    records, host = read_records(mod), []
    for gv in function_names(mod):
        calls = [name for name in function_calls(mod[gv]) if name in left]
        if calls:
            host.append(HostOperator(gv.name_hint, "matmul", TWO_ACTIVATIONS, len(calls)))
    layers = {name: row for name, row in records.layers.items() if name not in left}
    functions = {
        gv: left[gv.name_hint].without_attr(ATTRIBUTE) if gv.name_hint in left else function
        for gv, function in mod.functions.items()
    }
    records = replace(records, layers=layers, host=(*records.host, *host))
    return with_records(tvm.IRModule(functions, attrs=mod.attrs), records)


def on_host(operator, arch: Arch) -> bool:
    """Tell whether an operator is a product of two activations that a machine can't multiply."""
    return operator.two_activations and "int8" not in arch.weight_formats


def schedule_operators(
    mod: tvm.IRModule, arch: Arch, tiles: dict[str, GemmTile] | None = None
) -> dict[str, tirx.PrimFunc]:
    """Return the scheduled PrimFunc of every distinct operator of a quantized module.

    Parameters
    ----------
    tiles : dict of str to GemmTile, optional
        Tuned decisions by the operator's attribute; others get the default schedule.

    Raises
    ------
    UnsupportedError
        When the machine has no decoder for a weight format of the module.
    CapacityError
        When a layer fits no tile.
    """
    # Operators that are equal share a schedule; messages name the first layer that has it.
    layers = read_records(mod).layers
    first: dict[str, str] = {}
    for gv, function in quantized_functions(mod):
        first.setdefault(str(function.attrs[ATTRIBUTE]), layers[gv.name_hint].layer)
    schedules = {}
    for attribute, layer in first.items():
        operator = from_attribute(attribute)
        check_format(operator, arch)
        if not kind_of(operator).has_schedule:
            continue
        try:
            tile = (tiles or {}).get(attribute)
            schedules[attribute] = scheduled(operator, arch, tile).mod["main"]
        except CapacityError as error:
            raise CapacityError(f"layer '{layer}': {error}") from None
    return schedules


def quantized_functions(mod: tvm.IRModule) -> list[tuple]:
    """Return the PrimFuncs that the array runs, with their global variables."""
    return [
        (gv, function)
        for gv, function in mod.functions.items()
        if isinstance(function, tirx.PrimFunc) and ATTRIBUTE in (function.attrs or {})
    ]


def check_format(operator, arch: Arch) -> None:
    """Raise UnsupportedError for weights that the machine has no decoder for.

    And for activations that are wider than its PEs take beside them.
    """
    name = operator.weight_format
    if name in arch.weight_formats:
        most = arch.code_bits(WEIGHT_FORMATS[name].bits)
        found = ACTIVATION_FORMATS[operator.activation].code_bits
        if found > most:
            raise UnsupportedError(
                f"{arch.name} multiplies '{name}' by activations of up to {most} bits, and "
                f"'{operator.activation}' has {found}; choose another recipe or architecture"
            )
    if name and name not in arch.weight_formats:
        raise UnsupportedError(
            f"{arch.name} can't decode weight format '{name}' (it decodes: "
            f"{', '.join(arch.weight_formats)}); choose another recipe or architecture"
        )


def emit_programs(
    mod: tvm.IRModule,
    arch: Arch,
    schedules: Mapping[str, tirx.PrimFunc],
    progress=None,
    graph: bool = True,
) -> tuple[tvm.IRModule, Program, Runs]:
    """Return the module that calls the program, the program, and what joined functions are of.

    Parameters
    ----------
    graph : bool
        Calls that follow each other become one function of the program.
    """
    emitted = Emitted(arch, schedules, read_records(mod).layers, progress)
    attrs = dict(mod.attrs)
    quantized = {gv for gv, _ in quantized_functions(mod)}
    for gv in function_names(mod):
        call = _CallProgram(mod, emitted)
        call.builder_.update_func(gv, call.visit_expr(mod[gv]))
        mod = call.builder_.get()
    functions: dict[str, Function] = emitted.functions
    runs: Runs = {}
    if graph:
        mod, functions, runs = one_program(mod, arch, emitted)
    names = {gv.name_hint for gv in quantized}
    kept = {gv: f for gv, f in mod.functions.items() if gv.name_hint not in names}
    mod = relax.transform.DeadCodeElimination()(tvm.IRModule(kept))
    mod = mod.with_attrs({**attrs, LOWERED: arch.name})
    return mod, Program.for_arch(arch, functions), runs


@mutator
class _CallProgram(PyExprMutator):
    """Replaces calls of quantized operators by calls of the program's functions."""

    def __init__(self, mod, emitted: Emitted):
        super().__init__(mod)
        self.mod, self.emitted = mod, emitted

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) != "call_tir":
            return call
        gv, args = call.args[0], list(call.args[1].fields)
        attrs = self.mod[gv].attrs or {}
        if ATTRIBUTE not in attrs:
            return call
        attribute = str(attrs[ATTRIBUTE])
        # The program's functions take sizes from their tensors' shapes.
        args = [arg for arg in args if isinstance(arg.ty, relax.TensorType)]
        operator, weights = from_attribute(attribute), b""
        if operator.weight_format:
            weights = packed_behind(self.lookup_binding, call, operator)
            del args[weight_arguments(operator)]
        self.emitted.emit(gv.name_hint, attribute, weights)
        types = call.ty_args[0]
        types = list(types.fields) if isinstance(types, relax.TupleType) else types
        return self.builder_.normalize(relax.op.call_dps_packed(gv.name_hint, args, types))


def weight_arguments(op: Gemm) -> slice:
    """Return where a product's arguments have its decoded weights, and scales where it has some.

    The program has them packed instead.
    """
    return slice(1, 2) if op.integers else slice(2, 4)


def packed_behind(bound: Callable, call: relax.Call, op: Gemm) -> bytes:
    """Return the packed bytes of a call's decoded weights; `bound` gives what a variable is."""
    item = bound(call.args[1].fields[weight_arguments(op).start])
    return bound(item.tuple_value).args[1].fields[0].value.numpy().tobytes()
