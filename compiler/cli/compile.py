"""The command `microscopiq compile`: from a model to a library that holds its program."""

import enum
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding

from ...runtime.whole_file import make_folder
from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError
from ..files import check_database_folder, check_library_path
from ..options import STAGES
from .checks import check_input, check_names
from .inputs import InputShape, InputValue, MaxSize, loading, ways_of
from .interrupts import importing
from .layers import print_host, print_layers
from .options import ArchName, Json, Recipe
from .sheet import Sheet
from .sizes import bounds_of, program_sizes
from .tables import new_console, print_facts, print_table, say
from .weights import TITLE, notes, weight_sheet

Stage = enum.Enum("Stage", {name: name for name in STAGES})


def compile_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path of an .onnx file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.so", help="Library to write (.so or .tar)."),
    ] = None,
    input_shape: InputShape = None,
    input_value: InputValue = None,
    max_size: MaxSize = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the fp32 import with ONNX Runtime.")
    ] = False,
    recipe: Recipe = None,
    arch: ArchName = DEFAULT_ARCH,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="X.npz", help="Samples of the inputs: arrays by name, as in `run`."),
    ] = None,
    calibration_cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what was gathered from the samples, for next time."),
    ] = None,
    sequential: Annotated[
        bool,
        typer.Option(
            help="Calibrate each layer on what the quantized layers before it give: slower, better."
        ),
    ] = True,
    dump_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a file per stage to this folder.")
    ] = None,
    stop_after: Annotated[
        Stage | None, typer.Option(metavar="STAGE", help=f"Last stage: {', '.join(STAGES)}.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if a matmul or conv2d stays on the host.")
    ] = False,
    vector: Annotated[
        bool,
        typer.Option("--vector/--no-vector", help="The vector unit too."),
    ] = True,
    graph: Annotated[bool, typer.Option("--graph/--no-graph", help="One program a graph.")] = True,
    outliers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[L=]WAY",
            help="auto, recon, replay.",
        ),
    ] = None,
    tuning_db: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Schedules that `tune` found, by its work folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Quantize and compile a model to a library that holds its program."""
    if output is None and stop_after is None:
        raise ConfigError("compile needs an output file: -o OUT.so (or --stop-after STAGE)")
    if calibration_cache is not None and calibration is None:
        raise ConfigError("--calibration-cache needs samples: --calibration X.npz")
    source = loading(model, input_shape, input_value, max_size)
    ways = ways_of(outliers)
    check_names([recipe] if recipe else [], arch)
    check_input(calibration)
    if tuning_db is not None:
        check_database_folder(tuning_db)
    if stop_after is None and output is not None:
        check_library_path(output)
    for folder in (dump_dir, calibration_cache):
        if folder is not None:
            make_folder(folder)
    with importing():
        from ..api import Calibration, export_library
        from ..driver import compile_model, run_stages
        from ..frontend.load import load_model
        from ..options import Options
        from .arrays import read_samples
        from .progress import StageBars
    with StageBars() as bars:
        stop = stop_after.value if stop_after else None
        mod = load_model(**source, check=check, dump_dir=dump_dir)
        samples = None
        if calibration is not None:
            samples = Calibration(
                read_samples(calibration, mod),
                cache_dir=calibration_cache,
                sequential=sequential,
            )
        options = Options(
            recipe, arch, dump_dir, stop, strict, bars, samples, tuning_db, vector, graph,
            outliers=ways,
        )  # fmt: skip
        if stop or output is None:
            state = run_stages(mod, options)
        else:
            state = compile_model(mod, options)
            export_library(state.executable, output)
    written = None if stop else output
    if as_json:
        if warning := _idle_array(state):
            print(f"warning: {warning}", file=sys.stderr)
        print(json.dumps(compilation_record(model, state, written)))
    else:
        print_compilation(model, state, written)
        if check:
            say(new_console(), "The imported module computes what ONNX Runtime does")


def print_compilation(model: str, state, output: Path | None) -> None:
    """Print what became of a model: layers, program size, host operators, output."""
    from ..frontend.outputs import output_names
    from ..passes.records import recipe_of

    console = new_console()
    if warning := _idle_array(state):
        say(console, f"Warning: {warning}")
    stop, folder = state.options.stop_after, state.options.dump_dir
    done = f"stopped after {stop}" if stop else f"compiled for {state.arch.name}"
    if state.quantized is not None:
        done += f" by recipe {recipe_of(state.quantized)[0]}"
    say(console, f"{model}: {done}" + (f", stages in {folder}" if folder else ""))
    if state.quantized is not None:
        # Without replay there is nothing to say: ReCoN merges all.
        ways = state.outlier_ways if state.arch.replay_columns else {}
        print_layers(console, state.layers, ways)
        _print_weights(console, state)
        print_host(console, state.host)
    if state.program is not None:
        sizes = program_sizes(state.program)
        rows = [
            ("Functions", f"{sizes['functions']:,}", ""),
            ("Instructions", f"{sizes['instruction_bytes']:,}", "bytes"),
            ("Weights", f"{sizes['weight_bytes']:,}", "bytes"),
        ]
        rows += [
            (f"Size '{name}'", f"{least:,} to {most:,}", "")
            for name, (least, most) in bounds_of(state.mod).items()
        ]
        print_facts(console, rows, "Program")
        _print_memory(console, state)
    for function, names in output_names(state.mod).items():
        say(console, f"Outputs of {function}: {', '.join(names)}")
    if output is not None:
        console.print(f"Wrote {output} ({output.stat().st_size:,} bytes)", soft_wrap=True)
    elif not folder:
        console.print("Wrote nothing: --dump-dir DIR keeps what the stages made")


def compilation_record(model: str, state, output: Path | None) -> dict:
    """Return what `print_compilation` prints as JSON has it."""
    from ..frontend.outputs import output_names
    from ..passes.records import recipe_of
    from ..weight_report import weight_report

    quantized = state.quantized
    return {
        "model": model,
        "architecture": state.arch.name,
        "recipe": recipe_of(state.quantized)[0] if state.quantized is not None else None,
        "stopped_after": state.options.stop_after,
        "weights": weight_report(quantized) if quantized is not None else None,
        "outlier_ways": state.outlier_ways,
        "host": state.host if quantized is not None else None,
        "program": program_sizes(state.program) if state.program is not None else None,
        "sizes": bounds_of(state.mod),
        "memory": _memory(state),
        "outputs": output_names(state.mod),
        "output": str(output) if output is not None else None,
        "warning": _idle_array(state),
    }


def _idle_array(state) -> str | None:
    """Return what to warn of when no layer runs on the array, and why; None when one does."""
    if state.quantized is None or state.layers:
        return None
    reasons = dict.fromkeys(f"{row.operator}: {row.reason}" for row in state.host)
    return "nothing of this model runs on the array: " + (
        "; ".join(reasons) or "it has no operators"
    )


def _memory(state) -> dict | None:
    """Return the memory plan, None without a program."""
    from ..memory_plan import memory_plan

    if state.program is None:
        return None
    return memory_plan(state.program, state.runs, state.arch)


def _print_memory(console: Console, state) -> None:
    """Print the peak of each memory, and what takes most of it."""
    from ..memory_plan import largest

    plan = _memory(state)
    assert plan is not None
    rows = []
    for memory, peak in plan["peaks"].items():
        most = largest(plan, memory)
        what = f"{most['layer'] or most['function']}: {most['tensor']}" if most else ""
        size = f"{most['size']:,}" if most else ""
        capacity = peak.get("capacity_bytes")
        rows.append(
            [memory, f"{peak['peak_bytes']:,}", f"{capacity:,}" if capacity else "", what, size]
        )
    print_table(console, Sheet(["memory", "peak bytes", "of", "part", "bytes"], rows), "Memory")


def _print_weights(console: Console, state) -> None:
    """Print what quantization did to each layer's weights."""
    # It loads TVM, which no help needs.
    from ..weight_report import weight_report

    report = weight_report(state.quantized)
    if report["layers"]:
        print_table(console, weight_sheet(report), TITLE)
        console.print(Padding(notes(report), (0, 0, 1, 2), expand=False))
