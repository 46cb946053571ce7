"""What a model has that the rules don't know, said at once and with where it stands."""

from tvm import ir, relax

from ....target.errors import UnsupportedError
from ...names import Names, digest
from ...partition.graph import op_name
from .ranges import bound_values
from .rules import RULES, TRUTHS


def check_known(function: relax.Function, names: Names) -> None:
    """Raise UnsupportedError with all operators on fp32 or bool that there is no rule for."""
    missing: dict[str, list[relax.Var]] = {}
    for var, value in bound_values(function):
        if not isinstance(value, relax.Call):
            continue
        rules = RULES if has_type("float32", var, value) else TRUTHS
        if rules is TRUTHS and not has_type("bool", var, value):
            continue
        name = op_name(value) or str(value.op)
        if name not in rules:
            missing.setdefault(name, []).append(var)
    if missing:
        listed = "; ".join(
            f"{len(found)} of {place_of(function, names, found[0])}"
            for _, found in sorted(missing.items())
        )
        raise UnsupportedError(
            f"no integers are known for {listed}; allowed: {', '.join(sorted(RULES))}, and of bool "
            f"{', '.join(sorted(TRUTHS.keys() - RULES.keys()))}"
        )


def has_type(dtype: str, var: relax.Var, call: relax.Call) -> bool:
    """Tell whether a call takes or gives a tensor of a type."""
    given = [var, *call.args]
    for each in call.args:
        given.extend(each.fields if isinstance(each, relax.Tuple) else ())
    tensors = [each.ty for each in given if isinstance(each.ty, relax.TensorType)]
    return any(str(tensor.dtype) == dtype for tensor in tensors)


def place_of(function: relax.Function, names: Names, var: relax.Var) -> str:
    """Return an operator's name, what it gives, and the last parameter on the way to it."""
    bound = {hash(each): value for each, value in bound_values(function)}
    value = bound[hash(var)]
    name = op_name(value) or type(value).__name__
    parameter = _parameter(bound, names, value)
    near = f" behind '{parameter}'" if parameter else ""
    return f"{name}{near} ({var.ty})"


def _parameter(bound: dict, names: Names, value: relax.Expr) -> str:
    """Return the name of the nearest parameter that a value is computed from, or an input's."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        expr = waiting.pop(0)
        if isinstance(expr, ir.GenericConst):
            if found := names.get(digest(expr.value.numpy())):
                return found[0]
        elif isinstance(expr, relax.Var):
            if hash(expr) in bound and hash(expr) not in seen:
                seen.add(hash(expr))
                waiting.append(bound[hash(expr)])
        elif isinstance(expr, relax.Call):
            waiting.extend(expr.args)
        elif isinstance(expr, relax.Tuple):
            waiting.extend(expr.fields)
        elif isinstance(expr, relax.TupleGetItem):
            waiting.append(expr.tuple_value)
    return ""
