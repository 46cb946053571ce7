"""Tuning through MetaSchedule: from a model to a database, and from there to a compilation."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import tvm
from tvm.s_tir import meta_schedule as ms

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import OUTLIER_WAYS, REPLAY, Gemm
from microscopiq.compiler.options import Options
from microscopiq.compiler.tiling.legal import legal_tiles
from microscopiq.compiler.tune.artifact import Builder
from microscopiq.compiler.tune.bound import bound_of, least_bytes
from microscopiq.compiler.tune.measure import call_record, measure
from microscopiq.compiler.tune.model import TileModel
from microscopiq.compiler.tune.records import records_of
from microscopiq.compiler.tune.runner import Runner, Workers
from microscopiq.compiler.tune.search import Search
from microscopiq.compiler.tune.task import make_task
from microscopiq.compiler.tune.tuner import Settings, own_intrinsics_only, tune_model, tune_tasks
from microscopiq.compiler.tuned import space as spaces
from microscopiq.compiler.tuned.database import best_tile, open_database, workload
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError
from tests.compiler import relax_modules as make

# Its defaults for the model below can be beaten, those of the default machine can't.
ARCH = load_arch("microscopiq-64x64")
RECIPE = "microscopiq-w4a8"
IN_PROCESS = Settings(workers=0)
OP = Gemm(1, 1, 128, 256, 300, "ms4", bias=True)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model, the folder of its database, and what tuning said."""
    folder = tmp_path_factory.mktemp("tuned")
    model = make.model("chain")
    return model, folder, tune_model(model, 90, folder, ARCH, RECIPE, IN_PROCESS)


def cycles(executable) -> int:
    return mq.Session(executable).time().cycles


def test_tuned_beats_no_default_and_is_what_compiles(tuned):
    model, folder, result = tuned
    assert result.search.trials == 90 and not result.search.interrupted
    assert all(task.best <= task.default and not task.failed for task in result.tasks)
    module = mq.quantize(model, RECIPE)
    with result.database:
        target = tvm.target.Target({"tag": "microscopiq", "model": ARCH.name})
        by_scope = tvm.relax.build(module, target=target)
    options = Options(recipe=RECIPE, arch=ARCH, tuning_db=folder)
    by_folder = compile_model(model, options)
    assert by_folder.tuned == len(result.tasks)
    assert cycles(by_scope) == cycles(by_folder.executable)
    gain = sum((task.default - task.best) * task.count for task in result.tasks)
    assert gain > 0
    # What operators gain alone.
    alone = compile_model(model, dataclasses.replace(options, graph=False)).executable
    assert cycles(alone) == cycles(mq.build(module, ARCH, graph=False)) - gain


def test_resume_measures_nothing_twice(tuned):
    model, folder, before = tuned
    again = tune_model(model, 90, folder, ARCH, RECIPE, IN_PROCESS)
    assert again.search.trials == 0
    assert [task.best for task in again.tasks] == [task.best for task in before.tasks]
    more = tune_model(model, 100, folder, ARCH, RECIPE, IN_PROCESS)
    assert more.search.trials == 10
    database = open_database(folder, ARCH)
    for task in more.tasks:
        tiles = [record.tile for record in records_of(database, workload(task.op), ARCH)]
        assert len(tiles) == len(set(tiles)) == task.trials and task.reused == 0


def test_another_run_in_the_folder_leaves_this_one_its_trials(tuned):
    """All models with attention have its operators: trials of theirs are no candidates of mine."""
    model, folder, before = tuned
    shared = before.tasks[0]
    database = open_database(folder, ARCH)
    theirs = len(records_of(database, workload(shared.op), ARCH))
    other = [
        make_task(task.op, ARCH, task.segment, task.layer)
        for task in (shared, dataclasses.replace(shared, op=OP, segment=stand_in_segment(OP)))
    ]
    outcome = tune_tasks(other, ARCH, database, 20, IN_PROCESS)
    assert outcome.trials == 20 == sum(task.trials for task in other)
    assert [task.reused for task in other] == [theirs, 0]
    assert other[0].best <= shared.best and other[1].trials >= 10
    # They aren't of the first run, which has all of its own.
    again = tune_model(model, 90, folder, ARCH, RECIPE, IN_PROCESS)
    assert again.search.trials == 0
    (counted,) = (task.trials for task in again.tasks if task.op == shared.op)
    assert counted == theirs


def test_another_machines_database_is_refused(tuned, monkeypatch):
    model, folder, _ = tuned
    other = load_arch("microscopiq-16x16")
    with pytest.raises(ConfigError) as error:
        tune_model(model, 1, folder, other, RECIPE)
    assert f"{ARCH.name} ({ARCH.hash})" in str(error.value)
    assert f"{other.name} ({other.hash})" in str(error.value)
    with pytest.raises(ConfigError, match="microscopiq-16x16"):
        compile_model(model, Options(recipe=RECIPE, arch=other, tuning_db=folder))
    monkeypatch.setattr(spaces, "__version__", "9.9.9")
    with pytest.raises(ConfigError, match=r"microscopiq 0\.1\.0.*microscopiq 9\.9\.9"):
        open_database(folder, ARCH)


