"""Changes the code at sampled places and tells which changes no test notices.

python -m tests.mutants [--sample 200] [--seed 1] [--jobs 2] [--files PATTERN ...] [--json FILE]
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import ClassVar

# Forks share two cores: a BLAS with threads of its own would only take turns.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from .change import Change
from .cpp_changes import cpp_changes, enumerators
from .python_changes import python_changes
from .run import ROOT, UNCOUNTED, Copy, warm_up
from .targets import EQUIVALENT, NEAREST


def possible(patterns: list[str]) -> list[tuple[str, Change]]:
    """Return every change of the files that match a pattern, with the file."""
    following = enumerators([path.read_text() for path in sorted(ROOT.glob("runtime/src/**/*.h"))])
    found = []
    paths = (path for pattern in NEAREST for path in sorted(ROOT.glob(pattern)))
    for path in dict.fromkeys(paths):
        file, source = str(path.relative_to(ROOT)), path.read_text()
        if any(fnmatch.fnmatch(file, pattern) for pattern in patterns):
            python = path.suffix == ".py"
            changes = python_changes(source) if python else cpp_changes(source, following)
            found += [(file, change) for change in changes]
    return found


def nearest(file: str) -> tuple[str, ...]:
    return next(tests for pattern, tests in NEAREST.items() if fnmatch.fnmatch(file, pattern))


class Judge:
    """What one process of the pool keeps: its copy of the tree and what its tests take."""

    copy: Copy | None = None
    limits: ClassVar[dict[tuple[str, ...], float]] = {}

    @classmethod
    def judge(cls, folder: str, builds: bool, file: str, source: str) -> str:
        """Return what notices a changed file, "" if nothing does."""
        if cls.copy is None:
            cls.copy = Copy.make(Path(folder) / str(os.getpid()), builds)
        tests = nearest(file)
        if tests not in cls.limits:
            cls.limits[tests] = cls.copy.limit(tests)
        return cls.copy.judge(file, source, tests, cls.limits[tests])


def judged(sample: list[tuple[str, Change]], jobs: int) -> Iterator[dict]:
    """Yield what became of each change, as soon as it is known."""
    warm_up()
    builds = any(file.endswith(".cc") for file, _ in sample)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(jobs, fork) as pool:
            tasks = {
                pool.submit(Judge.judge, folder, builds, file, change.source()): (file, change)
                for file, change in sample
            }
            for task in as_completed(tasks):
                (file, change), by = tasks[task], task.result()
                why = EQUIVALENT.get((file, change.what), "") if not by else ""
                yield {"file": file, "line": change.line, "change": change.what,
                       "killed_by": by, "equivalent": why}  # fmt: skip


def counted(results: list[dict]) -> list[dict]:
    """Return the changes that are other programs."""
    return [r for r in results if r["killed_by"] not in UNCOUNTED and not r["equivalent"]]


def print_summary(results: list[dict]) -> None:
    """Print killed, counted and their ratio for each file and in all."""
    valid = counted(results)
    for file in [*sorted({r["file"] for r in valid}), "all"]:
        rows = [r for r in valid if file in ("all", r["file"])]
        killed = sum(bool(r["killed_by"]) for r in rows)
        print(f"{file:40} {killed:4} of {len(rows):4} killed  {killed / len(rows):4.0%}")
    print(f"{len(results) - len(valid)} more were equivalent, the same code, or didn't compile")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="changes to try (0: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--files", nargs="+", default=["*"], help="patterns, as in `*/quant/*.py`")
    parser.add_argument("--json", type=Path, help="write what became of each change")
    options = parser.parse_args()
    changes = possible(options.files)
    if not changes:
        parser.error(f"no file matches {options.files}; allowed: {', '.join(NEAREST)}")
    random.Random(options.seed).shuffle(changes)
    sample, results = changes[: options.sample or None], []
    print(f"{len(sample)} of {len(changes)} changes, seed {options.seed}", flush=True)
    for result in judged(sample, options.jobs):
        results.append(result)
        by = result["killed_by"] or result["equivalent"] or "SURVIVED"
        print(f"{result['file']}:{result['line']}: {result['change']}  {by}", flush=True)
    print_summary(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
