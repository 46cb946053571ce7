"""Imports of a command, and Ctrl-C meanwhile and while Python ends."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..without_torch import import_tvm

EXIT_INTERRUPTED = 130


def leave_at_once() -> None:
    """End the process on Ctrl-C from now on, without an exception.

    An exception while modules are imported or Python ends would cross code of others, some of
    which prints it or takes it for another. In the background of a shell, where Ctrl-C is
    ignored, it stays so.
    """
    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def leaving() -> Iterator[None]:
    """Let Ctrl-C end the process at once meanwhile: for imports, which leave nothing to undo."""
    before = signal.getsignal(signal.SIGINT)
    leave_at_once()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def importing() -> Iterator[None]:
    """As `leaving`, for what needs TVM."""
    with leaving():
        import_tvm()
        yield


def _leave(_number, _frame) -> None:
    os._exit(EXIT_INTERRUPTED)
