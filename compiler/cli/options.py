"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Quantization recipe or a .toml file; if none, one that the architecture can run.",
    ),
]
ArchName = Annotated[
    str, typer.Option("--arch", metavar="NAME|FILE", help="Architecture or a .toml file.")
]
TechnologyName = Annotated[
    str | None,
    typer.Option(
        "--technology", metavar="NAME|FILE", help="Areas and energies, if not the architecture's."
    ),
]
MaxCycles = Annotated[
    int | None,
    typer.Option(metavar="N", help="End a run beyond N cycles of the machine; 0: no limit.", min=0),
]
MaxInstructions = Annotated[
    int | None,
    typer.Option(metavar="N", help="End a run beyond N instructions; 0: no limit.", min=0),
]
MaxSteppedCycles = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="End a run that steps the array longer, with --mode structural.", min=0
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Library = Annotated[Path, typer.Argument(metavar="OUT.so", help="What `compile` wrote.")]
