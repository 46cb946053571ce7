"""Runs a model on samples and notes the largest magnitude of each value, products on BLAS."""

import itertools

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, relax

from ...target.errors import InputError
from ..llvm import build_for_llvm
from ..partition.graph import Graph, op_name
from ..passes.integer_only.ranges import (
    NEVER,
    Ranges,
    bound_values,
    is_float,
    measured,
    multiplied,
)
from .observe import convolution_of, is_plain
from .products import Product, matmul

SAME = ("reshape", "permute_dims", "expand_dims", "squeeze", "flatten", "broadcast_to")
"""Operators whose result has their operand's numbers."""
_numbers = itertools.count()


class _Watch:
    """What the watched module calls: computes its products, and notes its values.

    Attributes
    ----------
    products : list of Product
        By the number that the module calls with.
    largest : list of numpy.ndarray
        Of each value by its number: one number, or one for each place of the last axis.
    """

    def __init__(self) -> None:
        self.products: list[Product] = []
        self.largest: list[np.ndarray] = []

    def compute(self, number: int, *tensors) -> None:
        *operands, out = map(np.from_dlpack, tensors)
        self.products[number](tuple(operands), out, None)

    def note(self, number: int, tensor) -> None:
        value = np.from_dlpack(tensor)
        before = self.largest[number]
        axes = tuple(range(value.ndim - before.ndim))
        if value.size and value.min() <= NEVER:
            value = np.where(value <= NEVER, np.float32(0), value)
        size = np.maximum(value.max(axes, initial=0), -value.min(axes, initial=0))
        self.largest[number] = np.maximum(before, size)


def largest_magnitudes(mod: tvm.IRModule, calls) -> Ranges:
    """Return the largest magnitudes of the values of ``main`` over calls of the model.

    What stands for minus infinity is left out.

    Parameters
    ----------
    mod : tvm.IRModule
        Without dataflow blocks.
    calls : iterable of tuple of numpy.ndarray
        Inputs of ``main``.

    Raises
    ------
    InputError
        For samples with NaN, infinity or numbers of 2**20 and more on their way.
    """
    function, watch = mod["main"], _Watch()
    same = _same(function)
    values = [var for var in measured(function) if hash(var) not in same]
    rows = multiplied(function)
    watch.largest = [np.zeros(()) for _ in values]
    watch.largest += [np.zeros(int(var.ty.shape[-1])) for var in rows]
    name = f"microscopiq.watch{next(_numbers)}"
    # A module looks packed functions up by global names, and when it is loaded.
    packed = {f"{name}.compute": watch.compute, f"{name}.note": watch.note}
    for each, called in packed.items():
        tvm_ffi.register_global_func(each, called)
    try:
        watched = _watched(mod, watch, name, [*values, *rows])
        machine = relax.VirtualMachine(build_for_llvm(watched), tvm.cpu())
        with np.errstate(over="ignore", invalid="ignore"):
            for call in calls:
                machine["main"](*map(tvm.runtime.tensor, call))
    finally:
        for each in packed:
            tvm_ffi.registry.remove_global_func(each)
    most = max((float(each.max(initial=0)) for each in watch.largest), default=0.0)
    if not most < -NEVER:
        raise InputError(
            f"calibration samples: a number of {most:g} inside of the model; allowed: below "
            f"{-NEVER:.0f}, and masks of {NEVER:.0f} and less"
        )
    largest = {hash(var): float(each) for var, each in zip(values, watch.largest, strict=False)}
    for var, source in same.items():
        largest[var] = largest[source]
    each_row = zip(rows, watch.largest[len(values) :], strict=True)
    return Ranges(largest, {hash(var): each for var, each in each_row})


def _same(function: relax.Function) -> dict[int, int]:
    """Return the variables that have another one's numbers, with that one, in order."""
    return {
        hash(var): hash(value.args[0])
        for var, value in bound_values(function)
        if is_float(var) and op_name(value) in SAME and isinstance(value.args[0], relax.Var)
    }


def _watched(mod: tvm.IRModule, watch: _Watch, name: str, shown: list[relax.Var]) -> tvm.IRModule:
    """Return the module that shows values where they are made, and gives nothing."""
    function = mod["main"]
    graph = Graph(function)
    numbers: dict[int, list[int]] = {}
    for number, var in enumerate(shown):
        numbers.setdefault(hash(var), []).append(number)
    bindings = []

    def show(var: relax.Var) -> None:
        for number in numbers.get(hash(var), ()):
            called = relax.ExternFunc(f"{name}.note")
            arguments = [relax.prim_value(number), var]
            seen = relax.Call(called, arguments, ty_args=[relax.AnyType()])
            bindings.append(relax.VarBinding(relax.Var("seen", relax.AnyType()), seen))

    for param in function.params:
        show(param)
    for var, value in bound_values(function):
        product, operands = _product(graph, value)
        if product is not None:
            arguments = [relax.prim_value(len(watch.products)), *operands]
            watch.products.append(product)
            computed = relax.op.call_dps_packed(f"{name}.compute", arguments, var.ty)
        bindings.append(relax.VarBinding(var, value if product is None else computed))
        show(var)
    body = relax.SeqExpr([relax.BindingBlock(bindings)], relax.Tuple([]))
    main = relax.Function(function.params, body, relax.TupleType([]), is_pure=False)
    functions = {gv: each for gv, each in mod.functions.items() if gv.name_hint != "main"}
    functions[mod.get_global_var("main")] = main.with_attr("global_symbol", "main")
    made = tvm.IRModule(functions)
    return relax.transform.Normalize()(made)


def _product(graph: Graph, value: relax.Expr) -> tuple[Product | None, list[relax.Expr]]:
    """Return what BLAS computes of a value and the operands that it's given, None if it can't."""
    name = op_name(value)
    if name == "matmul" and is_plain(value):
        return matmul, list(value.args)
    if name == "nn.conv2d" and is_plain(value) and isinstance(value.args[1], ir.GenericConst):
        attrs = value.attrs
        if (str(attrs.data_layout), str(attrs.kernel_layout)) == ("NCHW", "OIHW"):
            weight = graph.constant(value.args[1])
            assert weight is not None
            return convolution_of(value, weight), [value.args[0]]
    return None, []
