"""What runs of ONNX, by operator, as the run of onnx.backend.test that is committed says."""

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path

RUN = Path(__file__).resolve().parents[2] / "tests" / "e2e" / "onnx_backend.csv"
PASSED = ("array", "host")
PLACES = {
    "array": lambda row: row["result"] == "array",
    "vector unit": lambda row: row["result"] == "host" and row["machine"] == "all",
    "host": lambda row: row["machine"] != "all",
}
HEAD = """
## Operators of ONNX

From the node tests of `onnx.backend.test`, as they are: {passed} of {tests} pass, {array} of them
with products on the array, and {machine} with all of their operators on the machine. TVM alone, its
own importer and LLVM, passes {llvm} of the others. `python -m benchmarks.onnx_backend` runs them;
what its products of 8 bits can't reach there is held against LLVM bit for bit. "Array", "vector
unit" and "host" say where an operator's tests ran, "host" if one of them left something there; an
operator that ONNX defines by others counts as what it's made of. Weights of the tests are inputs,
where the array wants constants, and many have elements of 8, 16 or 64 bits, with which the vector
unit doesn't compute.

| operator | runs on | tests | limits |
|---|---|---|---|"""


def onnx_operators() -> list[str]:
    """Return the lines of that part of docs/operators.md."""
    with RUN.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_operator = defaultdict(list)
    for row in rows:
        by_operator[row["operator"]].append(row)
    count = Counter(row["result"] for row in rows)
    lines = HEAD.format(
        passed=sum(count[name] for name in PASSED),
        tests=len(rows),
        array=count["array"],
        machine=sum(row["machine"] == "all" for row in rows),
        llvm=sum(row["llvm"] == "passes" for row in rows) or "none",
    ).splitlines()
    for operator, tests in sorted(by_operator.items()):
        passed = [row for row in tests if row["result"] in PASSED]
        where = ", ".join(name for name, runs in PLACES.items() if any(map(runs, passed)))
        reasons = {_short(row["reason"]) for row in tests if row not in passed}
        limits = "; ".join(sorted(reasons)[:2])
        counts = f"{len(passed)} of {len(tests)}"
        lines.append(f"| `{operator}` | {where or 'not at all'} | {counts} | {limits} |")
    return lines


def _short(reason: str) -> str:
    """Return a reason without the node's name, as a cell of a table."""
    text = re.sub(r"^.*?can't be imported: \S+ \([^)]*\): ", "", reason)
    text = re.sub(r"[|`*]", "", text)
    return text if len(text) <= 100 else f"{text[:100]} ..."
