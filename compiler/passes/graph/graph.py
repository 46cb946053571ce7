"""Replaces each run of calls of the program by a call of one function that does the same."""

import tvm
from tvm import relax

from ....target.arch import Arch
from ....target.errors import IsaError
from ....target.isa.program import Function
from ...emit.state import Room
from ...link.calls import Call, Runs
from ...link.join import join
from ...link.places import Source, keep, rooms
from ...partition.graph import function_names, static_shape
from .chains import Chain, Results, chained
from .runs import Run, called, runs, viewed
from .tensors import bind, readers_of


def one_program(
    mod: tvm.IRModule, arch: Arch, emitted
) -> tuple[tvm.IRModule, dict[str, Function], Runs]:
    """Return the module that calls a function for each run, the program's functions, and the runs.

    Parameters
    ----------
    emitted : passes.lower.Emitted
        The functions of single operators; it emits them again where a run has room for them.
    """
    joined = _Joined(mod, arch, emitted)
    for gv in function_names(mod):
        mod.update_func(gv, joined.function(mod[gv], gv.name_hint))
    kept = {name: function for name, function in emitted.functions.items() if name in joined.single}
    return mod, {**kept, **joined.functions}, joined.runs


class _Joined:
    """The functions of runs, and which of single operators are still called."""

    def __init__(self, mod: tvm.IRModule, arch: Arch, emitted):
        self.mod, self.arch, self.emitted = mod, arch, emitted
        self.functions: dict[str, Function] = {}
        self.runs: dict[str, tuple[Call, ...]] = {}
        self.single: set[str] = set()
        self.builder = relax.BlockBuilder()

    def function(self, function: relax.Function, name: str) -> relax.Function:
        """Return a function of the module that calls runs."""
        body = function.body
        blocks = [
            relax.DataflowBlock(self.bindings(block.bindings, function, name))
            if isinstance(block, relax.DataflowBlock)
            else self.untouched(block)
            for block in body.blocks
        ]
        changed = relax.SeqExpr(blocks, body.body)
        relax.expr._update_type(changed, body.body.ty)
        return relax.Function(
            function.params, changed, function.ret_ty, function.is_pure, function.attrs
        )

    def untouched(self, block):
        for binding in block.bindings:
            self.note(binding)
        return block

    def note(self, binding) -> None:
        """Note what a binding calls by itself, branches and all."""

        def visit(expr):
            if isinstance(expr, relax.ExternFunc):
                self.single.add(str(expr.global_symbol))

        relax.analysis.post_order_visit(binding.value, visit)

    def bindings(self, bindings, function: relax.Function, name: str) -> list:
        """Return the bindings of a block with its runs as calls."""
        # One of sizes that a call decides stays by itself: a workspace has places for known ones.
        functions = self.emitted.functions.items()
        program = {name for name, function in functions if not function.sizes}
        steps = runs(
            list(bindings),
            lambda binding: bool(called(binding, program)),
            lambda binding: viewed(binding, self.mod) is not None,
        )
        found: list = []
        for step in steps:
            if isinstance(step, Run):
                found += self.cut(step.bindings, function, name)
            else:
                self.note(step)
                found.append(step)
        return found

    def cut(self, bindings: list, function: relax.Function, name: str) -> list:
        """Return a run as a call, or as several where one function can't have so much."""
        calls = [at for at, each in enumerate(bindings) if called(each, self.emitted.functions)]
        if len(calls) < 2:
            for each in bindings:
                self.note(each)
            return bindings
        try:
            return self.call(bindings, function, f"{name}_run{len(self.functions)}")
        except IsaError:
            half = calls[len(calls) // 2]
            return self.cut(bindings[:half], function, name) + self.cut(
                bindings[half:], function, name
            )

    def call(self, bindings: list, function: relax.Function, symbol: str) -> list:
        """Return the bindings of a run's call and of what is read of it."""
        chains: list[Chain] = []
        given: list[list] = []
        before: list = []
        sources: dict[relax.Var, Source] = {}
        for binding in bindings:
            if symbol_of := called(binding, self.emitted.functions):
                sources[binding.var] = (len(chains), 0)
                chains.append(Chain(symbol_of))
                given.append(list(binding.value.args[1].fields))
            elif (viewed_var := viewed(binding, self.mod)) in sources:
                sources[binding.var] = _source(binding, sources[viewed_var])
            else:  # of what an earlier piece of the run made
                before.append(binding)
        bindings = [binding for binding in bindings if binding.var in sources]
        outside, wanted = self.outside(bindings, function, sources)
        made = chained(Results(chains, given, sources, outside), self.can)
        chains, given, sources, outside = made.chains, made.given, made.sources, made.outside
        functions = [self.emit(chain) for chain in chains]
        readers = readers_of(given, sources)
        places = rooms(keep(functions, readers, self.arch), readers, set(outside))
        moved = [self.emit(chain, room) for chain, room in zip(chains, places, strict=True)]
        bound = bind(moved, given, sources, outside, places)
        calls = [
            Call(function, tensors, self.of(chain), chain.argument)
            for function, tensors, chain in zip(moved, bound.calls, chains, strict=True)
        ]
        self.functions[symbol] = join(symbol, bound.arguments, calls)
        self.runs[symbol] = tuple(calls)
        return before + self.call_bindings(symbol, bound, bindings, wanted, sources)

    def can(self, chain: Chain) -> bool:
        """Tell whether two operators can be one function."""
        return self.emitted.then(chain.first, chain.second, chain.argument) is not None

    def emit(self, chain: Chain, room: Room | None = None) -> Function:
        """Return the function of an operator, or of one and what takes its tiles on."""
        if chain.second:
            return self.emitted.then(chain.first, chain.second, chain.argument, room)
        if room is None:
            return self.emitted.functions[chain.first]
        return self.emitted.at(chain.first, room)

    def of(self, chain: Chain) -> tuple[Function, ...]:
        """Return the functions that a chain does the work of."""
        names = (chain.first, chain.second) if chain.second else (chain.first,)
        return tuple(self.emitted.functions[name] for name in names)

    def outside(self, bindings: list, function: relax.Function, sources: dict):
        """Return the results that are read outside, and the variables by which they are."""
        own = {binding.var for binding in bindings}
        read: set = set(relax.analysis.free_vars(function.body.body))
        for block in function.body.blocks:
            for binding in block.bindings:
                if binding.var not in own:
                    read |= set(relax.analysis.free_vars(binding.value))
        wanted = {var for var in own if var in read}
        # A variable of several results is none itself: they are.
        found: dict[Source, None] = {}
        for binding in bindings:
            if binding.var in wanted:
                count = _results(binding.var)
                call, first = sources[binding.var]
                found |= dict.fromkeys((call, first + index) for index in range(count))
        return list(found), wanted

    def call_bindings(self, symbol: str, bound, bindings: list, wanted: set, sources: dict) -> list:
        types = [_type(argument) for argument in bound.arguments if argument.is_output]
        types = types if len(types) > 1 else types[0]
        call = relax.op.call_dps_packed(symbol, bound.inputs, types)
        call = self.builder.normalize(call)
        result = relax.DataflowVar(symbol, call.ty)
        found = [relax.VarBinding(result, call)]
        single = not isinstance(types, list)
        items = {}
        for index, source in enumerate(bound.outputs):
            value = result if single else relax.TupleGetItem(result, index)
            value = self.builder.normalize(value)
            items[source] = relax.DataflowVar(f"{symbol}_{index}", value.ty)
            found.append(relax.VarBinding(items[source], value))
        return found + [
            relax.VarBinding(var, self.value(var, items, sources))
            for var in _in_order(bindings, wanted)
        ]

    def value(self, var, items: dict, sources: dict):
        """Return a variable's value from what the run's call returns."""
        call, first = sources[var]
        if isinstance(var.ty, relax.TupleType):
            fields = [items[(call, first + index)] for index in range(_results(var))]
            return self.builder.normalize(relax.Tuple(fields))
        item = items[(call, first)]
        if static_shape(item) == static_shape(var):
            return item
        return self.builder.normalize(relax.op.reshape(item, var.ty.shape))


def _in_order(bindings: list, wanted: set) -> list:
    return [binding.var for binding in bindings if binding.var in wanted]


def _results(var) -> int:
    return len(var.ty.fields) if isinstance(var.ty, relax.TupleType) else 1


def _source(binding, source: Source) -> Source:
    """Return the result that a view's bytes are of."""
    call, first = source
    value = binding.value
    return (call, first + int(value.index)) if isinstance(value, relax.TupleGetItem) else source


def _type(argument) -> relax.TensorType:
    return relax.TensorType(argument.shape, argument.dtype)
