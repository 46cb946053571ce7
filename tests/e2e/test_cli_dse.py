"""`microscopiq study dse`: one model on many machines, and what goes wrong at some of them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import tvm

import microscopiq
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.study import dse_pool
from microscopiq.compiler.study.dse import explore, machine, pareto
from microscopiq.compiler.study.points import Point, points
from microscopiq.target.arch import load_arch
from microscopiq.target.area import area
from microscopiq.target.errors import ConfigError

BASE = "microscopiq-64x64"
WORKER = b"popen_loky"
"""In the command line of a worker process."""
RECIPES = ("int8", "microscopiq-w4a8")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return an ONNX file of two layers, some of whose weights are outliers."""
    path = tmp_path_factory.mktemp("dse") / "model.onnx"
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(160, 136), torch.nn.ReLU(), torch.nn.Linear(136, 10))
    with torch.no_grad():
        net[0].weight[torch.rand(136, 160) < 0.01] *= 15
    example = (torch.zeros(12, 160),)
    torch.onnx.export(net.eval(), example, dynamo=True, verbose=False).save(path)
    return path


def test_points_cost_what_a_run_on_their_machine_does(model):
    chosen = points(RECIPES, {"array": [16, 64], "recon_units": [1]})
    assert [point.name for point in chosen[:2]] == [
        "int8 array_rows=16 array_cols=16 recon_units=1",
        "int8 array_rows=64 array_cols=64 recon_units=1",
    ]
    rows = explore(model, chosen, BASE, jobs=1)
    x = np.random.default_rng(0).standard_normal((12, 160)).astype(np.float32)
    for row in rows:
        arch = machine(load_arch(BASE), row.point)
        executable = microscopiq.build(load_model(model), arch, recipe=row.point.recipe)
        result = microscopiq.Session(executable).run(x)
        assert (row.error, row.cycles, row.seconds) == ("", result.cycles, result.seconds)
        assert row.energy_pj == pytest.approx(sum(result.energy_pj.values()), rel=1e-12)
        assert row.utilisation == result.utilisation
        assert row.area_mm2 == sum(part.um2 for part in area(arch)) / 1e6
    assert rows[0].cycles > rows[1].cycles and rows[0].area_mm2 < rows[1].area_mm2


