"""Gathers the statistics of a model's layers, few at a time, and hands each layer its own."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tvm

from ...runtime.session import Session
from ...target.errors import ConfigError, InputError
from ..llvm import build_for_llvm
from ..partition.graph import function_names
from ..partition.layer import Layer, Replaced
from ..partition.partition import Partitions
from .cache import Cache, cache_key
from .observe import Rows, find_rows
from .run import Runner, runner
from .samples import Call, Input, model_inputs, read_calls

ENTRY = "main"
"""Function that the samples are inputs of."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Calibration:
    """Samples of a model's inputs, and how they are used.

    Attributes
    ----------
    samples : iterable, mapping or numpy.ndarray
        As `samples.read_calls` takes them; read once for a model, however often it is calibrated.
    hessian_bytes : int
        Bound of the second moments that are held at once, both kinds together. The model runs again
        for each group of layers that fits; a layer that is larger is a group of its own.
    held_out_every : int
        Every so many calls of the model one is held out, at least the last of several; of a single
        call, every so many rows. 0 holds none out.
    cache_dir : str or Path, optional
        Folder for statistics: the same model, samples and `held_out_every` find them there.
    sequential : bool
        Show each layer what the quantized layers before it give, so that it can make good what
        they changed: the model runs twice, with and without them, in pieces between which the
        samples' values are in a temporary file. If not, every layer sees what fp32 gives, and the
        model runs once for all layers that `hessian_bytes` holds.
    function : str
        Which the samples are inputs of; layers of others get what layers with the same weights got.
        State goes from sample to sample as fp32 makes it.
    """

    samples: Any
    hessian_bytes: int = 1 << 30
    held_out_every: int = 8
    cache_dir: str | Path | None = None
    sequential: bool = True
    function: str = ENTRY
    _calls: dict[tuple[Input, ...], list[Call]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self):
        if self.hessian_bytes < 1:
            raise ConfigError(f"hessian_bytes = {self.hessian_bytes}: at least 1 is needed")
        if self.held_out_every < 0 or self.held_out_every == 1:
            raise ConfigError(
                f"held_out_every = {self.held_out_every}: 2 or more is needed, or 0 for none"
            )

    def calls(self, inputs: list[Input]) -> list[Call]:
        """Return what a model with these inputs is called with; see `samples.read_calls`."""
        key = tuple(inputs)
        if key not in self._calls:
            # Migration calibrates twice, and an iterator gives its samples once.
            self._calls[key] = read_calls(self.samples, inputs)
        return self._calls[key]


def collect(
    mod: tvm.IRModule,
    parts: Partitions,
    take: Callable,
    sequential: bool,
    calibration: Calibration,
    progress: Progress | None = None,
) -> None:
    """Call ``take(layer, statistics)`` for each layer with a weight; `passes.quantize` starts it.

    Parameters
    ----------
    mod : tvm.IRModule
        Imported, in non-dataflow form.
    parts : dict of GlobalVar to Partition
        Its functions.
    take : callable
        What it gets is freed after it; None instead of statistics if no row reached the layer. It
        returns what the layer computes with from now on, or None.
    sequential : bool
        Whether the caller can do with layers one after the other, if `calibration` asks for it.
    progress : callable, optional
        Called as ``progress(done, total, what)`` after each call of the model.

    Raises
    ------
    InputError
        For samples that the model can't take, and for NaN or Inf in an activation.
    ConfigError
        When the cache's folder can't be written.
    """
    function = check_entry(mod, calibration.function)
    given, state = model_inputs(mod, function)
    calls = calibration.calls(given)
    inputs = [*given, *state]
    if state:
        calls = with_state(mod, function, calls)
    one_by_one = sequential and calibration.sequential
    _Collection(mod, parts, calls, inputs, calibration, one_by_one).run(take, progress)


def check_entry(mod: tvm.IRModule, name: str) -> str:
    """Return the name of the function that samples are inputs of, if the module has it."""
    names = [gv.name_hint for gv in function_names(mod)]
    if name not in names:
        raise InputError(
            f"calibration runs the function '{name}'; the module has only {', '.join(names)}"
        )
    return name


def with_state(mod: tvm.IRModule, function: str, calls: list[Call]) -> list[Call]:
    """Return calls with the state that each meets, when fp32 makes them one after the other."""
    session = Session(build_for_llvm(mod))
    found: list[Call] = []
    for call in calls:
        found.append((*call, *session.state(function).values()))
        session.run(*call, function=function)
    return found


class _Collection:
    """State of one calibration."""

    def __init__(
        self,
        mod,
        parts,
        calls: list[Call],
        inputs: list[Input],
        options: Calibration,
        sequential: bool,
    ):
        self.mod, self.parts, self.calls, self.options = mod, parts, calls, options
        self.rows = find_rows(mod, parts, options.function)
        self.orderings = {
            layer.number: part.ordering(layer) for part in parts.values() for layer in part.layers
        }
        self.sequential = sequential
        one_by_one = [[one] for one in self.rows]
        self.groups = one_by_one if sequential else split(self.rows, options.hessian_bytes)
        self.quantized: list[tuple[Layer, Replaced]] = []
        self.cache: Cache | None = None
        if options.cache_dir is not None:
            key = cache_key(mod, inputs, calls, (options.held_out_every, options.function))
            self.cache = Cache(options.cache_dir, key)
        self.done = 0

    def run(self, take: Callable, progress: Progress | None) -> None:
        """Take the groups one after the other: gather, hand out, forget."""
        total = len(self.calls) * len(self.groups)

        def step() -> None:
            self.done += 1
            if progress:
                progress(self.done, total, what)

        with ExitStack() as stack:
            made: Runner | None = None
            for number, group in enumerate(self.groups):
                what = f"group {number + 1} of {len(self.groups)}, {len(group)} inputs of layers"
                missing = [one for one in group if not self._load(one)]
                if missing and made is None:
                    made = stack.enter_context(
                        runner(
                            self.mod,
                            self.parts,
                            self.rows,
                            self.options.function,
                            self.sequential,
                        )
                    )
                if made is not None and missing:
                    for layer, replaced in self.quantized:
                        made.quantize(layer, self.orderings[layer.number], replaced)
                    self.quantized.clear()
                    self._gather(made, missing, step)
                self.done = len(self.calls) * (number + 1)
                for one in group:
                    self._hand_out(one, take)

    def _load(self, one: Rows) -> bool:
        return self.cache is not None and self.cache.load(one)

    def _gather(self, made: Runner, missing: list[Rows], step: Callable[[], None]) -> None:
        for one in missing:
            one.start()
        made.run(self.calls, missing, self.options.held_out_every, step)
        if self.cache is not None:
            for one in missing:
                self.cache.save(one)

    def _hand_out(self, one: Rows, take: Callable) -> None:
        statistics = one.ordered()
        seen = any(group.rows or group.held_out_rows for group in statistics)
        for layer in one.layers:
            replaced = take(layer, statistics if seen else None)
            if self.sequential and replaced is not None:
                self.quantized.append((layer, replaced))
                if self.cache is not None:
                    self.cache.follow(*replaced)


def split(rows: list[Rows], budget: int) -> list[list[Rows]]:
    """Return consecutive groups whose statistics fit the budget, one at least in each."""
    groups: list[list[Rows]] = []
    free = 0
    for one in rows:
        if not groups or one.bytes > free:
            groups.append([])
            free = budget
        groups[-1].append(one)
        free -= one.bytes
    return groups
