"""The command `microscopiq`: what the library does, for a shell.

Exit codes: 0 ok, 2 the user's mistake (any `MicroscopiqError`), 3 an internal error.
"""

import enum
import json
import os
import platform
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ... import __version__
from ...target.arch import DEFAULT_ARCH
from ...target.errors import ConfigError, MicroscopiqError
from ..options import STAGES
from ..quant.recipe import DEFAULT_RECIPE
from . import estimate as cli_estimate
from . import study as cli_study
from . import tune as cli_tune
from .files import Layers, Roofline, Trace, check_paths, write_reports
from .options import ArchName, Json, Recipe, TechnologyName

# TVM takes seconds to import: every command imports what it needs itself.

EXIT_USER, EXIT_INTERNAL = 2, 3
DEBUG = "MICROSCOPIQ_DEBUG"

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")

Library = Annotated[Path, typer.Argument(metavar="OUT.so", help="What `compile` wrote.")]


class DemoModel(str, enum.Enum):
    """Models that come with the package."""

    vit = "vit"
    cnn = "cnn"


class Mode(str, enum.Enum):
    """Modes of a session; importing its own list would cost every command a second."""

    fast = "fast"
    structural = "structural"


LISTINGS = ("recipes", "formats", "archs", "technologies", "passes")
Listing = enum.Enum("Listing", {name: name for name in LISTINGS})
Stage = enum.Enum("Stage", {name: name for name in STAGES})


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"microscopiq {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Quantize a model, compile it for an outlier-aware systolic array, simulate it exactly."""


@app.command()
def demo(
    model: Annotated[DemoModel, typer.Option(help="Model that comes with the package.")] = (
        DemoModel.vit
    ),
    recipe: Recipe = DEFAULT_RECIPE,
    arch: ArchName = DEFAULT_ARCH,
    as_json: Json = False,
) -> None:
    """Compile a small trained model and run it on images it hasn't seen."""
    from ..demo.run import run_demo
    from .progress import StageBars
    from .report import print_demo

    with StageBars() as bars:
        result = run_demo(model.value, recipe, arch, Path("microscopiq-demo"), bars)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_demo(result)


@app.command(
    "compile",
    epilog="Example: [bold]microscopiq compile model.onnx -o model.so "
    "--recipe microscopiq-w4a8[/bold]",
)
def compile_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path of an .onnx file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.so", help="Library to write (.so or .tar)."),
    ] = None,
    recipe: Recipe = DEFAULT_RECIPE,
    arch: ArchName = DEFAULT_ARCH,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="X.npz", help="Samples of the model's inputs: arrays by name, as in `run`."
        ),
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
    from ..api import Calibration, check_library_path, export_library
    from ..driver import compile_model, load_model, run_stages
    from ..options import Options
    from .arrays import read_samples
    from .progress import StageBars
    from .report import compilation_record, print_compilation

    if stop_after is None:
        check_library_path(output)
    with StageBars() as bars:
        stop = stop_after.value if stop_after else None
        mod = load_model(model)
        samples = None
        if calibration is not None:
            samples = Calibration(
                read_samples(calibration, mod),
                cache_dir=calibration_cache,
                sequential=sequential,
            )
        options = Options(recipe, arch, dump_dir, stop, strict, bars, samples, tuning_db)
        if stop:
            state = run_stages(mod, options)
        else:
            state = compile_model(mod, options)
            export_library(state.executable, output)
    written = None if stop else output
    if as_json:
        print(json.dumps(compilation_record(model, state, written)))
    else:
        print_compilation(model, state, written)


