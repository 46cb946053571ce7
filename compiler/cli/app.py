"""The subcommands of `microscopiq`, a file each.

TVM takes seconds to import: a command first checks what is known without it, and then imports
what needs it under `interrupts.leaving`.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from ... import __version__
from .area import area
from .compile import compile_command
from .demo import demo
from .dse import dse
from .estimate import estimate
from .inspect import inspect
from .list import list_command
from .models import models
from .run import run
from .study import ablation, compare
from .study_formats import formats
from .tune import tune

EXAMPLES = {
    "compile": "compile model.onnx -o model.so --recipe microscopiq-w4a8",
    "run": "run model.so --input images.npz -o scores.npz",
    "estimate": "estimate --preset llama2-7b-layer --tokens 2048",
    "tune": "tune model.onnx --trials 2000 --work-dir tuned",
    "area": "area microscopiq-64x64 --json",
}
COMMANDS: dict[str, Callable] = {
    "demo": demo,
    "compile": compile_command,
    "run": run,
    "estimate": estimate,
    "tune": tune,
    "inspect": inspect,
    "area": area,
    "list": list_command,
}
STUDIES: dict[str, Callable] = {
    "compare": compare,
    "ablation": ablation,
    "formats": formats,
    "dse": dse,
    "models": models,
}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
studies = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

for _name, _command in COMMANDS.items():
    _example = EXAMPLES.get(_name)
    _epilog = f"Example: [bold]microscopiq {_example}[/bold]" if _example else None
    app.command(_name, epilog=_epilog)(_command)
for _name, _command in STUDIES.items():
    studies.command(_name)(_command)
app.add_typer(studies, name="study", help="Compare recipes, machines, and what becomes of models.")


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
