"""runtime/session.py: threads may share sessions and executables, and get what one would get."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from microscopiq import Session
from tests.compiler import relax_modules as make

THREADS, ROUNDS = 4, 3


@pytest.fixture(scope="module")
def model():
    mod = make.module(make.mlp, (3, 10))
    executables = [make.compiled(mod, "microscopiq-w4a8").executable for _ in range(2)]
    return executables, make.inputs_of(mod)


def one(sessions):
    return [sessions[0]] * THREADS


def each_its_own(sessions):
    return sessions


@pytest.mark.parametrize("executables_used", [1, 2])
@pytest.mark.parametrize("share", [one, each_its_own])
def test_threads_get_what_one_gets(model, executables_used, share):
    executables, inputs = model
    modes = ("fast", "structural")
    sessions = share(
        [Session(executables[i % executables_used], mode=modes[i // 2]) for i in range(THREADS)]
    )
    expected = Session(executables[0]).run(*inputs)

    def run(session):
        return [session.run(*inputs) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        results = [result for results in pool.map(run, sessions) for result in results]
    assert len(results) == THREADS * ROUNDS
    for result in results:
        np.testing.assert_array_equal(result.outputs[0], expected.outputs[0])
        # Records of another thread's run would be among those of this one.
        assert result.calls == expected.calls
