"""What the paper's machine makes of its own format, what ours does, and the paper's conflicts."""

import textwrap

from benchmarks.decode import FLAGGED, time_layer
from microscopiq.compiler.operators import Gemm
from microscopiq.target.arch import DEFAULT_ARCH, Arch, load_arch
from microscopiq.target.area import area, compute_um2
from microscopiq.target.formats import MICRO_BLOCK, WEIGHT_FORMATS

PAPER = "microscopiq-64x64"
PUBLISHED = 0.03
"""Share of accesses to ReCoN that meet another one: 64x64, one ReCoN (MicroScopiQ, A3)."""
OUTPUTS, INPUTS, ROWS = 1536, 384, (1, 128, 1024)


def rows_flagged(share: float, columns: int) -> float:
    """Return the share of array rows with an outlier in so many columns.

    Parameters
    ----------
    share : float
        Of micro-blocks, those with an outlier.
    """
    return 1 - (1 - share) ** (columns // MICRO_BLOCK)


def conflicts(flagged: float, rows: int) -> float:
    """Return the share of accesses that find a network taken, of one that takes a row a cycle.

    Each of `rows` array rows asks for it with the chance `flagged` in a cycle, and isn't asked
    again: those that wait make more conflicts still.
    """
    asked = rows * flagged
    return (asked - (1 - (1 - flagged) ** rows)) / asked


def share_without_conflicts(most: float, rows: int, columns: int) -> float:
    """Return the largest share of micro-blocks with outliers at which `conflicts` is `most`."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if conflicts(rows_flagged(middle, columns), rows) < most:
            low = middle
        else:
            high = middle
    return low


def differences(arch: Arch) -> list[tuple[str, int, int]]:
    """Return the keys in which a machine isn't the paper's, with both values."""
    paper, ours = load_arch(PAPER).numbers(), arch.numbers()
    return [(name, paper[name], ours[name]) for name in paper if paper[name] != ours[name]]


def layer_cycles(arch: Arch, weight_format: str) -> list[int]:
    """Return the cycles of the layer of `benchmarks.decode` by its numbers of rows."""
    ops = [Gemm(1, 1, rows, OUTPUTS, INPUTS, weight_format) for rows in ROWS]
    return [time_layer(op, arch)[0]["cycles"] for op in ops]


def section() -> list[str]:
    """Return the lines of docs/published.md on both machines."""
    paper, ours = load_arch(PAPER), load_arch(DEFAULT_ARCH)
    ratio = compute_um2(area(ours)) / compute_um2(area(paper))
    rows, columns = paper.array_rows, paper.columns(WEIGHT_FORMATS["ms4"].pe_bits)
    flagged = rows_flagged(FLAGGED, columns)
    lines = [
        "",
        "## The paper's machine and the default",
        "",
        _wrapped(
            f"`{PAPER}` is the paper's array as it describes it, with one ReCoN of {columns} "
            f"columns. `{DEFAULT_ARCH}`, the default, differs in what follows, and its array, "
            f"ReCoN and controller take {ratio:.3f} times the area."
        ),
        "",
        f"| key | `{PAPER}` | `{DEFAULT_ARCH}` |",
        "|---|---:|---:|",
    ]
    lines += [f"| `{name}` | {before} | {after} |" for name, before, after in differences(ours)]
    heads = " | ".join(f"{count:,} row{'s' * (count > 1)}" for count in ROWS)
    lines += [
        "",
        _wrapped(
            f"Cycles of a layer of {INPUTS} -> {OUTPUTS:,} by default schedules, timed, outliers "
            f"in {FLAGGED:.0%} of the micro-blocks (the paper's share at 2 bits), and in brackets "
            "over those of `int4` on the same machine:"
        ),
        "",
        f"| machine | format | {heads} |",
        "|---|---|---:|---:|---:|",
    ]
    for arch in (paper, ours):
        base = layer_cycles(arch, "int4")
        for weight_format in ("int4", "ms4", "ms2"):
            cycles = layer_cycles(arch, weight_format)
            texts = [f"{n:,} ({n / b:.2f})" for n, b in zip(cycles, base, strict=True)]
            lines.append(f"| `{arch.name}` | `{weight_format}` | {' | '.join(texts)} |")
    fewest = share_without_conflicts(PUBLISHED, rows, columns)
    lines += [
        "",
        _wrapped(
            f"The paper says that fewer than {PUBLISHED:.0%} of the accesses to ReCoN meet "
            f"another one. At {FLAGGED:.0%} of the micro-blocks {flagged:.0%} of the rows of "
            f"{columns} columns hold an outlier, so that {rows * flagged:.0f} of {rows} rows ask "
            "for the network for each row of activations, and a network that takes one a cycle "
            f"lets the array start a row in as many cycles: {conflicts(flagged, rows):.0%} of the "
            f"accesses meet another one at least. Fewer than {PUBLISHED:.0%} do where one "
            f"micro-block in {1 / fewest:,.0f} has an outlier. So the figure is of fewer outliers "
            "than the paper's own format has, of networks that take many rows a cycle, or of "
            "something else than waiting; the default machine pays for networks, and for places "
            "in them where rows wait."
        ),
    ]
    return lines


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)
