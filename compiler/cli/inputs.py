"""What a command line says about a model's inputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ...target.errors import ConfigError
from ..files import check_model_file

InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME=N,..", help="Sizes that the model leaves open."),
]
MaxSize = Annotated[
    list[str] | None,
    typer.Option("--max-size", metavar="SIZE=N", help="Open up to this size."),
]
InputValue = Annotated[
    list[str] | None,
    typer.Option("--input-value", metavar="NAME=V,..", help="A constant input."),
]
T = TypeVar("T")


def loading(
    model: str | Path,
    shapes: Sequence[str] | None,
    values: Sequence[str] | None,
    largest: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the arguments of `load_model`, checked as far as can be without TVM."""
    bounds = _pairs("--max-size", largest, _one, "32")
    for name, each in bounds:
        if len(each) != 1:
            raise ConfigError(f"--max-size {name}: the form is SIZE=32, one number")
    names = {name for name, _ in bounds}

    def size(text: str) -> int | str:
        return text if text in names else int(text)

    sizes = _pairs("--input-shape", shapes, size, "1,3,224,224")
    constants = _pairs("--input-value", values, _number, "16000")
    return {
        "source": check_model_file(model),
        "input_shapes": dict(sizes),
        "input_values": {name: each[0] if len(each) == 1 else each for name, each in constants},
        "max_sizes": {name: each[0] for name, each in bounds},
    }


def ways_of(texts: Sequence[str] | None) -> dict[str, str]:
    """Return the ways to multiply outliers that are asked for, by pattern of layers' names."""
    ways: dict[str, str] = {}
    for text in texts or ():
        pattern, _, way = text.rpartition("=")
        pattern = pattern or "*"
        if pattern in ways:
            raise ConfigError(f"--outliers: '{pattern}' is given twice")
        ways[pattern] = way
    return ways


def _pairs(
    option: str, texts: Sequence[str] | None, kind: Callable[[str], T], example: str
) -> list[tuple[str, list[T]]]:
    pairs: list[tuple[str, list[T]]] = []
    for text in texts or ():
        name, equals, numbers = text.rpartition("=")
        try:
            if not equals or not name:
                raise ValueError
            # A scalar's shape is empty.
            pairs.append((name, [kind(each) for each in numbers.split(",") if numbers]))
        except ValueError:
            raise ConfigError(f"{option} '{text}': the form is NAME={example}") from None
        if name in [earlier for earlier, _ in pairs[:-1]]:
            raise ConfigError(f"{option}: '{name}' is given twice")
    return pairs


def _one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
