"""The largest magnitude of every value of a model, over samples: where static scales come from."""

import numpy as np
import tvm
from tvm import relax

from ....target.errors import InputError
from ...llvm import build_for_llvm

FLOAT = "float32"


def is_float(expr: relax.Expr) -> bool:
    """Tell whether an expression is a tensor of fp32."""
    return isinstance(expr.ty, relax.TensorType) and str(expr.ty.dtype) == FLOAT


def bound_values(function: relax.Function) -> list[tuple[relax.Var, relax.Expr]]:
    """Return what the variables of a function are bound to, in order."""
    return [
        (binding.var, binding.value) for block in function.body.blocks for binding in block.bindings
    ]


def measured(function: relax.Function) -> list[relax.Var]:
    """Return the fp32 values of a function: inputs first."""
    variables = [*function.params, *(var for var, _ in bound_values(function))]
    return [var for var in variables if is_float(var)]


def largest_magnitudes(mod: tvm.IRModule, calls) -> list[float]:
    """Return the largest magnitude of each of `measured(mod["main"])` over calls of the model.

    Parameters
    ----------
    mod : tvm.IRModule
        Without dataflow blocks.
    calls : iterable of tuple of numpy.ndarray
        Inputs of ``main``.

    Raises
    ------
    InputError
        For samples with NaN or infinity on their way.
    """
    function = mod["main"]
    builder = relax.BlockBuilder()
    bindings, outputs = [], []
    for var in measured(function):
        seen = var
        for operator in (relax.op.abs, relax.op.max):
            expr = builder.normalize(operator(seen))
            seen = relax.Var("seen", expr.ty)
            bindings.append(relax.VarBinding(seen, expr))
        outputs.append(seen)
    found = relax.Tuple(outputs)
    blocks = [*function.body.blocks, relax.BindingBlock(bindings)]
    watched = relax.Function(
        function.params,
        relax.SeqExpr(blocks, found),
        relax.TupleType([var.ty for var in outputs]),
    )
    kept = {gv: each for gv, each in mod.functions.items() if gv.name_hint != "main"}
    kept[mod.get_global_var("main")] = watched.with_attr("global_symbol", "main")
    machine = relax.VirtualMachine(build_for_llvm(tvm.IRModule(kept), 2), tvm.cpu())
    largest = np.zeros(len(outputs))
    for call in calls:
        seen = machine["main"](*map(tvm.runtime.tensor, call))
        largest = np.maximum(largest, [float(each.numpy()) for each in seen])
    if not np.isfinite(largest).all():
        raise InputError("calibration samples: NaN or infinity inside of the model")
    return largest.tolist()
