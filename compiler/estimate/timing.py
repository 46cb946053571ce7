"""Timing-only runs: what operators would cost, without a model and without data.

Each operator is scheduled and emitted as in a compiled model, with weights of which only the shape
is known (`stand_in`), and the simulator counts its cycles without computing a value.
"""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import tvm

from ...runtime.host_costs import Cost, Costs
from ...runtime.results.host import Called, HostRun, Rates, host_run
from ...runtime.results.result import RunResult, total
from ...target.arch import Arch
from ...target.formats import (
    ACTIVATION_FORMATS,
    DEFAULT_ACTIVATION,
    WEIGHT_FORMATS,
    ActivationFormat,
)
from ...target.isa.program import Function, Program
from ...target.technology import Technology, load_technology
from ..kinds.registry import emit, scheduled
from ..names import SYMBOL
from ..operators import Gemm, Operator, Quantize
from ..passes.lower import check_format, on_host
from ..tiling.tile import outlier_ways
from .products import FormatOf, parse_product
from .stand_in import FLAGGED_SHARE, check_share, stand_in_segment


@dataclass(frozen=True)
class Task:
    """One operator of what is estimated, called `count` times."""

    name: str
    operator: Operator
    count: int = 1

    @property
    def size(self) -> str:
        """The operator's extents."""
        return self.operator.size

    @property
    def weight_format(self) -> str:
        """Format of a product's weights, or that they are activations."""
        return "run time" if self.operator.two_activations else self.operator.weight_format


@dataclass(frozen=True)
class Estimate:
    """What tasks cost.

    Attributes
    ----------
    result : RunResult
        Without outputs. A call per task and repetition, in order; equal operators share a function.
    program : Program
        Its weight segments are shape-only.
    host : list of Task
        Products of two activations, where the machine takes no int8 weights
        (`passes.lower.TWO_ACTIVATIONS`): the architecture's host computes them.
    """

    tasks: list[Task]
    result: RunResult
    program: Program
    flagged_share: float
    host: list[Task] = field(default_factory=list)

    def to_json(self) -> dict:
        """Return the result, versioned, for `--json`."""
        return self.result.to_json()


def estimate(
    tasks: list[Task],
    arch: Arch,
    flagged_share: float = FLAGGED_SHARE,
    technology: str | Path | Technology | None = None,
) -> Estimate:
    """Return what tasks cost on a machine.

    Parameters
    ----------
    flagged_share : float
        Share of the weights' micro-blocks that hold an outlier, 0 to 1, where the format has any.
    technology : str, Path or Technology, optional
        For the energy; the architecture's own unless given.

    Raises
    ------
    ConfigError
        For a share outside of 0 to 1 or an unknown technology.
    UnsupportedError
        When the machine has no decoder for a weight format.
    CapacityError
        When an operator fits no tile.
    """
    check_share(flagged_share)
    table = load_technology(technology or arch.technology)
    host = [task for task in tasks if on_host(task.operator, arch)]
    tasks = [_narrowed(task, arch) for task in tasks if not on_host(task.operator, arch)]
    symbols: dict[Operator, str] = {}
    functions: dict[str, Function] = {}
    for task in tasks:
        if task.operator in symbols:
            continue
        symbol = _symbol(task.name, functions)
        symbols[task.operator] = symbol
        functions[symbol] = _function(task, symbol, arch, flagged_share)
    program = Program.for_arch(arch, functions)
    records = time_functions(program)
    calls: list[dict] = []
    for task in tasks:
        (record,) = records[symbols[task.operator]]
        calls += [{**record, "layer": task.name}] * task.count
    result = total(calls, program, table, host=_host_run(host, bool(tasks), arch))
    return Estimate(tasks, result, program, flagged_share, host)


def _narrowed(task: Task, arch: Arch) -> Task:
    """Return a product with activations as narrow as the machine's PEs ask for beside its weights.

    Nobody names an activation format here, and a code takes a byte whatever its bits.
    """
    op = task.operator
    if not isinstance(op, Gemm) or op.weight_format not in arch.weight_formats:
        return task
    most = arch.code_bits(WEIGHT_FORMATS[op.weight_format].bits)
    if most >= ACTIVATION_FORMATS[op.activation].code_bits:
        return task
    widest = max((row for row in ACTIVATION_FORMATS.values() if row.code_bits <= most), key=_bits)
    return replace(task, operator=replace(op, activation=widest.name))


def _bits(row: ActivationFormat) -> int:
    return row.bits


def _host_run(tasks: list[Task], machine: bool, arch: Arch) -> HostRun:
    """Return what products cost the host, each with work of the machine before and behind it."""
    costs = {task.name: _host_cost(task.operator) for task in tasks}
    called = [Called(task.name, task.count, 0) for task in tasks]
    handovers = 2 * (1 + sum(task.count for task in tasks)) if machine else 0
    return host_run(called, handovers, Costs(costs, {}, ()), Rates.of(arch.numbers()))


def _host_cost(product: Operator) -> Cost:
    """Return what a product of int8 operands with an fp32 result costs."""
    assert isinstance(product, Gemm)
    groups = product.batch * product.conv_groups
    operands = (product.m + product.n) * product.k
    return Cost(product.macs, product.macs, groups * (operands + 4 * product.m * product.n))


def time_functions(program: Program) -> dict[str, list[dict]]:
    """Return the records of each function's operators, by its name, from timing-only runs."""
    module = tvm.get_global_func("microscopiq.runtime.create")(program.to_bytes())
    for name in program.functions:
        module["microscopiq.time"](name)
    records: dict[str, list[dict]] = {}
    for record in json.loads(str(module["microscopiq.stats"]())):
        records.setdefault(record["function"], []).append(record)
    return records


def _function(task: Task, symbol: str, arch: Arch, flagged_share: float) -> Function:
    op = task.operator
    check_format(op, arch)
    if isinstance(op, Gemm) and len(outlier_ways(op, arch)) > 1:
        op = replace(op, flagged=flagged_share)
    segment = stand_in_segment(op, flagged_share)
    return emit(scheduled(op, arch).mod["main"], arch, symbol, task.name, segment)


def _symbol(name: str, taken: dict[str, Function]) -> str:
    symbol = base = SYMBOL + re.sub(r"\W+", "_", name)
    number = 1
    while symbol in taken:
        number += 1
        symbol = f"{base}_{number}"
    return symbol


def gemm_tasks(text: str, number: int, format_of: FormatOf) -> list[Task]:
    """Return the tasks of ``[NAME=]MxNxK[xCOUNT]``: quantization of its rows, and the product.

    Raises
    ------
    ConfigError
        As `parse_product`.
    """
    name, (m, n, k, count) = parse_product(text, number)
    op = Gemm(1, 1, m, n, k, format_of(name))
    return [Task(f"{name}.quantize", quantize_rows(m, k, op.group), count), Task(name, op, count)]


def quantize_rows(rows: int, length: int, group: int | None = None) -> Quantize:
    """Return the quantization of a product's activations at run time, in its weights' groups."""
    group = group or ACTIVATION_FORMATS[DEFAULT_ACTIVATION].group
    return Quantize(rows, length, min(length, group))
