"""The command `microscopiq tune`: schedules measured on the simulator's timing core."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ...runtime.whole_file import make_folder
from ...target.arch import DEFAULT_ARCH
from .checks import check_input, check_names
from .inputs import InputShape, InputValue, loading
from .interrupts import EXIT_INTERRUPTED, importing
from .options import ArchName, Json, Recipe
from .sheet import Sheet
from .tables import new_console, print_table

HEADINGS = [
    "operator",
    "M x N x K",
    "layers",
    "trials",
    "default",
    "tuned",
    "bound %",
    "reachable %",
    "stops",
]


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path of an .onnx file.")],
    trials: Annotated[int, typer.Option(metavar="N", min=1, help="Candidates to measure in all.")],
    work_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Database; a run that was ended goes on there.")
    ],
    input_shape: InputShape = None,
    input_value: InputValue = None,
    recipe: Recipe = None,
    arch: ArchName = DEFAULT_ARCH,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that measure; one per core.")
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Measure on the servers of TVM's RPC tracker."),
    ] = None,
    cost_model: Annotated[
        Path | None,
        typer.Option(metavar="F.json", help="Start with the cost model of an earlier run."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is drawn by chance.")] = 1,
    as_json: Json = False,
) -> None:
    """Find good schedules of a model's products and convolutions by measuring them."""
    source = loading(model, input_shape, input_value)
    check_names([recipe] if recipe else [], arch)
    check_input(cost_model)
    make_folder(work_dir)
    with importing():
        from ..frontend.load import load_model
        from ..tune.tuner import Settings, tune_model
    with _Bar() as bar:
        settings = Settings(workers, tracker, cost_model, seed=seed, report=bar)
        result = tune_model(load_model(**source), trials, work_dir, arch, recipe, settings)
    if as_json:
        print(json.dumps(rows_of(result)))
    else:
        _print(result, work_dir)
    if result.search.interrupted:
        print(f"stopped: the same command goes on from '{work_dir}'", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED)


def rows_of(result) -> dict:
    """Return what a run found, for `--json`."""
    return {
        "arch": result.arch.name,
        "trials": result.search.trials,
        "seconds": result.search.seconds,
        "interrupted": result.search.interrupted,
        "operators": [
            {
                "layer": task.layer,
                "layers": task.count,
                "m": task.op.m,
                "n": task.op.n,
                "k": task.op.k,
                "batch": task.op.batch * task.op.conv_groups,
                "trials": task.trials,
                "reused": task.reused,
                "failed": task.failed,
                "default_cycles": task.default,
                "tuned_cycles": task.best,
                "bound_cycles": task.bound.cycles,
                "floor_cycles": task.bound.floor,
                "stops": task.bound.stopper(),
            }
            for task in result.tasks
        ],
    }


def _print(result, work_dir: Path) -> None:
    console = new_console()
    print_table(console, Sheet(HEADINGS, [_line(task) for task in result.tasks]))
    before = sum(task.default * task.count for task in result.tasks)
    after = sum(task.best * task.count for task in result.tasks)
    console.print(
        "bound: the larger of compute and DMA, over the tuned cycles; reachable: the least that "
        "any resource needs, with the latency that nothing overlaps; stops: that resource."
    )
    reused = sum(task.reused for task in result.tasks)
    if reused:
        console.print(f"{reused:,} candidates of other runs in '{work_dir}' hold here as well.")
    console.print(
        f"{before:,} -> {after:,} cycles of these layers ({100 * (1 - after / before):.1f} % "
        f"less); {result.search.trials:,} candidates in {result.search.seconds:.1f} s. Use it:"
    )
    console.print(f"microscopiq compile MODEL --tuning-db {work_dir}", soft_wrap=True)


def _line(task) -> tuple[str, ...]:
    op, batch = task.op, task.op.batch * task.op.conv_groups
    return (
        task.layer,
        (f"{batch} x " if batch > 1 else "") + f"{op.m}x{op.n}x{op.k}",
        str(task.count),
        f"{task.trials:,}",
        f"{task.default:,}",
        f"{task.best:,}",
        f"{100 * task.bound.cycles / task.best:.1f}",
        f"{100 * task.bound.floor / task.best:.1f}",
        task.bound.stopper(),
    )


class _Bar:
    """Trials, best so far against the bound, and time left; nothing when stderr is no terminal."""

    def __init__(self):
        self.bar = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_exception) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, progress) -> None:
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            self._begin(progress.total)
        assert self.bar is not None
        task = progress.task
        self.bar.update(
            self.bar.task_ids[0],
            completed=progress.done,
            share=f"{100 * progress.share:.1f} % of the bound",
            left=f"{progress.seconds_left:.0f} s left",
            item=f"{task.layer}: {task.default:,} -> {task.best:,}",
        )

    def _begin(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = [BarColumn(24), MofNCompleteColumn()]
        fields = [TextColumn("{task.fields[" + name + "]}") for name in ("share", "left", "item")]
        self.bar = Bars(TextColumn("tune"), *columns, *fields, console=Console(stderr=True),
                        transient=True)  # fmt: skip
        self.bar.add_task("tune", total=total, share="", left="", item="")
        self.bar.start()
