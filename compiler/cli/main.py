"""The command `microscopiq`: what the library does, for a shell.

Exit codes: 0 ok, 2 the user's mistake (any `MicroscopiqError`), 3 an internal error. TVM takes
seconds to import: every command imports what needs it itself.
"""

import os
import platform
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from ... import __version__
from ...target.errors import MicroscopiqError
from .area import area
from .compile import compile_command
from .demo import demo
from .dse import dse
from .estimate import estimate
from .inspect import inspect
from .list import list_command
from .run import run
from .study import ablation, compare
from .tune import tune

EXIT_USER, EXIT_INTERNAL = 2, 3
DEBUG = "MICROSCOPIQ_DEBUG"
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
STUDIES: dict[str, Callable] = {"compare": compare, "ablation": ablation, "dse": dse}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
studies = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

for _name, _command in COMMANDS.items():
    _example = EXAMPLES.get(_name)
    _epilog = f"Example: [bold]microscopiq {_example}[/bold]" if _example else None
    app.command(_name, epilog=_epilog)(_command)
for _name, _command in STUDIES.items():
    studies.command(_name)(_command)
app.add_typer(studies, name="study", help="Compare recipes, or the steps of one, on a model.")


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


def _print_warning(message, *_where: object, **_named: object) -> None:
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
