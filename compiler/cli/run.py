"""The command `microscopiq run`: a compiled model on the simulator."""

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from ...runtime.session import MODES, Session, check_program_file
from ...target.errors import ConfigError
from ...target.isa.program import Program
from .checks import check_input, check_names, check_outputs
from .costs import cost_rows, latency_row, print_energy, print_host_calls, print_units
from .interrupts import importing
from .options import (
    Json,
    Library,
    MaxCycles,
    MaxInstructions,
    MaxSteppedCycles,
    TechnologyName,
)
from .tables import new_console, print_facts, print_written

Mode = enum.Enum("Mode", {name: name for name in MODES})
Trace = Annotated[
    Path | None,
    typer.Option("--trace", metavar="T.json", help="Write a timeline for Perfetto (.json, .gz)."),
]
Layers = Annotated[
    Path | None,
    typer.Option("--csv", metavar="L.csv", help="Write a row per call: cycles, stalls, traffic."),
]
Roofline = Annotated[
    Path | None,
    typer.Option("--roofline", metavar="R.svg", help="Draw the roofline (.svg, .png, .pdf)."),
]


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
        typer.Option("--output", "-o", metavar="Y.npz", help="Write outputs by name."),
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
    ] = Mode[MODES[0]],
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Refuse reads of unwritten memory and races between units."),
    ] = False,
    timing_only: Annotated[
        bool,
        typer.Option("--timing-only", help="No input, no output: what a run costs."),
    ] = False,
    technology: TechnologyName = None,
    max_cycles: MaxCycles = None,
    max_instructions: MaxInstructions = None,
    max_stepped_cycles: MaxSteppedCycles = None,
    as_json: Json = False,
) -> None:
    """Run a compiled model on the simulator: outputs, cycles, traffic, energy."""
    if timing_only == (inputs is not None):
        raise ConfigError("run needs either --input X.npz or --timing-only")
    if timing_only and (output or trace or debug or mode.value != MODES[0]):
        raise ConfigError(
            "--timing-only is a summary without values: "
            "leave out --output, --trace, --mode and --debug"
        )
    check_program_file(library)
    check_names(arch=arch, technology=technology)
    check_input(inputs)
    check_outputs([output, trace, layers], roofline)
    with importing():
        from .arrays import read_inputs, write_outputs
        from .progress import StageBars
    session = Session(
        library,
        arch,
        mode.value,
        debug=debug or None,
        technology=technology,
        max_cycles=max_cycles,
        max_instructions=max_instructions,
        max_stepped_cycles=max_stepped_cycles,
    )
    with StageBars() as bars:
        if inputs is None:
            result = session.time()
        else:
            arrays = read_inputs(inputs, session.input_names())
            bars("run", 0, 1, library.name)
            result = session.run(*arrays, trace=trace)
    write_reports(result, session.program, layers, roofline)
    if output is not None:
        write_outputs(output, result.named)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_run(result, session.program, [output, trace, layers, roofline])


def write_reports(result, program, layers: Path | None, roofline: Path | None) -> None:
    """Write the files that were asked for."""
    from ...runtime.reports.layer_table import write_layers
    from ...runtime.reports.roofline import write_roofline

    if layers is not None:
        write_layers(layers, result)
    if roofline is not None:
        write_roofline(roofline, result, program)


def print_run(result, program: Program | None, files: list[Path | None]) -> None:
    """Print a `RunResult` and the files that were written, None for one that wasn't."""
    console = new_console()
    if program is None or not result.calls:
        console.print("Nothing ran on the array: all operators of this model are on the host.\n")
        print_facts(console, [latency_row(result)])
    else:
        print_facts(console, cost_rows(result, program), f"On {program.arch_name}")
        print_units(console, result)
        print_energy(console, result)
    print_host_calls(console, result)
    rows = [
        (name, str(array.dtype), "x".join(map(str, array.shape)) or "scalar")
        for name, array in result.named.items()
    ]
    if rows:
        print_facts(console, rows, "Outputs")
    print_written(console, files)
