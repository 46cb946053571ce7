"""Progress bars of the command line."""

import sys
import threading

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

DELAY_SECONDS = 2.0
"""A stage that is done sooner shows no bar."""


class StageBars:
    """Shows the progress of long stages on stderr; nothing when stderr is no terminal.

    An object of this class is an `Options.progress`: the first call of a stage starts its clock.
    """

    def __init__(self):
        self.enabled = sys.stderr.isatty()
        self.stage = ""
        self.bar: Progress | None = None
        self.timer: threading.Timer | None = None

    def __enter__(self) -> "StageBars":
        return self

    def __exit__(self, *_exception) -> None:
        self._end()

    def __call__(self, stage: str, done: int, total: int, item: str) -> None:
        if not self.enabled:
            return
        if stage != self.stage:
            self._end()
            self._begin(stage, total)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, total=total, item=item)

    def _begin(self, stage: str, total: int) -> None:
        self.stage = stage
        columns = (
            TextColumn("{task.description:9}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[item]}"),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.bar.add_task(stage, total=total, item="")
        self.timer = threading.Timer(DELAY_SECONDS, self.bar.start)
        self.timer.daemon = True
        self.timer.start()

    def _end(self) -> None:
        if self.timer is None or self.bar is None:
            return
        self.timer.cancel()
        self.timer.join()
        if self.bar.live.is_started:
            self.bar.stop()
        self.stage, self.bar, self.timer = "", None, None
