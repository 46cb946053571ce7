"""What ended a command: its exit code, and what the user reads about it."""

import errno
import os
import platform
import sys
import traceback
import warnings

from ... import __version__
from ...target.errors import MicroscopiqError
from .interrupts import EXIT_INTERRUPTED
from .streams import EXIT_PIPE, EXIT_USER, report, silence

EXIT_INTERNAL = 3
TYPER_PIPE = 1
"""What Typer ends with when a reader went away; nothing else of it does, as nothing here asks."""
DEBUG = "MICROSCOPIQ_DEBUG"
OUTSIDE = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "EISDIR", "ENOTDIR"),
        *("ENAMETOOLONG", "ELOOP", "ENOENT", "ENXIO", "EMFILE", "ENFILE"),
    )
}
"""Errors of the operating system that come from the user's files and disks."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of what a command raised, and say on stderr what it was."""
    if isinstance(error, SystemExit):
        return EXIT_PIPE if error.code == TYPER_PIPE else int(error.code or 0)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        return EXIT_PIPE
    if isinstance(error, OSError) and error.errno in OUTSIDE:
        if error.filename is None:
            # Files have names, which `whole_file` puts into errors: what is left is this.
            silence(sys.stdout)
        report(error)
        return EXIT_USER
    if isinstance(error, MicroscopiqError):
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    print(_internal(error), file=sys.stderr)
    return EXIT_INTERNAL


def one_line_warnings() -> None:
    """Print a library's warning as one line; its source line is of no use in a shell."""
    warnings.showwarning = _print_warning


def _print_warning(message, *_where: object, **_named: object) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _internal(error: BaseException) -> str:
    text = str(error).strip()
    last = text.splitlines()[-1] if text else "no message"
    return (
        f"internal error: {type(error).__name__}: {last}\n"
        "This is a defect of microscopiq, not a mistake of yours. Please report it with the\n"
        f"command, the model and what the command prints with {DEBUG}=1\n"
        f"(microscopiq {__version__}, Python {platform.python_version()}, {platform.platform()})."
    )
