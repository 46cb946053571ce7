"""Slices whose length TVM gives as the smaller of a size and what there is."""

import tvm
from tvm import relax, te, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_ffi import structural_map

from ..partition.graph import function_names, op_name, sized_shape, static_shape
from ..sizes import number_of, variables_in, variables_of
from ..symbolic import symbols_of
from ..tir.sizes import Extents


def with_plain_slices(mod):
    """Return the module with slices up to a size as copies of as many elements as there are.

    With the bound of the size that is what they have; TVM doesn't know, and then it loses the
    shapes of what is made of them.
    """
    functions = {
        gv: _plain(function) if isinstance(function, tirx.PrimFunc) else function
        for gv, function in mod.functions.items()
    }
    mod = tvm.IRModule(functions, attrs=mod.attrs)
    for gv in function_names(mod):
        if variables := variables_of(mod[gv]):
            change = _PlainSlices(mod, variables)
            change.builder_.update_func(gv, change.visit_expr(mod[gv]))
            found = change.builder_.get()
            mod = found.with_attrs(mod.attrs) if mod.attrs else found
    return mod


def _plain(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return a function with what is smaller for all sizes in the place of the smaller of two."""

    def smaller(expr):
        number = number_of(expr)
        if number is None:
            return expr
        return expr.a if number == number_of(expr.a) else expr.b

    return structural_map(function, (tirx.Min, smaller))


@mutator
class _PlainSlices(PyExprMutator):
    def __init__(self, mod, variables):
        super().__init__(mod)
        self.variables = variables
        self.extents = Extents(variables)

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        if op_name(call) == "call_tir":
            return self.plain_types(call)
        if op_name(call) != "strided_slice":
            return call
        call = self.builder_.normalize(call)
        shape = sized_shape(call)
        if shape is None or static_shape(call) is not None:
            return call
        axes, begin = (_numbers(each) for each in call.args[1:3])
        steps = _numbers(call.args[4]) if len(call.args) > 4 else [1] * len(axes)
        known = [each for each in (*axes, *begin, *steps) if each is not None]
        if len(known) < 3 * len(axes) or min(*begin, *steps) < 0:
            return call
        places = [(0, 1)] * len(shape)
        for axis, place in zip(axes, zip(begin, steps, strict=True), strict=True):
            places[axis] = place

        def copied(x):
            def element(*index):
                ahead = zip(index, places, strict=True)
                return x[tuple(at * step + first for at, (first, step) in ahead)]

            # TVM gives the function variables of its own for those that its argument has.
            extents = Extents(self.variables | variables_in(x.shape))
            return te.compute(extents(shape), element, name="slice")

        return self.builder_.call_te(copied, call.args[0], primfunc_name_hint="slice")

    def plain_types(self, call):
        """Return a call, such as of the check of a slice, whose results have plain extents."""
        (given,) = call.ty_args
        types = list(given.fields) if isinstance(given, relax.TupleType) else [given]
        shapes = [sized_shape(relax.Var("", each)) for each in types]
        if not any(shape is not None and symbols_of(shape) for shape in shapes):
            return call
        plain = [
            each if shape is None else relax.TensorType(self.extents(shape), str(each.dtype))
            for each, shape in zip(types, shapes, strict=True)
        ]
        return relax.call_tir(
            call.args[0], list(call.args[1].fields), plain if len(plain) > 1 else plain[0]
        )


def _numbers(fields) -> list:
    """Return numbers that are known, None for others."""
    return [int(each) if isinstance(each, tirx.IntImm) else None for each in fields.fields]
