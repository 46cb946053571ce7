"""onnx.backend.test on the machine: which of its node tests pass, and why the others don't.

    python -m benchmarks.onnx_backend                         all node tests: an hour of one core
    python -m benchmarks.onnx_backend --only reduce --only lstm
    python -m benchmarks.onnx_backend --csv tests/e2e/onnx_backend.csv      what is committed
    python -m benchmarks.onnx_backend --against tests/e2e/onnx_backend.csv  1 if a test has left it
    python -m benchmarks.onnx_backend --against-llvm     1 if TVM alone passes what fails here

A test passes when each output has the dtype, the shape and, within the suite's tolerance, the
values that the suite wants. Products on the array have 8-bit operands, and can't come that near:
there the imported fp32 module on LLVM has to, and the machine has to give the bits of its quantized
module on LLVM, at least 20 dB from the wanted values. What doesn't pass can be tried by TVM's own
importer and plain LLVM, which is what the column `llvm` says. The column `machine` is `all` where
a test that passes leaves nothing on the host.
"""

import argparse
import csv
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import onnx_llvm, onnx_suite
from .onnx_suite import ALL, PASSED, node_tests, operators

FIELDS = ("test", "operator", "result", "machine", "reason", "llvm")
Judge = Callable[[Any], dict[str, str]]


def serve(connection, judge: Judge) -> None:
    """Answer names of tests with verdicts, until None comes."""
    tests = node_tests()
    while (name := connection.recv()) is not None:
        connection.send(judge(tests[name]))


class Worker:
    """A process that runs tests one after another, and can be ended when one hangs or crashes."""

    def __init__(self, judge: Judge) -> None:
        self.connection, other = multiprocessing.get_context("spawn").Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(other, judge), daemon=True
        )
        self.process.start()
        other.close()
        self.name: str | None = None
        self.since = 0.0

    def begin(self, name: str) -> None:
        self.name, self.since = name, time.monotonic()
        self.connection.send(name)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(
    names: list[str], jobs: int, limit_s: float, judge: Judge = onnx_suite.verdict
) -> list[dict]:
    """Return a row for each test, in order: its name and its verdict."""
    waiting, rows = list(reversed(names)), {}
    workers = [Worker(judge) for _ in range(min(jobs, len(names)))]
    while len(rows) < len(names):
        for place, worker in enumerate(workers):
            if worker.name is None:
                if waiting:
                    worker.begin(waiting.pop())
                continue
            row = _answer(worker, limit_s)
            if row is None:
                continue
            rows[worker.name] = {"test": worker.name} | row
            if sys.stderr.isatty() or len(rows) % 100 == 0:
                print(f"{len(rows)} of {len(names)}: {worker.name}", file=sys.stderr)
            worker.name = None
            if "died" in row:
                worker.end()
                workers[place] = Worker(judge)
        time.sleep(0.005)
    for worker in workers:
        worker.end()
    return [rows[name] for name in names]


def _answer(worker: Worker, limit_s: float) -> dict | None:
    """Return what a worker says of its test, None while it doesn't."""
    try:
        if worker.connection.poll():
            return worker.connection.recv()
    except EOFError:
        pass
    if not worker.process.is_alive():
        return {"result": "fails", "reason": "the process died", "died": True}
    # A worker that has just started loads TVM and makes the tests first.
    if time.monotonic() - worker.since > limit_s + 30:
        return {"result": "fails", "reason": f"took more than {limit_s:g} s", "died": True}
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="tests of this operator or prefix")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60, help="seconds for each test")
    parser.add_argument("--rows", type=Path, help="take a --csv of before in place of a run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--against", type=Path, help="a --csv of before, whose passes must pass")
    parser.add_argument(
        "--against-llvm", action="store_true", help="what doesn't pass by plain TVM: 1 if it does"
    )
    options = parser.parse_args()
    rows = _rows(options)
    if options.against_llvm:
        _ask_llvm(rows, options)
    for row in rows:
        said = row.get("reason") or row.get("machine") or ""
        print(f"{row['test']:60} {row['result']:8} {said}")
    print(f"{sum(row['result'] in PASSED for row in rows)} of {len(rows)} pass")
    on_machine = Counter(row.get("machine") for row in rows)
    print(f"{on_machine[ALL]} of them with all of their operators on the machine")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.csv:
        write_csv(options.csv, rows)
    failed = {row["test"]: row for row in rows if row["result"] not in PASSED}
    wrong = []
    if options.against:
        before = {row["test"] for row in read_csv(options.against) if row["result"] in PASSED}
        wrong += [f"passed before: {name}" for name in failed if name in before]
    if options.against_llvm:
        better = [name for name, row in failed.items() if row["llvm"] == onnx_llvm.PASSES]
        wrong += [f"passes by plain TVM: {name}" for name in better]
    sys.exit("\n".join(wrong) if wrong else 0)


def _rows(options: argparse.Namespace) -> list[dict[str, str]]:
    """Return the rows of the tests that are asked for, run now or before."""

    def wanted(name: str) -> bool:
        return not options.only or any(re.match(f"(test_)?{o}", name) for o in options.only)

    if options.rows:
        return [row for row in read_csv(options.rows) if wanted(row["test"])]
    tests = node_tests()
    of = operators(tests)
    rows = run([name for name in tests if wanted(name)], options.jobs, options.limit)
    return [{"test": row["test"], "operator": of[row["test"]]} | row for row in rows]


def _ask_llvm(rows: list[dict[str, str]], options: argparse.Namespace) -> None:
    """Note of tests that don't pass whether TVM alone passes them."""
    failed = {row["test"]: row for row in rows if row["result"] not in PASSED}
    for found in run(list(failed), options.jobs, options.limit, onnx_llvm.verdict):
        failed[found["test"]]["llvm"] = found["result"]


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["test"]))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
