"""What the command line prints on stdout: summaries and tables, at most 100 columns wide."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ...target.arch import arch_names, load_arch
from ...target.area import COMPUTE, Part, compute_um2
from ...target.formats import WEIGHT_FORMATS
from ...target.isa.program import Function, Program
from ...target.technology import load_technology, technology_names
from ..quant.recipe import load_recipe, recipe_names

MAX_WIDTH = 100
BAR_WIDTH = 12


def print_demo(result) -> None:
    """Print a `DemoResult`."""
    from ..demo.run import LISTING, TITLES

    console, run, images = _console(), result.run, result.images
    state = result.compilation
    _say(
        console,
        f"Quantized the digits {TITLES[result.model]} with {result.recipe}, compiled it for "
        f"{state.arch.name}, and ran all {images} held-out images on the simulator "
        f"({result.seconds:.0f} s).",
    )
    rows = [
        ("Accuracy", _percent(result.correct, images), f"on the array: {result.correct} of "
         f"{images} images"),
        ("", _percent(result.correct_fp32, images), f"in fp32 on LLVM, not quantized: "
         f"{result.correct_fp32} of {images}"),
        ("Agreement", _percent(result.agreeing, images), f"same prediction for "
         f"{result.agreeing} of {images} images"),
        ("Weights", f"{result.bits_per_weight:.2f} bits", f"each of {result.weights:,} weights, "
         "from all their packed bytes"),
    ]  # fmt: skip
    rows += _cost_rows(run, state.program, images)
    _print_facts(console, rows)
    _print_units(console, run)
    _print_host(console, state.host)
    _print_facts(
        console,
        [
            ("Listing", "", str(result.folder / LISTING)),
            ("Numbers", "", str(result.folder / "result.json")),
        ],
        "Files",
    )


def print_compilation(model: str, state, output: Path | None) -> None:
    """Print what became of a model: layers, program size, host operators, output."""
    console = _console()
    stop, folder = state.options.stop_after, state.options.dump_dir
    done = f"stopped after {stop}" if stop else f"compiled for {state.arch.name}"
    _say(console, f"{model}: {done}" + (f", stages in {folder}" if folder else ""))
    if state.quantized is not None:
        _print_layers(console, state.layers)
        _print_weights(console, state)
        _print_host(console, state.host)
    if state.program is not None:
        sizes = _program_sizes(state.program)
        rows = [
            ("Functions", f"{sizes['functions']:,}", ""),
            ("Instructions", f"{sizes['instruction_bytes']:,}", "bytes"),
            ("Weights", f"{sizes['weight_bytes']:,}", "bytes"),
        ]
        _print_facts(console, rows, "Program")
    if output is not None:
        console.print(f"Wrote {output} ({output.stat().st_size:,} bytes)")
    elif not folder:
        console.print("Wrote nothing: --dump-dir DIR keeps what the stages made")


def compilation_record(model: str, state, output: Path | None) -> dict:
    """Return what `print_compilation` prints as JSON has it."""
    from ..weight_report import weight_report

    quantized = state.quantized
    return {
        "model": model,
        "architecture": state.arch.name,
        "recipe": load_recipe(state.options.recipe).name,
        "stopped_after": state.options.stop_after,
        "weights": weight_report(quantized) if quantized is not None else None,
        "host": state.host if quantized is not None else None,
        "program": _program_sizes(state.program) if state.program is not None else None,
        "output": str(output) if output is not None else None,
    }


def _program_sizes(program: Program) -> dict[str, int]:
    functions = program.functions.values()
    return {
        "functions": len(functions),
        "instruction_bytes": sum(map(_code_bytes, functions)),
        "weight_bytes": sum(map(_weight_bytes, functions)),
    }


def print_run(result, program: Program | None, files: list[Path | None]) -> None:
    """Print a `RunResult` and the files that were written, None for one that wasn't."""
    console = _console()
    if program is None or not result.calls:
        console.print("Nothing ran on the array: all operators of this model are on the host.\n")
    else:
        _print_facts(console, _cost_rows(result, program), f"On {program.arch_name}")
        _print_units(console, result)
        _print_energy(console, result)
    rows = [
        (f"out{index}", str(array.dtype), "x".join(map(str, array.shape)) or "scalar")
        for index, array in enumerate(result.outputs)
    ]
    if rows:
        _print_facts(console, rows, "Outputs")
    for file in files:
        if file is not None:
            console.print(f"Wrote {file}")


