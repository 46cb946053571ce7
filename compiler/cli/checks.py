"""What a command line says wrong and can be known without TVM, which takes seconds to import."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...runtime.reports.roofline import check_plot
from ...runtime.whole_file import check_folder
from ...target.arch import load_arch
from ...target.errors import InputError
from ...target.technology import load_technology
from ..quant.recipe import load_recipe


def check_names(
    recipes: Iterable[str] = (), arch: str | None = None, technology: str | None = None
) -> None:
    """Raise ConfigError for a recipe, an architecture or a technology that can't be loaded."""
    for recipe in recipes:
        load_recipe(recipe)
    if arch is not None:
        load_arch(arch)
    if technology is not None:
        load_technology(technology)


def check_input(path: Path | None) -> None:
    """Raise InputError for a file of arrays that isn't there."""
    if path is not None and not path.is_file():
        raise InputError(f"input file not found: {path}")


def check_outputs(files: Sequence[Path | None] = (), plot: Path | None = None) -> None:
    """Raise ConfigError for a file that couldn't be written after the work."""
    for path in files:
        if path is not None:
            check_folder(path)
    if plot is not None:
        check_plot(plot)
