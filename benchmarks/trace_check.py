"""Loads a model's timeline into Perfetto's trace processor and compares it with the run's result.

python -m benchmarks.trace_check [--model minilm] [--recipe microscopiq-w4a8] [--trace t.json]

Of each unit and cause, the cycles of the slices must be those of `unit_cycles`; no slice of a unit
may lie over another; the layers must come in their order, with their cycles; and Perfetto must
have nothing to complain about. Exits with 1 when something differs.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import microscopiq as mq
from microscopiq.runtime.results.causes import IDLE
from microscopiq.target.arch import DEFAULT_ARCH

from .models import MODELS, MissingData
from .perfetto import MissingTool, query, ui_folder

SLICES = """
SELECT thread.name AS track, category AS cause, COUNT(*) AS slices, MAX(depth) AS depth,
       SUM(EXTRACT_ARG(arg_set_id, 'args.cycles')) AS cycles, SUM(dur) AS nanoseconds
FROM slice JOIN thread_track ON slice.track_id = thread_track.id JOIN thread USING (utid)
GROUP BY track, cause
"""
LAYERS = """
SELECT slice.name AS name, EXTRACT_ARG(arg_set_id, 'args.cycles') AS cycles
FROM slice WHERE category = 'layer' ORDER BY ts
"""
PROBLEMS = "SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"
PROCESSES = "SELECT name FROM process WHERE name IS NOT NULL"


def check(trace: Path, result: mq.RunResult, machine: str) -> tuple[dict, list[str]]:
    """Return what Perfetto found in a timeline, and where that differs from the run's result.

    Raises
    ------
    MissingTool
        When Perfetto isn't installed.
    """
    slices, layers, problems, processes = query(trace, SLICES, LAYERS, PROBLEMS, PROCESSES)
    wrong = [f"Perfetto counts {row['value']} {row['name']}" for row in problems]
    if [row["name"] for row in processes] != [f"machine {machine}"]:
        wrong.append(f"processes: {processes}")
    if layers != [
        {"name": call["layer"] or call["name"], "cycles": call["cycles"]} for call in result.calls
    ]:
        wrong.append("the layers' slices aren't the calls")
    units = {(row["track"], row["cause"]): row for row in slices if row["track"] != "layers"}
    for unit, parts in result.unit_cycles.items():
        for cause, cycles in parts.items():
            seen = units[unit, cause]["cycles"] if (unit, cause) in units else 0
            if seen != (0 if cause == IDLE else cycles):
                wrong.append(f"{unit}, {cause}: {seen} cycles in slices, {cycles} in the result")
    wrong += [f"{key}: a slice lies over another" for key, row in units.items() if row["depth"]]
    found = {
        "layers": len(layers),
        "slices": sum(row["slices"] for row in slices),
        "unit_slices": sum(row["slices"] for row in units.values()),
        "unit_cycles_compared": sum(row["cycles"] for row in units.values()),
    }
    return found, wrong


def main() -> int:
    """Compile a model, run it, check its timeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="minilm")
    parser.add_argument("--recipe", default="microscopiq-w4a8")
    parser.add_argument("--arch", default=DEFAULT_ARCH)
    parser.add_argument("--trace", type=Path, help="keep the timeline here")
    args = parser.parse_args()
    try:
        folder = ui_folder()
        real = MODELS[args.model]()
    except (MissingTool, MissingData) as error:
        print(f"skipped: {error}")
        return 0
    module = mq.load_model(real.module, real.example_inputs)
    session = mq.Session(mq.build(module, arch=args.arch, recipe=args.recipe))
    with tempfile.TemporaryDirectory() as scratch:
        path = args.trace or Path(scratch) / "trace.json"
        start = time.perf_counter()
        result = session.run(*real.example_inputs, trace=path)
        middle = time.perf_counter()
        found, wrong = check(path, result, args.arch)
        record = {
            "model": args.model,
            "perfetto": folder.name,
            "cycles": result.cycles,
            "bytes": path.stat().st_size,
            "run_and_write_s": middle - start,
            "perfetto_s": time.perf_counter() - middle,
            **found,
            "wrong": wrong,
        }
    print(json.dumps(record, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
