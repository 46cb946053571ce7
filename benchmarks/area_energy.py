"""Published areas and energies beside ours, rebuilt from the components of a technology.

python -m benchmarks.area_energy [--json] [--markdown docs/published.md]
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.table import Table

import microscopiq as mq
from benchmarks.published import Figure, conflicts, fineq, microscopiq
from microscopiq.target.arch import load_arch
from microscopiq.target.formats import MICRO_BLOCK

POWER_SPLIT = {"array": 56.23, "memory": 36.80, "recon": 5.94}
"""Percent of MicroScopiQ's power on LLaMA2-7B (A4); the rest isn't named."""
FLAGGED = 0.0375
"""Share of micro-blocks with outliers behind the paper's 4.15 bits per weight (A1)."""
SHAPE = (128, 1024, 1024)
BYTES_OF_SUM = 4


def power_split() -> list[Figure]:
    """Return the shares of a simulated linear layer, and what brings them to the paper's.

    The paper's output buffer holds 8 bits (A3), ours 32-bit sums and fp32 results for each group
    of 128 inputs; and its share of ReCoN leaves room for few rows with outliers.
    """
    m, k, n = SHAPE
    torch.manual_seed(0)
    linear = torch.nn.Linear(k, n).eval()
    # The tail with which the paper's share of outliers comes out (A1).
    linear.weight.data = torch.distributions.StudentT(5.0).sample((n, k)) / k**0.5
    x = torch.randn(m, k)
    model = mq.load_model(linear, (x,))
    session = mq.Session(mq.build(model, conflicts.PAPER, recipe="microscopiq-w4a8"))
    result = session.run(x.numpy())
    energy = result.energy_pj
    rows = load_arch(conflicts.PAPER).array_rows
    steps = sum(call["accesses"]["activations"] for call in result.calls) / rows
    passes = sum(call["recon"]["passes"] for call in result.calls) / steps
    fewer = POWER_SPLIT["recon"] / POWER_SPLIT["array"] / microscopiq.recon_pass_share()
    own = f"{m} x {k} x {n} as simulated, 32-bit sums and fp32 results per group of 128 inputs"
    micro_blocks = rows // MICRO_BLOCK
    expected = rows * (1 - (1 - FLAGGED) ** micro_blocks)
    remarks = {
        "array": own,
        "memory": own,
        "recon": f"{passes:.0f} passes per step of the array, {microscopiq.recon_pass_share():.1%} "
        f"of its energy each; the paper's share leaves {fewer:.1f}, its own {FLAGGED:.2%} of "
        f"micro-blocks with outliers flag {expected:.0f} of {rows} rows",
    }
    out = _shares(energy, 1.0, remarks)
    alike = f"the same with 8-bit sums and results, and {fewer:.1f} passes per step"
    parts = {**energy, "recon": energy["recon"] * fewer / passes}
    return out + _shares(parts, 1 / BYTES_OF_SUM, {"array": alike, "memory": alike})


def _shares(energy: dict, sums: float, remarks: dict[str, str]) -> list[Figure]:
    """Return the shares of what `remarks` names, the energy of sums and results scaled."""
    memory = energy["spad"] + energy["wbuf"] + sums * (energy["acc"] + energy["obuf"])
    ours = {"array": energy["array"], "memory": memory, "recon": energy["recon"]}
    whole = sum(ours.values()) + energy["vector"]
    return [
        Figure(
            "power", f"{part} share", "%", POWER_SPLIT[part], 100 * ours[part] / whole, None, text
        )
        for part, text in remarks.items()
    ]


def main() -> int:
    """Print every figure; exit with 1 when one that is held is off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    figures = [*microscopiq.figures(), *power_split(), *fineq.figures()]
    if args.markdown:
        args.markdown.write_text(markdown(figures))
    if args.json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=1))
    else:
        Console(width=140).print(table(figures))
    wrong = [figure.what for figure in figures if not figure.holds]
    if wrong:
        print(f"off by more than is held: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def cells(figure: Figure) -> list[str]:
    held = "" if figure.within is None else f"{100 * figure.within:g} %"
    numbers = [f"{value:,.4g}" for value in (figure.published, figure.rebuilt)]
    return [
        figure.source,
        figure.what,
        *numbers,
        figure.unit,
        f"{100 * figure.difference:+.1f} %",
        held,
        figure.note,
    ]


HEADINGS = ("source", "figure", "published", "ours", "unit", "difference", "held", "remark")


def table(figures: list[Figure]) -> Table:
    """Return the figures as a table for a terminal."""
    out = Table(title="Published areas and energies, and ours from components")
    for heading in HEADINGS:
        right = heading in ("published", "ours", "difference", "held")
        out.add_column(heading, justify="right" if right else "left")
    for figure in figures:
        out.add_row(*cells(figure))
    return out


def markdown(figures: list[Figure]) -> str:
    """Return the figures as a page of the documentation."""
    lines = [
        "# Published figures",
        "",
        "Written by `python -m benchmarks.area_energy --markdown docs/published.md`: areas and",
        "energies of the papers beside ours, from the entries of [energy.md](energy.md). `held` is",
        "the difference that a test allows. A figure without it doesn't follow from the components",
        "in its paper, or the paper doesn't say enough; the remark says why in numbers. What the",
        "arrays take on the same models: [rivals.md](rivals.md).",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|---:|---:|---|---:|---:|---|",
    ]
    lines += ["| " + " | ".join(cells(figure)) + " |" for figure in figures]
    return "\n".join([*lines, *conflicts.section()]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
