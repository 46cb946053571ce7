"""onnx.backend.test on the machine: which of its node tests pass, and why the others don't.

    python -m benchmarks.onnx_backend                         all node tests: an hour of one core
    python -m benchmarks.onnx_backend --only reduce --only lstm
    python -m benchmarks.onnx_backend --csv tests/e2e/onnx_backend.csv      what is committed
    python -m benchmarks.onnx_backend --against tests/e2e/onnx_backend.csv  1 if a test has left it

A test passes when each output has the dtype, the shape and, within the suite's tolerance, the
values that the suite wants. Products on the array have 8-bit operands, and can't come that near:
there the imported fp32 module on LLVM has to, and the machine has to give the bits of its quantized
module on LLVM, at least 20 dB from the wanted values.
"""

import argparse
import csv
import json
import multiprocessing
import re
import sys
import time
from pathlib import Path

from .onnx_suite import PASSED, node_tests, operators, verdict

FIELDS = ("test", "operator", "result", "reason")


def serve(connection) -> None:
    """Answer names of tests with verdicts, until None comes."""
    tests = node_tests()
    while (name := connection.recv()) is not None:
        connection.send(verdict(tests[name]))


class Worker:
    """A process that runs tests one after another, and can be ended when one hangs or crashes."""

    def __init__(self) -> None:
        self.connection, other = multiprocessing.get_context("spawn").Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(other,), daemon=True
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


def run(names: list[str], jobs: int, limit_s: float) -> list[dict]:
    """Return a row for each test, in order: its name and its verdict."""
    waiting, rows = list(reversed(names)), {}
    workers = [Worker() for _ in range(min(jobs, len(names)))]
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
                workers[place] = Worker()
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
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--against", type=Path, help="a --csv of before, whose passes must pass")
    options = parser.parse_args()
    tests = node_tests()
    names = [
        name
        for name in tests
        if not options.only or any(re.match(f"(test_)?{o}", name) for o in options.only)
    ]
    of = operators(tests)
    rows = [
        {"test": row["test"], "operator": of[row["test"]]} | row
        for row in run(names, options.jobs, options.limit)
    ]
    for row in rows:
        print(f"{row['test']:60} {row['result']:8} {row.get('reason', '')}")
    print(f"{sum(row['result'] in PASSED for row in rows)} of {len(rows)} pass")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.csv:
        write_csv(options.csv, rows)
    if options.against:
        before = {row["test"] for row in read_csv(options.against) if row["result"] in PASSED}
        left = [r["test"] for r in rows if r["test"] in before and r["result"] not in PASSED]
        sys.exit(f"passed before: {', '.join(left)}" if left else 0)


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
