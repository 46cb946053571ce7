"""The command's output streams: other encodings than UTF-8, full disks, readers that go away."""

import codecs
import contextlib
import os
import sys
from typing import TextIO

EXIT_USER, EXIT_PIPE = 2, 141
"""141 is what a shell says of a command that SIGPIPE ended."""
PLAIN = {
    "█": "#", "·": ".", "…": "~", "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+",
}  # fmt: skip
"""What stands for a character where the encoding lacks it, one for one: columns stay aligned."""
HANDLER = "microscopiq.plain"


def set_up() -> None:
    """Let this process print any text in any encoding, and to closed streams."""
    codecs.register_error(HANDLER, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)


def finish(code: int) -> int:
    """Write what is buffered; return the exit code, another one when that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
            code = EXIT_PIPE
        except OSError as error:
            silence(stream)
            report(error)
            code = EXIT_USER
    return code


def report(error: OSError) -> None:
    """Say on stderr which file the operating system refused, and why."""
    what = "standard output" if error.filename is None else f"'{error.filename}'"
    with contextlib.suppress(OSError):
        print(f"error: can't use {what}: {error.strerror}", file=sys.stderr)


def silence(stream: TextIO) -> None:
    """Send a stream nowhere: Python would write again at its end, and fail again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in text), error.end
