"""Worker processes for functions that can be imported, whatever the script that starts them."""

import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

import loky

from .without_torch import import_tvm


def interpreters(
    count: int, initializer: Callable | None = None, arguments: tuple = ()
) -> Executor:
    """Return a pool of new interpreters, which leave Ctrl-C to this process.

    A fork would lose the threads that TVM and BLAS have here. multiprocessing's new interpreters
    run the user's script again, which then needs ``if __name__ == "__main__":``; these don't.
    """
    # Loading a function imports where it's from: the worker does so once it has begun.
    first = pickle.dumps((initializer, arguments))
    return loky.ProcessPoolExecutor(count, initializer=_begin, initargs=(first,))


def end(pool: Executor) -> None:
    """End a pool of `interpreters` without waiting for what they have begun."""
    pool.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Start processes that don't see Ctrl-C, which goes to all of a terminal's: they inherit it.

    What they do before their first call is covered, too: they import then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(first: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_tvm()
    initializer, arguments = pickle.loads(first)
    if initializer is not None:
        initializer(*arguments)
