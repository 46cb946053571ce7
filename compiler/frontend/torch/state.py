"""What an exported program changes beside its results: its state, as arguments and results.

TVM's importer drops such changes, so the program is rewritten before it: a buffer or a parameter
that changes becomes an input behind the user's, and what it changes to an output behind theirs.
"""

from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax

from ....runtime.state import PREFIX
from ....target.errors import UnsupportedError

CARRIED = ("BUFFER_MUTATION", "PARAMETER_MUTATION")
DROPPED = ("USER_INPUT_MUTATION", "TOKEN")
"""Kinds of outputs beside a program's results: what can be carried from call to call, and not."""


@dataclass(frozen=True)
class Kept:
    """A value that goes from call to call: its name in the source and its first value."""

    name: str
    value: np.ndarray


def carry_state(program) -> list[Kept]:
    """Make what a decomposed program changes inputs and outputs of it, in place.

    Returns
    -------
    list of Kept
        In the order of the last inputs and the last outputs.

    Raises
    ------
    UnsupportedError
        For a program that changes an input of the user.
    """
    signature = program.graph_signature
    outputs = list(signature.output_specs)
    if lost := [spec.target for spec in outputs if spec.kind.name in DROPPED]:
        raise UnsupportedError(
            f"the model changes its input(s) {', '.join(map(repr, lost))} in place, and the "
            "caller's arrays would not see it; allowed: models that work on x.clone()"
        )
    targets = [spec.target for spec in outputs if spec.kind.name in CARRIED]
    if not targets:
        return []
    values = {**dict(program.named_buffers()), **dict(program.named_parameters())}
    kept = [Kept(name, values[name].detach().cpu().numpy().copy()) for name in targets]
    _move_outputs(program, len(targets))
    inputs = {spec.target: spec for spec in signature.input_specs if spec.target in targets}
    others = [spec for spec in signature.input_specs if spec.target not in targets]
    user = type(others[0].kind if others else inputs[targets[0]].kind).USER_INPUT
    state = [replace(inputs[name], kind=user, target=None, persistent=None) for name in targets]
    signature.input_specs[:] = [*others, *state]
    return kept


def _move_outputs(program, count: int) -> None:
    """Put the first outputs, which are changes, behind the results, as results."""
    signature = program.graph_signature
    specs = list(signature.output_specs)
    result = type(specs[0].kind).USER_OUTPUT
    changes = [replace(spec, kind=result, target=None) for spec in specs[:count]]
    signature.output_specs[:] = [*specs[count:], *changes]
    node = program.graph.output_node()
    (values,) = node.args
    node.args = ((*values[count:], *values[:count]),)


def with_state(mod: tvm.IRModule, kept: list[Kept]) -> tvm.IRModule:
    """Return an imported module whose last inputs are named as state, with their first values."""
    if not kept:
        return mod
    gv = mod.get_global_var("main")
    function = mod[gv]
    first = len(function.params) - len(kept)
    state = [
        relax.Var(PREFIX + one.name, param.ty)
        for one, param in zip(kept, function.params[first:], strict=True)
    ]
    params = [*function.params[:first], *state]
    body = function.bind_params(dict(zip(function.params[first:], state, strict=True))).body
    named = relax.Function(params, body, function.ret_ty, function.is_pure, function.attrs)
    functions = {**mod.functions, gv: named}
    for one in kept:
        functions[tvm.ir.GlobalVar(PREFIX + one.name)] = first_value(one)
    return tvm.IRModule(functions, attrs=mod.attrs)


def first_value(kept: Kept) -> relax.Function:
    """Return the function that gives the first value of a name."""
    builder = relax.BlockBuilder()
    value = kept.value
    with builder.function("main", []):
        if value.size and (value == value.flat[0]).all():
            # A cache is zeros, and may be larger than all weights.
            fill = relax.const(value.flat[0], str(value.dtype))
            result = builder.emit(relax.op.full(value.shape, fill, str(value.dtype)))
        else:
            result = builder.emit(relax.const(value, str(value.dtype)))
        builder.emit_func_output(result)
    return builder.get()["main"].with_attr("global_symbol", PREFIX + kept.name)