def test_command(shell, model, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'microscopiq[plot]'")
    table, plot = tmp_path / "points.csv", tmp_path / "points.svg"
    result = shell(
        "study", "dse", model, "--sweep", "recon_units=0,1", "--sweep", "spad_bytes=64,65536",
        "--recipes", "int8, microscopiq-w4a8", "--jobs", 1, "--csv", table, "--plot", plot,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    with table.open() as file:
        rows = {(r["recipe"], r["recon_units"], r["spad_bytes"]): r for r in csv.DictReader(file)}
    assert len(rows) == 8
    failed = {key: row["error"] for key, row in rows.items() if row["error"]}
    assert "can't decode weight format 'ms4'" in failed["microscopiq-w4a8", "0", "65536"]
    assert set(failed) >= {(recipe, "1", "64") for recipe in RECIPES}
    assert all("spad" in failed[recipe, "1", "64"] for recipe in RECIPES)
    good = rows["int8", "0", "65536"]
    assert int(good["cycles"]) > 0 and good["pareto"] == "True"
    # Without ReCoN the same cycles and less area: the machine with one is beaten.
    assert rows["int8", "1", "65536"]["pareto"] == "False"
    lines = result.out.splitlines()
    assert sum(line.startswith("failed: ") for line in lines) == len(failed)
    assert lines[-2:] == [f"Wrote {table}", f"Wrote {plot}"]
    assert plot.read_bytes().startswith(b"<?xml")


@pytest.mark.slow
def test_json(shell, model):
    result = shell("study", "dse", model, "--sweep", "array=32", "--jobs", 1, "--json")
    (row,) = json.loads(result.out)
    assert (result.code, result.err, row["error"]) == (0, "", "")
    assert (row["recipe"], row["array_rows"], row["array_cols"]) == ("microscopiq-w4a8", 32, 32)
    assert row["pareto"] is True and row["energy_pj"] > 0


def test_refusals(shell, model, tmp_path):
    def error(*arguments: object) -> str:
        result = shell("study", "dse", model, *arguments)
        assert (result.code, result.out) == (2, "")
        return result.err

    assert error("--sweep", "recon_unit=1").startswith(
        "error: unknown key 'recon_unit'; did you mean recon_units"
    )
    assert error("--sweep", "array=a") == (
        "error: --sweep array=a; allowed: KEY=N,... with integers, such as recon_units=1,2,4\n"
    )
    assert "swept twice: array_rows" in error("--sweep", "array=8", "--sweep", "array_rows=8")
    assert "names array twice" in error("--sweep", "array=8", "--sweep", "array=16")
    assert "unknown recipe 'int5'" in error("--sweep", "array=8", "--recipes", "int5")
    assert "jobs = 0; allowed: 1 or more" in error("--sweep", "array=8", "--jobs", 0)
    assert "the name must end in" in error("--sweep", "array=8", "--plot", tmp_path / "p.x")
    many = ",".join(map(str, range(2, 1002)))
    refused = error("--sweep", f"array_rows={many}", "--sweep", "recon_units=" + many)
    assert "1,000,000 points; allowed: up to 10,000" in refused


def test_a_sweep_of_nothing_that_works_says_so(shell, model):
    result = shell("study", "dse", model, "--sweep", "array=1", "--jobs", 1)
    assert result.code == 2
    assert "array_rows = 1: allowed 2 to 1024" in result.out
    assert result.err.startswith("error: none of 1 points could be measured; the first: ")


SCRIPT = """
import sys
import torch
from microscopiq.compiler.study.dse import explore
from microscopiq.compiler.study.points import points

print("runs")
rows = explore(sys.argv[1], points(["int8"], {"array": [16]}), "microscopiq-64x64", jobs=1)
print(rows[0].cycles > 0)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_can_explore(model, tmp_path):
    """multiprocessing's processes would run it again, and end in an error."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, path, model], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["runs", "True"], done.stderr[-2000:]


def test_pareto():
    found = pareto([(1, 9, 5), (2, 9, 5), None, (9, 1, 5), (9, 1, 5), (3, 3, 3), (4, 3, 3)])
    assert found == [True, False, False, True, True, True, False]


@pytest.mark.slow
def test_a_process_that_dies_costs_its_point_alone(model, tmp_path):
    quantized, waits = tmp_path / "model.json", tmp_path / "waits"
    quantized.write_text(tvm.ir.save_json(microscopiq.quantize(load_model(model), recipe="int8")))
    # Nobody writes to this pipe: its reader waits until it is killed.
    os.mkfifo(waits)
    arch = load_arch(BASE)
    work = [
        dse_pool.Job(number, str(number), str(path), arch, None)
        for number, path in enumerate((quantized, waits, quantized))
    ]
    found = dse_pool.run_jobs(work, 1, _Killer(at=1))
    assert found[1] == {"error": "its process ended while it was measured"}
    assert found[0]["cycles"] > 0 and found[2]["cycles"] > 0


class _Killer:
    """A progress callback that kills the processes once so many points are done."""

    def __init__(self, at: int):
        self.at = at

    def __call__(self, _stage: str, done: int, _total: int, _item: str) -> None:
        if done == self.at:
            self.at = -1
            for child in _children(os.getpid()):
                if WORKER in _command(child):
                    os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_prints_no_traceback(model):
    values = ",".join(map(str, range(1, 61)))
    process = subprocess.Popen(
        [sys.executable, "-c", "from microscopiq.compiler.cli.main import main; main()",
         "study", "dse", model, "--sweep", f"dram_latency_cycles={values}", "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(workers := _workers(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers) == 2
    # While it starts workers, the command itself doesn't hear Ctrl-C either.
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and "Traceback" not in out
    assert not [worker for worker in workers if _command(worker)]


def test_points_need_values():
    with pytest.raises(ConfigError, match="key 'array' has no values"):
        points(["int8"], {"array": []})
    assert points(["int8"], {}) == [Point("int8", {})]


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _workers(pid: int) -> list[int]:
    return [child for child in _children(pid) if WORKER in _command(child)]


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
