"""Measures candidates on other machines, by TVM's own RPC.

Each candidate's program goes to a server's `microscopiq.runtime.time_program`; what comes back is
its call record. A server that is lost costs the candidate that it had: the next one asks the
tracker for another.
"""

import json
import queue
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from tvm import rpc
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...target.errors import ConfigError
from .artifact import Candidate
from .measure import FUNCTION, candidate_program
from .runner import measured

KEY = "microscopiq"
TIMEOUT_SECONDS = 120
CONNECT_SECONDS = 10
POLL_SECONDS = 0.5
"""How often who waits for a session looks whether the tracker has a new server."""
TIME = "microscopiq.runtime.time_program"


class Servers:
    """Servers of a tracker, each with a session that is kept between candidates.

    Parameters
    ----------
    tracker : str
        ``host:port``.

    Raises
    ------
    ConfigError
        When the address is none, no tracker answers, or it has no server of this key.
    """

    def __init__(self, tracker: str, key: str = KEY, timeout: int = TIMEOUT_SECONDS):
        self.host, self.port = _address(tracker)
        self.key, self.timeout = key, timeout
        try:
            # TVM's own client would try for a minute.
            socket.create_connection((self.host, self.port), CONNECT_SECONDS).close()
            summary = rpc.connect_tracker(self.host, self.port).summary()
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"no RPC tracker answers at {tracker}: {reason}") from None
        self.count = len(_registered(summary, key))
        if not self.count:
            raise ConfigError(f"the tracker at {tracker} has no server with the key '{key}'")
        self.free: queue.SimpleQueue = queue.SimpleQueue()
        self.open, self.lock = 0, threading.Lock()

    def cycles(self, blob: bytes) -> int:
        """Return the cycles of a candidate's program.

        Raises
        ------
        Exception
            When the server is lost, or the program fails there.
        """
        session, begun = self._session()
        try:
            record = json.loads(str(session.get_function(TIME)(blob, FUNCTION)))
        except Exception:
            self._forget()
            raise
        self.free.put((session, begun))
        return int(record["cycles"])

    def _session(self) -> tuple:
        """Return a session that is free, or a new one if a server has none yet."""
        while True:
            try:
                session, begun = self.free.get(timeout=0 if self._may_open() else POLL_SECONDS)
            except queue.Empty:
                if self._claim():
                    return self._request(), time.monotonic()
                continue
            # A server ends a session when its time is up, whatever it does then.
            if time.monotonic() - begun < self.timeout / 2:
                return session, begun
            del session
            self._forget()

    def _may_open(self) -> bool:
        with self.lock:
            return self.open < self.count

    def _claim(self) -> bool:
        """Tell whether a server that the tracker has now is without a session, and take it."""
        summary = rpc.connect_tracker(self.host, self.port).summary()
        with self.lock:
            self.count = len(_registered(summary, self.key))
            if not self.count:
                raise ConnectionError("the tracker has no server any more")
            if self.open >= self.count:
                return False
            self.open += 1
            return True

    def _request(self):
        try:
            tracker = rpc.connect_tracker(self.host, self.port)
            return tracker.request(self.key, session_timeout=self.timeout, max_retry=1)
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        with self.lock:
            self.open -= 1


def _registered(summary: dict, key: str) -> list:
    return [item for item in summary["server_info"] if item["key"] == f"server:{key}"]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"tracker '{text}'; allowed: HOST:PORT")
    return host, int(port)


@derived_object
class RemoteRunner(ms.runner.PyRunner):
    """Runs candidates on the servers of a tracker; `tune_relax(..., runner=RemoteRunner(...))`.

    Parameters
    ----------
    tracker : str
        ``host:port`` of `python -m tvm.exec.rpc_tracker`.
    segments : dict, optional
        Packed weights by the key that candidates name them with.
    """

    def __init__(self, tracker: str, segments: Mapping[str, bytes] | None = None, key: str = KEY):
        self.servers = Servers(tracker, key)
        self.threads = ThreadPoolExecutor(self.servers.count)
        self.segments = segments or {}

    def run(self, runner_inputs):
        """Return a future for each candidate."""
        return [self._submit(str(item.artifact_path)) for item in runner_inputs]

    def _submit(self, text: str):
        candidate = Candidate.from_text(text)
        future: Future = self.threads.submit(self._cycles, candidate)
        return measured(future, candidate.arch)

    def _cycles(self, candidate: Candidate) -> int:
        segment = candidate.segment(self.segments)
        program = candidate_program(candidate.op, candidate.tile, candidate.arch, segment)
        return self.servers.cycles(program)
