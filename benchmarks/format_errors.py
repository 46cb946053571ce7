"""Every weight format of the machines on one layer: error with and without data, bits, seconds.

python -m benchmarks.format_errors [--formats mxfp4 ...] [--kinds corr iid] [--kept ROWS.jsonl]
                                   [--json] [--markdown docs/format_errors.md]

The work, the 512 unseen rows and the error are those of `benchmarks.quantizers`, methods those of
`compiler.quant.defaults.method_for`. A row's CPU seconds are of statistics and method, one thread.
All of it takes ten CPU minutes: `--kept` keeps rows in a file and takes up a run where it ended.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from benchmarks.quantizers import HELD_OUT, SIZE, work
from microscopiq.compiler.quant.base import bits_of, quantize_weight, values_of
from microscopiq.compiler.quant.defaults import method_for
from microscopiq.compiler.quant.statistics import Statistics, power
from microscopiq.target.formats import WEIGHT_FORMATS

KINDS = ("corr", "iid")
WAYS = {"data-free": False, "calibrated": True}
MOST_SECONDS = 10.0
PEERS = {"mxfp4": 0.0225, "nvfp4": 0.0125}
"""Errors without data on `corr` inputs, measured of other tools on the same work."""
WITHIN = 1.03
PAGE = """\
# Error of each weight format

Written by `python -m benchmarks.format_errors --markdown docs/format_errors.md`. One layer of
4,096 x 4,096 weights, 0.5 % of them at 8 to 20 sigma, and inputs of few directions with loud
channels (`corr`) or without any structure (`iid`). The error is the squared distance of the outputs
over the outputs' square, on 512 rows that nothing of a quantizer saw. *Data-free* is rounding as
it is, *calibrated* the method that makes errors good with 2,048 rows; where a format has none,
nothing stands there. Bits are read off the packed bytes: codes, scales, headers, outliers' places.
CPU seconds are of calibration and quantizer together, one thread, the slower of both kinds, on a
machine that others used too.

"""


def ways_of(format_name: str) -> list[str]:
    """Return whether a format is measured without data, and with it."""
    return [way for way, data in WAYS.items() if method_for(format_name, data)]


def measured(kind: str, wanted: list[tuple[str, str]], quiet: Console):
    """Yield a row for each format and way ``(format, data-free or calibrated)``."""
    weight, x, unseen = work(kind)
    outputs = power(unseen @ weight.T)
    start = time.process_time()
    statistics = Statistics(SIZE)
    statistics.add(x[:-HELD_OUT])
    statistics.add(x[-HELD_OUT:], held_out=True)
    gathering = time.process_time() - start
    for name, way in track(wanted, f"Formats, {kind}", console=quiet):
        data = WAYS[way]
        method = method_for(name, data)
        start = time.process_time()
        found, counts = quantize_weight(method, weight, name, kind, statistics if data else None)
        seconds = time.process_time() - start
        yield {
            "format": name,
            "kind": kind,
            "way": way,
            "method": method,
            "error": power(unseen @ (values_of(found) - weight).T) / outputs,
            "bits": bits_of(found),
            "cpu_s": seconds + gathering * data,
            "damping": counts.get("damping"),
        }


def misses(rows: list[dict]) -> list[str]:
    """Return which bounds are broken."""
    found = {(row["format"], row["kind"], row["way"]): row["error"] for row in rows}
    lost = [
        f"{row['format']}, {row['kind']}: {row['cpu_s']:.1f} CPU s; allowed {MOST_SECONDS:g}"
        for row in rows
        if row["cpu_s"] > MOST_SECONDS
    ]
    for (name, kind, way), error in found.items():
        most = found.get((name, kind, "data-free")) if way == "calibrated" else None
        if way == "data-free" and kind == "corr" and name in PEERS:
            most = PEERS[name] * WITHIN
        if most is not None and error > 1.0001 * most:
            lost.append(f"{name}, {kind}, {way}: error {error:.4g}; allowed {most:.4g}")
    return lost


def table(rows: list[dict]) -> str:
    """Return a line per format, by bits and then by the error with data."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    cells = [(kind, way) for kind in kinds for way in WAYS]
    lines = []
    for name in dict.fromkeys(row["format"] for row in rows):
        own = {(row["kind"], row["way"]): row for row in rows if row["format"] == name}
        bits = max(row["bits"] for row in own.values())
        order = (round(bits, 2), min(row["error"] for row in own.values()))
        errors = [f"{own[cell]['error']:.4g}" if cell in own else "" for cell in cells]
        seconds = [
            f"{max(times):.1f}" if times else ""
            for times in (
                [row["cpu_s"] for row in own.values() if row["way"] == way] for way in WAYS
            )
        ]
        lines.append((order, [f"`{name}`", f"{bits:.3f}", *errors, *seconds]))
    names = [f"{kind}, {way}" for kind, way in cells]
    heading = ["format", "bits", *names, "CPU s data-free", "CPU s calibrated"]
    text = [heading, ["---", *["---:"] * (len(heading) - 1)]]
    text += [line for _, line in sorted(lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in text)


def main() -> int:
    """Measure and print; exit with 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list(WEIGHT_FORMATS)
    parser.add_argument("--formats", nargs="+", default=known, choices=known, metavar="NAME")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--kept", type=Path, help="rows of a run that ended early, and of this one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table as a page (docs)")
    args = parser.parse_args()
    rows = []
    if args.kept and args.kept.exists():
        rows = [json.loads(line) for line in args.kept.read_text().splitlines()]
    have = {(row["format"], row["kind"], row["way"]) for row in rows}
    for kind in args.kinds:
        pairs = [(name, way) for name in args.formats for way in ways_of(name)]
        wanted = [(name, way) for name, way in pairs if (name, kind, way) not in have]
        if not wanted:
            continue
        for row in measured(kind, wanted, Console(stderr=True)):
            rows.append(row)
            if args.kept:
                with args.kept.open("a") as kept:
                    kept.write(json.dumps(row) + "\n")
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=120).print(Markdown(table(rows)))
    lost = misses(rows)
    for line in lost:
        print(f"missed: {line}", file=sys.stderr)
    if args.markdown:
        args.markdown.write_text(PAGE + table(rows))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