@app.command(
    epilog="Example: [bold]microscopiq run model.so --input images.npz -o scores.npz[/bold]"
)
def run(
    library: Library,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="X.npz", help="Arrays by input name, or in the model's input order."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="Y.npz", help="Write outputs as out0, out1, ..."),
    ] = None,
    trace: Trace = None,
    layers: Layers = None,
    roofline: Roofline = None,
    arch: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Refuse a program built for another architecture."),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="structural: step every PE and every ReCoN switch.")
    ] = Mode.fast,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Refuse reads of unwritten memory and races between units."),
    ] = False,
    timing_only: Annotated[
        bool,
        typer.Option("--timing-only", help="No input, no output: what a call of each layer costs."),
    ] = False,
    technology: TechnologyName = None,
    as_json: Json = False,
) -> None:
    """Run a compiled model on the simulator: outputs, cycles, traffic, energy."""
    if timing_only == (inputs is not None):
        raise ConfigError("run needs either --input X.npz or --timing-only")
    if timing_only and (output or trace or debug or mode is not Mode.fast):
        raise ConfigError(
            "--timing-only is a summary without values: "
            "leave out --output, --trace, --mode and --debug"
        )
    from ...runtime.session import Session
    from .arrays import read_inputs, write_outputs
    from .progress import StageBars
    from .report import print_run

    check_paths(layers, roofline)
    session = Session(library, arch, mode.value, debug=debug or None, technology=technology)
    with StageBars() as bars:
        if timing_only:
            result = session.time()
        else:
            arrays = read_inputs(inputs, session.input_names())
            bars("run", 0, 1, library.name)
            result = session.run(*arrays, trace=trace)
    write_reports(result, session.program, layers, roofline)
    if output is not None:
        write_outputs(output, result.outputs)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_run(result, session.program, [output, trace, layers, roofline])


app.command(
    epilog="Example: [bold]microscopiq estimate --preset llama2-7b-layer --tokens 2048[/bold]"
)(cli_estimate.estimate)
app.command(
    epilog="Example: [bold]microscopiq tune model.onnx --trials 2000 --work-dir tuned[/bold]"
)(cli_tune.tune)
app.add_typer(cli_study.app, name="study", help="Compare recipes, or the steps of one, on a model.")


@app.command()
def inspect(
    library: Library,
    function: Annotated[
        str | None, typer.Option(metavar="F", help="Only this function of the program.")
    ] = None,
) -> None:
    """Print a compiled model's functions and their instructions."""
    from ...runtime.session import load_executable, program_of
    from ..api import disassemble
    from .report import print_functions

    module = load_executable(library)
    listing = disassemble(module, function)
    print_functions(program_of(module), function)
    print(listing, end="")


@app.command(epilog="Example: [bold]microscopiq area microscopiq-64x64 --json[/bold]")
def area(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="Architecture or a .toml file.")],
    technology: TechnologyName = None,
    as_json: Json = False,
) -> None:
    """Print the area of an architecture by part, with each figure's source."""
    from ...target.arch import load_arch
    from ...target.area import area as area_of
    from ...target.area import peaks, to_json
    from ...target.technology import load_technology
    from .report import print_area

    machine = load_arch(arch)
    table = load_technology(technology or machine.technology)
    parts = area_of(machine, table)
    if as_json:
        print(json.dumps(to_json(machine, table, parts)))
    else:
        print_area(machine, table, parts, peaks(machine, parts))


@app.command("list")
def list_command(
    what: Annotated[Listing, typer.Argument(metavar="|".join(LISTINGS), help="What to list.")],
) -> None:
    """List recipes, weight formats, architectures, technologies or compilation passes."""
    from .report import print_listing

    print_listing(what.value)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 2 the user's mistake, 3 an internal error."""
    warnings.showwarning = _print_warning
    try:
        app(args=arguments, prog_name="microscopiq")
    except MicroscopiqError as error:
        _print_traceback()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER)
    except Exception as error:
        _print_traceback()
        print(_internal(error), file=sys.stderr)
        sys.exit(EXIT_INTERNAL)


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Print a library's warning as one line; its source line is of no use in a shell."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _print_traceback() -> None:
    if os.environ.get(DEBUG) == "1":
        traceback.print_exc()


def _internal(error: Exception) -> str:
    text = str(error).strip()
    last = text.splitlines()[-1] if text else "no message"
    return (
        f"internal error: {type(error).__name__}: {last}\n"
        "This is a defect of microscopiq, not a mistake of yours. Please report it with the\n"
        f"command, the model and what the command prints with {DEBUG}=1\n"
        f"(microscopiq {__version__}, Python {platform.python_version()}, {platform.platform()})."
    )
