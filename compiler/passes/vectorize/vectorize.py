"""Gives what is left of a module to the vector unit, function by function."""

import re
from collections import Counter
from dataclasses import replace

import tvm
from tvm import relax, s_tir, tirx

from ....target.arch import Arch
from ...names import CHECK, CHECKED, SYMBOL
from ...operators import ATTRIBUTE, to_attribute
from ...partition.graph import function_calls, function_names, op_name
from ..records import HostOperator, LayerRecord, read_records, with_records
from ..rewrite.gemm import LAYER
from .constants import HOST, folded
from .indices import check_of
from .legal import legalized
from .operands import Plan, Planned, follow_plans, with_operands
from .prefixes import with_prefixes
from .reference import in_order
from .refusal import Refused
from .split import stored_in
from .steps import Step, steps_of

KERNEL = "microscopiq.kernel"
"""PrimFunc attribute of functions that a pass made for the vector unit."""
PACKED = ("call_pure_packed", "call_dps_packed", "call_inplace_packed")
RUNTIME = "a function of TVM's runtime computes it"
PRODUCTS = (
    "matmul", "einsum", "attention", "conv1d", "conv2d", "conv3d", "conv1d_transpose",
    "conv2d_transpose", "conv3d_transpose",
)  # fmt: skip
OPAQUE = 8
"""TVM's pattern of a function that is fused with no other."""


def vectorize(mod: tvm.IRModule, arch: Arch) -> tvm.IRModule:
    """Return the module as PrimFuncs, those that this machine can run marked as its operators.

    Each of these computes in the unit's order what it did, so that the module on LLVM is still the
    reference. The others stay on the host, with the reason in the records.
    """
    records = read_records(mod)
    lowered = _functions(mod)
    host: list[HostOperator] = []
    layers = dict(records.layers)
    refused: dict[str, HostOperator] = {}
    plans: dict[str, Plan] = {}
    ours = {gv.name_hint for gv, each in mod.functions.items() if _is_ours(gv.name_hint, each)}
    for gv, function in lowered.functions.items():
        name = gv.name_hint
        if not isinstance(function, tirx.PrimFunc):
            continue
        if CHECKED in (function.attrs or {}):
            try:
                step, of = check_of(function, name, arch)
            except Refused as refusal:
                refused[name] = HostOperator("", CHECK, str(refusal), 1)
                continue
            params = list(function.params)
            plans[name] = Plan(params, 1, [_planned(step, name, of, layers)])
            continue
        if name in ours:
            continue
        if reason := _product_of(name, records.host):
            refused[name] = HostOperator("", _plain(name), reason, 1)
            continue
        try:
            steps = steps_of(function, name, arch)
        except Refused as refusal:
            refused[name] = HostOperator("", _plain(name), str(refusal), 1)
            continue
        if len(steps) == 1 and steps[0].operator is None:
            view = steps[0].sch.mod["main"].with_attr("global_symbol", name)
            lowered.update_func(gv, view.without_attr("global_symbol"))
            continue
        planned = []
        for number, step in enumerate(steps):
            title = name if len(steps) == 1 else f"{name}_step{number}"
            planned.append(_planned(step, title, _plain(title), layers))
            if step.reason:
                refused[title] = HostOperator("", _loops_of(step.sch), step.reason, 1)
        made = {buffer for step in planned for buffer in step.writes}
        params = list(function.params)
        plans[name] = Plan(params, sum(buffer in made for buffer in params), planned)
    lowered = follow_plans(lowered, plans)
    for gv in function_names(lowered):
        host += _not_legalized(gv.name_hint, lowered[gv], records.host)
        calls = function_calls(lowered[gv])
        for name, row in refused.items():
            if times := calls.count(name):
                host.append(row._replace(function=gv.name_hint, times=times))
    records = replace(records, layers=layers, host=tuple(host))
    attrs = dict(mod.attrs) if mod.attrs else {}
    return with_records(lowered.with_attrs(attrs), records)


