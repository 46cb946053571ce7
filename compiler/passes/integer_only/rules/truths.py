"""Truth as integers, 0 and 1: the vector unit's own comparisons give numbers of fp32."""

from collections.abc import Callable

from tvm import relax
from tvm.relax import op

from .....target.errors import UnsupportedError
from ..emission import Emission

Truth = Callable[[Emission, relax.Var, relax.Call], relax.Expr]
TRUTHS: dict[str, Truth] = {}
"""By operator: what becomes of one that takes or gives bool; int32 in the place of bool."""


def _truth(*names: str) -> Callable[[Truth], Truth]:
    def register(function: Truth) -> Truth:
        TRUTHS.update(dict.fromkeys(names, function))
        return function

    return register


def _int(value: int) -> relax.Expr:
    return relax.const(value, "int32")


def int32_of(emission: Emission, expr: relax.Expr) -> relax.Expr:
    """Return an expression of no fp32 as int32.

    Raises
    ------
    UnsupportedError
        For types that have no place in 32 bits.
    """
    made = emission.of(expr)
    dtype = str(made.ty.dtype)
    if dtype == "int32":
        return made
    if dtype not in ("bool", "int8", "uint8", "int16", "int64"):
        raise UnsupportedError(f"{dtype}; allowed: bool, int8, uint8, int16, int32, int64")
    return emission.emit(op.astype(made, "int32"))


def _not_zero(emission: Emission, x: relax.Expr) -> relax.Expr:
    """Return 1 where an integer isn't 0: it or minus it has the highest bit then."""
    emit = emission.emit
    either = emit(op.bitwise_or(x, emit(op.negative(x))))
    return emit(op.bitwise_and(emit(op.right_shift(either, _int(31))), _int(1)))


def _negated(emission: Emission, truth: relax.Expr) -> relax.Expr:
    return emission.emit(op.bitwise_xor(truth, _int(1)))


def chosen(emission: Emission, truth: relax.Expr, one, other) -> relax.Expr:
    """Return one value's bits where a truth is 1, else the other's; all int32."""
    emit = emission.emit
    differ = emit(op.bitwise_xor(one, other))
    mask = emit(op.negative(truth))
    return emit(op.bitwise_xor(other, emit(op.bitwise_and(differ, mask))))


def _above(emission: Emission, x: relax.Expr, y: relax.Expr) -> relax.Expr:
    """Return 1 where x > y: where their larger one isn't y."""
    larger = emission.emit(op.maximum(x, y))
    return _not_zero(emission, emission.emit(op.bitwise_xor(larger, y)))


@_truth("greater", "less", "greater_equal", "less_equal")
def _ordered(emission: Emission, _var, call) -> relax.Expr:
    x, y = (int32_of(emission, each) for each in call.args)
    name = call.op.name.removeprefix("relax.")
    if name in ("less", "greater_equal"):
        x, y = y, x
    above = _above(emission, x, y)
    return above if name in ("greater", "less") else _negated(emission, above)


@_truth("equal", "not_equal")
def _equal(emission: Emission, _var, call) -> relax.Expr:
    x, y = (int32_of(emission, each) for each in call.args)
    differ = _not_zero(emission, emission.emit(op.bitwise_xor(x, y)))
    return differ if call.op.name == "relax.not_equal" else _negated(emission, differ)


JOINED = {
    "logical_and": op.bitwise_and, "bitwise_and": op.bitwise_and,
    "logical_or": op.bitwise_or, "bitwise_or": op.bitwise_or,
    "logical_xor": op.bitwise_xor, "bitwise_xor": op.bitwise_xor,
}  # fmt: skip


@_truth(*JOINED)
def _joined(emission: Emission, _var, call) -> relax.Expr:
    join = JOINED[call.op.name.removeprefix("relax.")]
    return emission.emit(join(*(int32_of(emission, each) for each in call.args)))


@_truth("logical_not", "bitwise_not")
def _not(emission: Emission, _var, call) -> relax.Expr:
    return _negated(emission, int32_of(emission, call.args[0]))


@_truth("astype")
def _cast(emission: Emission, var, call) -> relax.Expr:
    made, dtype = int32_of(emission, call.args[0]), str(var.ty.dtype)
    if dtype == "bool":
        source = str(call.args[0].ty.dtype)
        return made if source == "bool" else _not_zero(emission, made)
    return made if dtype == "int32" else emission.emit(op.astype(made, dtype))


@_truth("where")
def _where(emission: Emission, var, call) -> relax.Expr:
    truth, one, other = (int32_of(emission, each) for each in call.args)
    made, dtype = chosen(emission, truth, one, other), str(var.ty.dtype)
    return made if dtype in ("bool", "int32") else emission.emit(op.astype(made, dtype))


@_truth(
    "reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice", "broadcast_to",
    "tile", "repeat", "flip", "take", "index_tensor",
)  # fmt: skip
def _moved(emission: Emission, _var, call) -> relax.Expr:
    source = int32_of(emission, call.args[0])
    rest = [emission.of(each) for each in call.args[1:]]
    return emission.emit(relax.Call(call.op, [source, *rest], call.attrs))
