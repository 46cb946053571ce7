"""Who measures candidates, and with which weights: this process, others, after a bad one."""

import dataclasses
import os
import subprocess
import sys

import pytest
from tvm.s_tir import meta_schedule as ms

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tiling.legal import default_gemm_tile
from microscopiq.compiler.tune.artifact import Candidate
from microscopiq.compiler.tune.measure import measure, weights_key
from microscopiq.compiler.tune.records import records_of
from microscopiq.compiler.tune.runner import Runner, Workers
from microscopiq.compiler.tune.task import make_task
from microscopiq.compiler.tune.tuner import Settings, tune_tasks
from microscopiq.compiler.tuned.database import open_database, workload
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError

ARCH = load_arch("microscopiq-64x64")
IN_PROCESS = Settings(workers=0)
OP = Gemm(1, 1, 128, 256, 300, "ms4", bias=True)


@pytest.mark.slow
def test_equal_operators_are_measured_with_their_own_weights(tmp_path):
    """Of two models, with outliers in few and in most micro-blocks, in one folder."""
    database = open_database(tmp_path, ARCH, create=True)
    segments = [stand_in_segment(OP, share) for share in (0.0, 0.9)]
    for number, segment in enumerate(segments):
        task = make_task(OP, ARCH, segment, "layer")
        tune_tasks([task], ARCH, database, 6, IN_PROCESS)
        assert (task.trials, task.reused) == (6, 0)
        records = [
            record
            for record in records_of(database, workload(OP), ARCH)
            if record.source.weights == weights_key(segment)
        ]
        counts = [round(record.seconds * ARCH.clock_mhz * 1e6) for record in records]
        assert counts == [measure(OP, record.tile, ARCH, segment) for record in records]
        assert task.best == min(counts) == measure(OP, task.tile, ARCH, segment)
        assert counts != [
            measure(OP, record.tile, ARCH, segments[1 - number]) for record in records
        ]


def test_a_bad_candidate_is_an_error_of_its_own():
    good = Candidate(OP, default_gemm_tile(OP, ARCH), ARCH)
    huge = dataclasses.replace(good.tile, tile_m=100_000)
    inputs = [
        ms.runner.RunnerInput(dataclasses.replace(good, tile=tile).to_text(), "microscopiq", [])
        for tile in (huge, good.tile)
    ]
    runner = Runner(Workers(0))
    bad, fine = (future.result() for future in runner.run(inputs))
    assert bad.run_secs is None and "CapacityError" in str(bad.error_msg)
    assert round(float(fine.run_secs[0]) * 1e9) == measure(OP, good.tile, ARCH)


SCRIPT = """
from microscopiq.compiler.without_torch import import_tvm

import_tvm()
import sys, threading
import microscopiq as mq
from tests.compiler import relax_modules as make

# Where another thread is alive, workers are new interpreters.
threading.Thread(target=threading.Event().wait, daemon=True).start()
mq.tune(make.model("chain"), 4, sys.argv[1])
print("tuned")
"""


@pytest.mark.slow
def test_a_script_without_a_guard_can_tune(tmp_path):
    """multiprocessing's workers would run it again, and wait for each other."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "work")],
        capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["tuned"], done.stderr[-2000:]


@pytest.mark.parametrize("count", [0, 2])
def test_workers_measure_the_same(count):
    """Also with the weights that a candidate names, whatever other workers were started with."""
    segments = {weights_key(s): s for s in (stand_in_segment(OP, share) for share in (0.0, 0.9))}
    keys, tile = ["", *segments], default_gemm_tile(OP, ARCH)
    workers, others = Workers(count, segments), Workers(0, {"1": b"no weights"})
    try:
        texts = [Candidate(OP, tile, ARCH, key).to_text() for key in keys]
        found = [workers.submit(text).result() for text in texts]
        assert found == [measure(OP, tile, ARCH, segments.get(key)) for key in keys]
        assert len(set(found)) == 3
        with pytest.raises(ConfigError, match=r"weights \w{16} of a candidate aren't among the 1"):
            others.submit(texts[1]).result()
    finally:
        workers.close()