def _is_ours(name: str, function) -> bool:
    """Tell whether passes made a function for the array, or for LLVM alone: not importers."""
    attrs = function.attrs or {}
    return ATTRIBUTE in attrs or (name.startswith(SYMBOL) and KERNEL not in attrs)


def _product_of(name: str, host: tuple[HostOperator, ...]) -> str:
    """Return why a fused function's product isn't on the array; empty if it has none.

    The vector unit could sum it, ever so slowly: who reads the report expects it on the array.
    """
    words = _plain(name)
    for row in host:
        operator = row.operator.rpartition(".")[2]
        if operator in PRODUCTS and operator in words:
            return row.reason
    return ""


def _planned(step: Step, name: str, layer: str, layers: dict[str, LayerRecord]) -> Planned:
    """Return the function of a step; one that the machine runs gets a row among the layers."""
    params = list(step.sch.mod["main"].params)
    stored = stored_in(step.sch.mod["main"])
    at = sum(buffer not in stored for buffer in params)
    if step.operator is None or step.tables is None:
        return Planned(name, step.sch.mod["main"], params[:at], params[at:], [])
    # TVM adds functions to the host's code, such as `shape_func`: none begins like that.
    symbol = f"{SYMBOL}{name}"
    layers[symbol] = LayerRecord(layer, "vector")
    attributes = {ATTRIBUTE: to_attribute(step.operator), LAYER: f"{len(layers)} {layer}"}
    func = with_operands(in_order(step.sch), step.tables, step.operator.outputs)
    numbers = [numbers for _, numbers in step.tables.made]
    return Planned(symbol, func.with_attrs(attributes), params[:at], params[at:], numbers)


def _loops_of(sch: s_tir.Schedule) -> str:
    """Return what the loops of a function compute, by the names that TVM gave it."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    return _plain("_".join(sch.get(block).name_hint.removeprefix("T_") for block in blocks))


def has_kernels(mod: tvm.IRModule) -> bool:
    """Tell whether a pass made functions for the vector unit."""
    return any(KERNEL in (function.attrs or {}) for function in mod.functions.values())


def _functions(mod: tvm.IRModule) -> tvm.IRModule:
    """Return the module with Relax operators as fused PrimFuncs; those that it has stay apart."""
    apart = {
        gv: function.with_attr("op_pattern", OPAQUE)
        if isinstance(function, tirx.PrimFunc)
        else function
        for gv, function in mod.functions.items()
    }
    ours = {gv.name_hint for gv in apart if isinstance(apart[gv], tirx.PrimFunc)}
    passes = tvm.transform.Sequential(
        [
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        ]
    )
    with tvm.target.Target(HOST):
        begun = with_prefixes(tvm.IRModule(apart, attrs=mod.attrs))
        legal = legalized(begun)
        return passes(folded(legal, ours))


def _not_legalized(
    name: str, function: relax.Function, host: tuple[HostOperator, ...]
) -> list[HostOperator]:
    """Return what a function still calls that is no PrimFunc: operators, and packed functions.

    The operators' reasons are known from before.
    """
    operators: set[str] = set()
    packed: Counter[str] = Counter()

    def visit(expr):
        if not isinstance(expr, relax.Call):
            return
        operators.add(op_name(expr))
        called = expr.args[0] if op_name(expr) in PACKED else expr.op
        if isinstance(called, relax.ExternFunc):
            packed[str(called.global_symbol).rpartition(".")[2]] += 1

    relax.analysis.post_order_visit(function, visit)
    rows = [row for row in host if row.function == name and row.operator in operators]
    return rows + [HostOperator(name, each, RUNTIME, times) for each, times in packed.items()]


def _plain(name: str) -> str:
    """Return a fused function's name as the operators that it had."""
    return re.sub(r"\d+(?=_|$)", "", name.removeprefix("fused_"))