def print_estimate(estimate) -> None:
    """Print an `Estimate`: the whole, and each operator."""
    console, result = _console(), estimate.result
    _say(
        console,
        f"{len(result.calls):,} operators one after the other on {estimate.program.arch_name}, "
        "timed without data. Where a weight format has outliers, "
        f"{100 * estimate.flagged_share:g} % of the micro-blocks hold one; what runs on the host "
        "costs nothing here.",
    )
    _print_facts(console, _cost_rows(result, estimate.program))
    _print_units(console, result)
    _print_energy(console, result)
    table = _table("operator", "size", "format", "calls", "cycles", "%", "MACs/cycle")
    calls = iter(result.calls)
    for task in estimate.tasks:
        call = next(calls)
        cycles = call["cycles"] * task.count
        for _ in range(task.count - 1):
            next(calls)
        share = f"{100 * cycles / result.cycles:.1f}"
        each = f"{call['macs'] / call['cycles']:,.0f}" if call["macs"] else ""
        numbers = (f"{task.count:,}", f"{cycles:,}", share, each)
        table.add_row(task.name, task.size, task.weight_format, *numbers)
    _print_table(console, table, "Operators")
    for task in estimate.host:
        console.print(f"On the host, because the array has no int8: {task.name} {task.size}")


def print_functions(program: Program, only: str | None) -> None:
    """Print a table of a program's functions, or of one."""
    console = _console()
    table = _table("function", "layer", "MACs", "code bytes", "weight bytes")
    for name, function in program.functions.items():
        if only in (None, name):
            sizes = (function.macs, _code_bytes(function), _weight_bytes(function))
            table.add_row(name, function.layer, *(f"{size:,}" for size in sizes))
    _print_table(console, table)


def print_area(arch, technology, parts: list[Part], peaks: dict[str, dict]) -> None:
    """Print the area of a machine by part, and what it does on its compute area at most."""
    console = _console()
    _say(console, f"{arch.name} in {technology.name}: {technology.description}")
    whole = sum(part.um2 for part in parts)
    table = _table("component", "part", "count", "um2 each", "um2", "%", "share")
    for part in parts:
        share = part.um2 / whole
        numbers = (f"{part.count:,}", f"{part.entry.value:,g}", f"{part.um2:,.2f}")
        bar = "█" * round(BAR_WIDTH * share)
        table.add_row(part.component, part.name, *numbers, f"{100 * share:.1f}", bar)
    _print_table(console, table, "Area")
    compute = compute_um2(parts)
    rows = [
        ("Compute", f"{compute / 1e6:.4g} mm2", f"{', '.join(COMPUTE)}"),
        ("All", f"{whole / 1e6:.4g} mm2", ""),
    ]
    for name, peak in peaks.items():
        note = f"{name} at most, {peak['tops']:,.4g} TOPS on the compute area"
        rows.append(("", f"{peak['tops_per_mm2']:,.4g} TOPS/mm2", note))
    _print_facts(console, rows)
    sources = _table("part", "source of its area")
    for name, source in {part.name: part.entry.source for part in parts}.items():
        sources.add_row(name, source)
    _print_table(console, sources)


def print_listing(what: str) -> None:
    """Print the recipes, formats, archs, technologies or passes that there are, a line each."""
    table = _table()
    if what == "recipes":
        rows = [(name, load_recipe(name).description) for name in recipe_names()]
    elif what == "archs":
        rows = [(name, load_arch(name).description) for name in arch_names()]
    elif what == "technologies":
        rows = [(name, load_technology(name).description) for name in technology_names()]
    elif what == "formats":
        rows = [(row.name, row.description) for row in WEIGHT_FORMATS.values()]
    else:
        from ..driver import RUN

        rows = [(name, stage.__doc__ or "") for name, stage in RUN.items()]
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    console.width = min(console.width, MAX_WIDTH) if console.is_terminal else MAX_WIDTH
    return console


def _say(console: Console, text: str) -> None:
    console.print(text, style="bold")
    console.print()


def _table(*headers: str) -> Table:
    """Return a table; columns whose header says what they count are right-aligned."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_header=bool(headers),
    )
    text = (
        *("", "function", "layer", "kind", "format", "operator", "size", "why", "unit", "share"),
        *("component", "part", "source of its area"),
    )
    for header in headers:
        justify = "left" if header in text else "right"
        table.add_column(header, justify=justify, overflow="fold")
    return table


def _print_table(console: Console, table: Table, title: str = "") -> None:
    if title:
        console.print(title, style="bold")
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    console.print()


def _print_facts(console: Console, rows: list[tuple[str, str, str]], title: str = "") -> None:
    """Print rows of (what, value, note)."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    _print_table(console, table, title)


