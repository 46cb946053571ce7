"""Tuning on TVM's RPC: a tracker and three servers as processes, one of them killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from tvm import rpc

from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tune.measure import measure
from microscopiq.compiler.tune.remote import KEY, RemoteRunner
from microscopiq.compiler.tune.task import make_task
from microscopiq.compiler.tune.tuner import Settings, tune_tasks
from microscopiq.compiler.tuned.database import open_database
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError

pytest.importorskip("tornado")
ARCH = load_arch("microscopiq-64x64")
SERVERS, WAIT_SECONDS = 3, 90
LAUNCH = "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; " + (
    "runpy.run_module(sys.argv[0], run_name='__main__')"
)
"""`python -m MODULE` without torch, whose import takes longest and which nothing here needs."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments: str) -> subprocess.Popen:
    # A session of its own: a server's helpers end with it.
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def servers_of(port: int) -> int:
    try:
        summary = rpc.connect_tracker("127.0.0.1", port).summary()
    except (OSError, RuntimeError):
        return 0
    return sum(item["key"] == f"server:{KEY}" for item in summary["server_info"])


@pytest.fixture
def cluster():
    """A tracker's port and the processes of its servers."""
    port = free_port()
    host = ("--host", "127.0.0.1")
    processes = [
        start("tvm.exec.rpc_tracker", *host, "--port", str(port), "--port-end", str(port + 1))
    ]
    try:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and not _listens(port):
            time.sleep(0.2)
        for _ in range(SERVERS):
            own = free_port()
            ports = ("--port", str(own), "--port-end", str(own + 9))
            tracker = ("--tracker", f"127.0.0.1:{port}", "--key", KEY)
            processes.append(start("tvm.exec.rpc_server", *host, *ports, *tracker))
        while time.monotonic() < end and servers_of(port) < SERVERS:
            time.sleep(0.2)
        assert servers_of(port) == SERVERS
        yield port, processes[1:]
    finally:
        for process in processes:
            kill(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_lost_server_costs_its_candidate(cluster, tmp_path):
    port, servers = cluster
    op = Gemm(12, 1, 128, 128, 32, "ms4")
    segment = stand_in_segment(op, 0.9)
    local, remote = (make_task(op, ARCH, segment, "scores") for _ in range(2))

    def lose_one(progress):
        if progress.done >= 60:
            kill(servers[1])

    database = open_database(tmp_path, ARCH, create=True)
    settings = Settings(tracker=f"127.0.0.1:{port}", report=lose_one)
    outcome = tune_tasks([remote], ARCH, database, 160, settings)
    assert outcome.trials == 160 and not outcome.interrupted
    assert remote.failed <= 1 and servers_of(port) == SERVERS - 1
    assert remote.best <= remote.default == local.default
    # The servers' programs have the task's weights.
    assert remote.best == measure(op, remote.tile, ARCH, segment)


def test_addresses_that_are_none():
    with pytest.raises(ConfigError, match=r"tracker 'here'; allowed: HOST:PORT"):
        RemoteRunner("here")