def test_missing_and_broken_databases(tmp_path):
    with pytest.raises(ConfigError, match="no tuning database in"):
        open_database(tmp_path / "none", ARCH)
    for name in ("database_tuning_record.json", "database_workload.json"):
        (tmp_path / name).write_text("[1, not json\n")
    with pytest.raises(ConfigError, match="can't be read"):
        open_database(tmp_path, ARCH)


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    def stop(progress):
        assert progress.total == 300 and progress.seconds_left >= 0 and 0 < progress.share <= 1
        os.kill(os.getpid(), signal.SIGINT)

    model = make.model("chain")
    settings = dataclasses.replace(IN_PROCESS, report=stop)
    result = tune_model(model, 300, tmp_path, ARCH, RECIPE, settings)
    assert result.search.interrupted and 0 < result.search.trials < 300
    assert len(open_database(tmp_path, ARCH)) == result.search.trials


def test_from_the_side_of_metaschedule(tmp_path):
    module = mq.quantize(make.model("chain"), RECIPE)
    with own_intrinsics_only():
        database = ms.relax_integration.tune_relax(
            module,
            {},
            "microscopiq",
            str(tmp_path),
            max_trials_global=24,
            num_trials_per_iter=8,
            builder=Builder(),
            runner=Runner(Workers(0)),
            space=spaces.space(),
            strategy=Search(trials=24),
            cost_model="random",
            measure_callbacks=[ms.measure_callback.AddToDatabase()],
        )
    assert len(database) == 24
    with database:
        tuned = tvm.relax.build(module, target="microscopiq")
    assert cycles(tuned) <= cycles(mq.build(module))


def test_evolutionary_search_of_tvm(tmp_path):
    database = ms.database.MemoryDatabase()
    strategy = ms.search_strategy.EvolutionarySearch(
        population_size=16, init_measured_ratio=0.2, init_min_unmeasured=8, genetic_num_iters=1
    )
    with own_intrinsics_only():
        context = ms.TuneContext(
            mod=workload(OP),
            target=tvm.target.Target("microscopiq"),
            space_generator=spaces.space(ARCH),
            search_strategy=strategy,
            num_threads=1,
            rand_state=1,
        )
    ms.tune_tasks(
        tasks=[context], task_weights=[1.0], work_dir="", max_trials_global=8,
        num_trials_per_iter=8, builder=Builder(ARCH), runner=Runner(Workers(0)),
        database=database, cost_model=TileModel(ARCH),
        measure_callbacks=[ms.measure_callback.AddToDatabase(),
                           ms.measure_callback.UpdateCostModel()],
    )  # fmt: skip
    seconds, tile = best_tile(database, workload(OP), ARCH)
    assert tile in legal_tiles(OP, ARCH)
    assert round(seconds * ARCH.clock_mhz * 1e6) == measure(OP, tile, ARCH)


def test_cost_model_learns_and_is_kept(tmp_path):
    model, tiles = TileModel(ARCH), legal_tiles(OP, ARCH)[::40]
    measured = [(tile, measure(OP, tile, ARCH)) for tile in tiles]
    untrained = model.score(OP, ARCH, list(tiles))
    model.learn(OP, ARCH, measured)
    trained = model.score(OP, ARCH, list(tiles))

    def error(scores):
        truth = np.array([count for _, count in measured])
        return float(np.abs(np.exp(-scores) / truth - 1).mean())

    assert error(trained) < error(untrained)
    model.save(str(tmp_path / "model.json"))
    warm = TileModel(ARCH)
    warm.load(str(tmp_path / "model.json"))
    assert (warm.score(OP, ARCH, list(tiles)) == trained).all()
    assert json.loads((tmp_path / "model.json").read_text())


@pytest.mark.parametrize("weight_format", ["int4", "ms4", ""])
def test_no_schedule_beats_the_bound(weight_format):
    op = Gemm(1, 1, 128, 200, 300, weight_format)
    segment = stand_in_segment(op) if weight_format else b""
    tiles = legal_tiles(op, ARCH)
    records = [call_record(op, tile, ARCH, segment) for tile in tiles[:: len(tiles) // 20]]
    bound = bound_of(op, ARCH, segment, records[0])
    assert bound.cycles <= bound.floor <= min(record["cycles"] for record in records)
    moved = [record["dram_bytes"]["read"] + record["dram_bytes"]["written"] for record in records]
    assert least_bytes(op, segment) <= min(moved)
    assert len({record["recon"]["passes"] for record in records}) == 1


def test_tuner_tries_both_ways_of_outliers(tmp_path):
    """On a machine with ReCoN and replay: no way is lost on the way to the database and back."""
    arch = dataclasses.replace(ARCH, replay_columns=64, weight_buses=8, row_release=1)
    op = dataclasses.replace(OP, m=1, flagged=0.25)
    task = make_task(op, arch, stand_in_segment(op, 0.25), "layer")
    assert task.tile.outliers == REPLAY
    database = open_database(tmp_path, arch, create=True)
    outcome = tune_tasks([task], arch, database, 24, Settings(workers=0, model=False))
    assert outcome.trials == 24
    records = records_of(database, workload(op), arch)
    assert {record.tile.outliers for record in records} == set(OUTLIER_WAYS)
    measured = {record.tile: measure(op, record.tile, arch, task.segment) for record in records}
    assert task.best == min(measured.values()) <= task.default == measured[task.tile]
    seconds, tile = best_tile(database, workload(op), arch)
    assert measured[tile] == task.best == round(seconds * arch.clock_mhz * 1e6)
    # Either way may be the fastest: none bounds the other.
    assert task.bound.floor <= task.best
