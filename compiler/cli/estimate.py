"""The command `microscopiq estimate`: cycles of operators that are only described."""

import json
from typing import Annotated

import typer

from ...target.arch import DEFAULT_ARCH, load_arch
from ...target.errors import ConfigError
from ..estimate.presets import PRESETS, check_tokens, load_preset
from ..estimate.products import parse_product, weight_formats
from ..estimate.stand_in import FLAGGED_SHARE, check_share
from ..quant.defaults import recipe_for
from ..quant.recipe import DEFAULT_RECIPE
from .checks import check_names
from .costs import cost_rows, print_energy, print_units
from .interrupts import importing
from .options import ArchName, Json, Recipe, TechnologyName
from .sheet import Sheet
from .tables import new_console, print_facts, print_table, say

DEFAULT_TOKENS = 2048


def estimate(
    gemm: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MxNxK[xCOUNT]", help="A matrix product; may be repeated."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Part of a model: {', '.join(PRESETS)}.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help=f"Tokens that a preset reads at once; {DEFAULT_TOKENS} if not given."),
    ] = None,
    recipe: Recipe = None,
    weight_format: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Weight format, if not the recipe's."),
    ] = None,
    arch: ArchName = DEFAULT_ARCH,
    flagged_share: Annotated[
        float,
        typer.Option(metavar="0..1", help="Share of micro-blocks with outliers, if any has some."),
    ] = FLAGGED_SHARE,
    technology: TechnologyName = None,
    as_json: Json = False,
) -> None:
    """Count the cycles of operators on a machine without a model and without data."""
    if not gemm and not preset:
        raise ConfigError("estimate needs operators: --preset NAME or --gemm MxNxK")
    if tokens is not None and not preset:
        raise ConfigError(f"--tokens {tokens} is of a preset; a product's rows are the M of MxNxK")
    rows = DEFAULT_TOKENS if tokens is None else tokens
    check_names(arch=arch, technology=technology)
    check_share(flagged_share)
    check_tokens(rows)
    named = recipe or (DEFAULT_RECIPE if weight_format else recipe_for(load_arch(arch)))
    format_of = weight_formats(named, weight_format)
    decoder = load_preset(preset) if preset else None
    for number, text in enumerate(gemm or []):
        parse_product(text, number)
    with importing():
        from ..estimate.decoder_layer import decoder_tasks
        from ..estimate.timing import estimate as run_estimate
        from ..estimate.timing import gemm_tasks
    tasks = decoder_tasks(decoder, rows, format_of) if decoder else []
    for number, text in enumerate(gemm or []):
        tasks += gemm_tasks(text, number, format_of)
    result = run_estimate(tasks, load_arch(arch), flagged_share, technology)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_estimate(result)


def print_estimate(estimate) -> None:
    """Print an `Estimate`: the whole, and each operator."""
    console, result = new_console(), estimate.result
    say(
        console,
        f"{len(result.calls):,} operators one after the other on {estimate.program.arch_name}, "
        "timed without data. Where a weight format has outliers, "
        f"{100 * estimate.flagged_share:g} % of the micro-blocks hold one. Of what runs on "
        "the host, only the products named below are in it.",
    )
    print_facts(console, cost_rows(result, estimate.program))
    print_units(console, result)
    print_energy(console, result)
    rows = []
    calls = iter(result.calls)
    for task in estimate.tasks:
        call = next(calls)
        cycles = call["cycles"] * task.count
        for _ in range(task.count - 1):
            next(calls)
        share = f"{100 * cycles / result.cycles:.1f}"
        each = f"{call['macs'] / call['cycles']:,.0f}" if call["macs"] else ""
        numbers = (f"{task.count:,}", f"{cycles:,}", share, each)
        rows.append((task.name, task.size, task.weight_format, *numbers))
    headings = ("operator", "size", "format", "calls", "cycles", "%", "MACs/cycle")
    print_table(console, Sheet(headings, rows), "Operators")
    for task in estimate.host:
        console.print(f"On the host, because the array has no int8: {task.name} {task.size}")
