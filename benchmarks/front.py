"""What the default machine's keys buy: a linear layer on every combination, and the front.

python -m benchmarks.front [--rows 1 128] [--recipe NAME] [--folder docs] [--jobs N]

`microscopiq study dse` of one layer, 384 -> 1,536, weights from a Student-t distribution with 5
degrees of freedom, over the networks of ReCoN, the weight buses, the segments whose merges a bus
brings in a cycle, and the columns that work together. A point is on the front if no other one is
as good in latency, energy and area and better in one. Writes `front.md`, and a plot for each number
of rows. Exits with 1 if another machine of no more area is faster than the default
one for all numbers of rows.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

import microscopiq as mq
from microscopiq.compiler.study.dse import Row, explore
from microscopiq.compiler.study.plot import write_pareto
from microscopiq.compiler.study.points import points
from microscopiq.target.arch import DEFAULT_ARCH, load_arch
from microscopiq.target.area import area, compute_um2

INPUTS, OUTPUTS = 384, 1536
SWEEP = {
    "recon_units": [2, 4, 8, 11, 14],
    "weight_buses": [1, 4, 8, 16],
    "merge_strips": [1, 2],
    "skew_columns": [1, 8],
}
HEADINGS = (*SWEEP, "cycles", "uJ", "array um2", "")


def layer(rows: int):
    """Return the layer as a Relax module."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(INPUTS, OUTPUTS).eval()
    weight = torch.distributions.StudentT(5.0).sample((OUTPUTS, INPUTS)) / INPUTS**0.5
    linear.weight.data = weight
    return mq.load_model(linear, (torch.randn(rows, INPUTS),))


def sweep(rows: int, recipe: str, jobs: int) -> list[Row]:
    """Return all points for a number of rows."""
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(f"{rows} rows")

        def step(_stage: str, done: int, total: int, _what: str) -> None:
            bars.update(task, completed=done, total=total)

        return explore(layer(rows), points([recipe], SWEEP), DEFAULT_ARCH, jobs=jobs, progress=step)


def is_default(row: Row) -> bool:
    """Tell whether a point is the default machine."""
    arch = load_arch(DEFAULT_ARCH)
    return all(getattr(arch, key) == value for key, value in row.point.keys.items())


def cells(row: Row, rest_mm2: float) -> tuple[str, ...]:
    """Return a line of the table; `rest_mm2` is the area of what isn't the array."""
    values = [str(row.point.keys[key]) for key in SWEEP]
    array = 1e6 * (row.area_mm2 - rest_mm2)
    name = "default" if is_default(row) else ""
    return (*values, f"{row.cycles:,}", f"{row.energy_pj / 1e6:.2f}", f"{array:,.0f}", name)


def markdown(found: dict[int, list[Row]], recipe: str, rest_mm2: float) -> str:
    """Return the fronts as a page of the documentation."""
    lines = [
        "# The default machine among its neighbours",
        "",
        "Written by `python -m benchmarks.front`: a linear layer of 384 -> 1,536, weights from a",
        f"Student-t distribution with 5 degrees of freedom, recipe `{recipe}`, on `{DEFAULT_ARCH}`",
        "with other values of four keys. *array* is what multiplies: array, ReCoN and controller.",
        "Listed are the points that no other one beats in latency, energy and area, and the",
        "default.",
    ]
    for count, rows in found.items():
        good = [row for row in rows if not row.error]
        listed = sorted(
            (row for row in good if row.pareto or is_default(row)), key=lambda row: row.cycles
        )
        lines += [
            "",
            f"## {count} row{'s' * (count > 1)}",
            "",
            f"![energy over latency, area as colour](front_{count}.svg)",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "|" + "---:|" * (len(HEADINGS) - 1) + "---|",
        ]
        lines += ["| " + " | ".join(cells(row, rest_mm2)) + " |" for row in listed]
    return "\n".join(lines) + "\n"


def beaten(found: dict[int, list[Row]]) -> list[str]:
    """Return the machines of no more area that are faster than the default for all rows."""
    names = None
    for rows in found.values():
        (default,) = filter(is_default, rows)
        better = {
            row.point.name
            for row in rows
            if not row.error and row.cycles < default.cycles and row.area_mm2 <= default.area_mm2
        }
        names = better if names is None else names & better
    return sorted(names or ())


def main() -> int:
    """Measure, write, and exit with 1 where the default is beaten."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 128])
    parser.add_argument("--recipe", default="microscopiq-w4a8")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {count: sweep(count, args.recipe, args.jobs) for count in args.rows}
    parts = area(load_arch(DEFAULT_ARCH))
    rest_mm2 = (sum(part.um2 for part in parts) - compute_um2(parts)) / 1e6
    for count, rows in found.items():
        write_pareto(args.folder / f"front_{count}.svg", rows)
    page = args.folder / "front.md"
    page.write_text(markdown(found, args.recipe, rest_mm2), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))
    for name in beaten(found):
        print(f"faster for all rows, and no larger: {name}")
    return 1 if beaten(found) else 0


if __name__ == "__main__":
    sys.exit(main())