def _cost_rows(run, program: Program, images: int = 0) -> list[tuple[str, str, str]]:
    """Return what a run cost, and per image if there are images."""
    clock = program.arch_numbers["clock_mhz"]
    per_image = f"{run.cycles / images:,.0f} per image" if images else ""
    time_per_image = f"{_time(run.seconds / images)} per image, " if images else ""
    moved = f"{_bytes(run.bytes_moved['read'])} read, {_bytes(run.bytes_moved['written'])} written"
    energy = sum(run.energy_pj.values())
    watts = energy * 1e-12 / run.seconds if run.seconds else 0.0
    each = f"{energy / run.macs:.3g} pJ per multiply-accumulate, " if run.macs else ""
    return [
        ("Cycles", f"{run.cycles:,}", per_image),
        ("Time", _time(run.seconds), f"{time_per_image}at {clock:,} MHz"),
        ("Utilisation", _percent(run.macs, run.macs / run.utilisation if run.utilisation else 0),
         f"of peak, for {run.macs:,} multiply-accumulates"),
        ("Traffic", _bytes(sum(run.bytes_moved.values())), f"off chip: {moved}"),
        ("Energy", _energy(energy), f"{each}{watts:.3g} W on average, dynamic"),
    ]  # fmt: skip


def _print_units(console: Console, run) -> None:
    """Print where each unit's cycles went."""
    # The runtime loads tvm_ffi, which no listing needs.
    from .units import TITLE, unit_table

    _print_table(console, unit_table(run.unit_cycles), TITLE)


def _print_energy(console: Console, run) -> None:
    """Print the dynamic energy by component."""
    whole = sum(run.energy_pj.values())
    table = _table("component", "energy", "%", "share")
    for component, value in run.energy_pj.items():
        share = value / whole if whole else 0.0
        bar = "█" * round(BAR_WIDTH * share)
        table.add_row(component, _energy(value), f"{100 * share:.1f}", bar)
    _print_table(console, table, "Energy by component, dynamic")


def _print_layers(console: Console, layers: dict[str, dict]) -> None:
    """Print the accelerated layers by kind and weight format, and what their outliers cost."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in layers.values():
        groups.setdefault((row["kind"], row.get("weight_format", "")), []).append(row)
    headers = ["kind", "format", "layers", "MACs", "weights", "weight bytes", "bits/weight"]
    calibrated = any("held_out_error" in row for row in layers.values())
    table = _table(*headers, *["held-out error"] * calibrated)
    for (kind, name), rows in groups.items():
        macs, weights, packed = (
            sum(row.get(key, 0) for row in rows) for key in ("macs", "weights", "weight_bytes")
        )
        numbers = [f"{value:,}" if value else "" for value in (macs, weights, packed)]
        bits = f"{8 * packed / weights:.2f}" if weights else ""
        errors = [_held_out_error(rows)] * calibrated
        table.add_row(kind, name, f"{len(rows):,}", *numbers, bits, *errors)
    if groups:
        _print_table(console, table, "On the array")
    else:
        console.print("Nothing of this model runs on the array.\n")
    counts = [row["counts"] for row in layers.values() if "second_passes" in row.get("counts", {})]
    if counts:
        kept, flagged, again = (
            f"{sum(count[key] for count in counts):,}"
            for key in ("pruned", "flagged", "second_passes")
        )
        facts = [
            ("Kept", kept, f"in {flagged} micro-blocks, each beside a pruned slot"),
            ("Second passes", again, "micro-blocks that ReCoN can't route in one pass"),
        ]
        _print_facts(console, facts, "Outliers")


def _print_weights(console: Console, state) -> None:
    """Print what quantization did to each layer's weights."""
    # Both load TVM, which no listing needs.
    from ..weight_report import weight_report
    from .weights import TITLE, notes, weight_table

    report = weight_report(state.quantized)
    if report["layers"]:
        _print_table(console, weight_table(report), TITLE)
        console.print(Padding(notes(report), (0, 0, 1, 2), expand=False))


def _held_out_error(rows: list[dict]) -> str:
    """Return the mean over layers of the share of the output's power that quantization lost."""
    known = [row["held_out_error"] for row in rows if row.get("held_out_error") is not None]
    return f"{100 * sum(known) / len(known):.3g} %" if known else ""


def _print_host(console: Console, host: list[list]) -> None:
    """Print what runs on the host, over all functions of the model."""
    counted: dict[tuple[str, str], int] = {}
    for _function, name, reason, count in host:
        counted[name, reason] = counted.get((name, reason), 0) + count
    table = _table("count", "operator", "why")
    for (name, reason), count in sorted(counted.items(), key=lambda item: -item[1]):
        table.add_row(f"{count:,}", name, reason)
    if counted:
        _print_table(console, table, "On the host")


def _code_bytes(function: Function) -> int:
    return sum(len(instruction.encode()) for instruction in function.code)


def _weight_bytes(function: Function) -> int:
    return len(function.weights)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0.0:.2f} %"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _energy(picojoules: float) -> str:
    for unit, scale in (("J", 1e12), ("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3)):
        if picojoules >= scale:
            return f"{picojoules / scale:.3g} {unit}"
    return f"{picojoules:.3g} pJ"


def _bytes(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"
