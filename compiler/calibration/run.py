"""Runs the module of a calibration, sample by sample, on LLVM and BLAS."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from ...target.errors import InputError, last_line
from ..llvm import build_for_llvm
from ..partition.layer import Layer, Ordering, Replaced
from .observe import Rows, in_source, observed
from .pieces import Store, cut, flat_arrays
from .products import Part, Product, Tap, Weighted
from .samples import Call

_numbers = itertools.count()


class _Enough(Exception):
    """Ends a call of the model once all rows that are wanted were seen."""


class Runner:
    """A model whose products show their rows, made by `runner`.

    Attributes
    ----------
    places : list of Place
        By the number that the module calls with.
    wanted : set of int
        Numbers of the `Rows` that are gathered.
    stop_after, left : int or None
        Places with wanted rows in a call, and those to come; None where a call may pass one twice.
    error : BaseException or None
        What the callback raised in this call; Ctrl-C too.
    quantized : dict of int to Product
        By the number of a place: what it computes with its layer's quantized weight.
    pieces : list of callable
        The model, one after the other; one alone unless it's to be cut at its rows.
    piece : int
        The one whose inputs are stored for every call of the model, once any are.
    """

    def __init__(
        self, mod: tvm.IRModule, parts: dict, rows: list[Rows], entry: str, name: str, pieces: bool
    ):
        instrumented, self.places = observed(mod, parts, rows, name)
        starts: set[int] = set()
        # Rows of another function are seen wherever it is called.
        if pieces and all(one.function == entry for one in rows):
            starts = {number for number, place in enumerate(self.places) if place.rows is not None}
        instrumented, names, self.where_made = cut(instrumented, entry, starts, name)
        machine = relax.VirtualMachine(build_for_llvm(instrumented), tvm.cpu())
        self.pieces = [machine[piece] for piece in names]
        self.piece = 0
        self.store: Store | None = None
        self.entry = entry
        self.wanted: set[int] = set()
        self.stop_after: int | None = None
        self.left: int | None = None
        self.held_out_every = 0
        self.held_out = False
        self.where = ""
        self.error: BaseException | None = None
        self.quantized: dict[int, Product] = {}
        self.as_source = True
        self.source: deque[tuple[int, np.ndarray]] = deque()

    def quantize(self, layer: Layer, ordering: Ordering, replaced: Replaced) -> None:
        """Compute a layer with what replaced its weight from now on, after its source's rows."""
        for number, place in enumerate(self.places):
            product = place.product
            same = place.layer is not None and place.layer.number == layer.number
            if same and isinstance(product, Weighted):
                self.quantized[number] = in_source(layer, ordering, replaced, product)

    def run(
        self, calls: list[Call], rows: list[Rows], held_out_every: int, step: Callable[[], None]
    ) -> None:
        """Add the rows of all calls to the statistics of `rows`.

        Parameters
        ----------
        held_out_every : int
            Every so many calls, or rows of a single call, are held out; 0 for none.
        step : callable
            Called after each call of the model.

        Raises
        ------
        InputError
            For NaN or Inf in an activation, and when the model refuses a sample.
        """
        once = all(one.function == self.entry for one in rows)
        self.stop_after = len(rows) if once else None
        held_out = _held_out(len(calls), held_out_every)
        self.held_out_every = held_out_every if len(calls) == 1 else 0
        piece = self._piece_of(rows)
        store = None if piece == self.piece else Store()
        for number, call in enumerate(calls):
            self.where = f"calibration call {number}"
            self.held_out = number in held_out
            self.wanted, self.left = set(), None
            inputs = self._inputs(number, call, piece)
            if store:
                store.put(number, inputs)
            self.wanted = {one.number for one in rows}
            self.source.clear()
            for as_source, arrays in inputs.items():
                self.left = self.stop_after
                self._run(piece, arrays, as_source)
            if self.source:
                raise self._other_way()
            step()
        if store:
            self.close()
            self.piece, self.store = piece, store

    def close(self) -> None:
        """Forget how far the calls have come."""
        if self.store:
            self.store.file.close()
        self.store = None

    def _piece_of(self, rows: list[Rows]) -> int:
        """Return the piece in which the first of the rows are seen."""
        wanted = {one.number for one in rows}
        found = [
            self.where_made[number]
            for number, place in enumerate(self.places)
            if place.rows and place.rows.number in wanted and number in self.where_made
        ]
        return min(found, default=self.piece)

    def _inputs(self, number: int, call: Call, piece: int) -> dict[bool, list[np.ndarray]]:
        """Return what a piece gets in a call of the model, by whether that is the source's."""
        inputs = self.store.get(number) if self.store else {True: list(call)}
        if self.quantized:
            inputs.setdefault(False, inputs[True])
        for at in range(self.piece, piece):
            inputs = {key: self._run(at, arrays, key) for key, arrays in inputs.items()}
        return inputs

    def _run(self, piece: int, arrays: Sequence[np.ndarray], as_source: bool) -> list[np.ndarray]:
        self.as_source, self.error = as_source, None
        try:
            # What isn't finite is found and named where it enters a layer.
            with np.errstate(over="ignore", invalid="ignore"):
                outputs = self.pieces[piece](*map(tvm.runtime.tensor, arrays))
            return flat_arrays(outputs)
        except Exception as error:
            # What a packed function raises arrives as another class.
            if isinstance(self.error, _Enough):
                return []
            if self.error is not None:
                raise self.error from None
            raise InputError(f"{self.where}: the model fails: {last_line(error)}") from error

    def observe(self, number: int, *tensors) -> None:
        """Compute one product; the module calls this."""
        try:
            self._observe(number, *map(np.from_dlpack, tensors))
        except BaseException as error:
            self.error = error
            raise

    def _observe(self, number: int, *arrays: np.ndarray) -> None:
        place = self.places[number]
        *operands, out = arrays
        product = place.product if self.as_source else self.quantized.get(number, place.product)
        if place.rows is None or place.rows.number not in self.wanted:
            product(tuple(operands), out, None)
            return
        tap: Tap | None = None
        if self.quantized and self.as_source:
            self.source.append((number, operands[0].copy()))
        else:
            tap = self._tap(place.rows, self._source_parts(number))
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                if tap is not None and isinstance(product, Weighted):
                    for part in product.parts(operands[0]):
                        tap(*part)
                raise _Enough
        product(tuple(operands), out, tap)

    def _source_parts(self, number: int) -> Iterator[Part] | None:
        """Return the rows that a place had in the source model's turn of this call."""
        if not self.quantized:
            return None
        if not self.source or self.source[0][0] != number:
            raise self._other_way()
        product = self.places[number].product
        assert isinstance(product, Weighted)
        return product.parts(self.source.popleft()[1])

    def _other_way(self) -> InputError:
        return InputError(
            f"{self.where}: with quantized layers the model takes another way through its branches "
            "than without, so their rows can't be compared: give Calibration(sequential=False)"
        )

    def _tap(self, wanted: Rows, parts: Iterator[Part] | None) -> Tap:
        def tap(group: int, rows: np.ndarray, start: int) -> None:
            statistics = wanted.statistics[group]
            source = None if parts is None else next(parts)[1]
            try:
                if not self.held_out_every:
                    statistics.add(rows, self.held_out, source)
                    return
                apart = (np.arange(start, start + len(rows)) + 1) % self.held_out_every == 0
                for held_out, mask in ((True, apart), (False, ~apart)):
                    other = None if source is None else source[mask]
                    statistics.add(rows[mask], held_out, other)
            except FloatingPointError:
                raise InputError(self._not_finite(wanted, rows)) from None

        return tap

    def _not_finite(self, wanted: Rows, rows: np.ndarray) -> str:
        layer, bad = wanted.layers[0].name, int((~np.isfinite(rows)).sum())
        if not bad:
            return (
                f"{self.where}: inputs of layer '{layer}' are too large: the sum of their squares "
                f"overflows float32 (largest magnitude {np.abs(rows).max():g})"
            )
        return (
            f"{self.where}: {bad} of {rows.size} inputs of layer '{layer}' aren't finite, "
            "all must be"
        )


@contextmanager
def runner(
    mod: tvm.IRModule, parts: dict, rows: list[Rows], entry: str, pieces: bool = False
) -> Iterator[Runner]:
    """Build a model's calibration module; its callback is there until the context ends.

    Parameters
    ----------
    pieces : bool
        Keep for every call how far the model has come: rows are then to be asked for in order.
    """
    # A module looks packed functions up by global names, and when it is loaded.
    name = f"microscopiq.observe{next(_numbers)}"
    made: Runner
    # `made` is there when it's called, not yet here.
    tvm_ffi.register_global_func(name, lambda *row: made.observe(*row))  # noqa: PLW0108
    try:
        made = Runner(mod, parts, rows, entry, name, pieces)
        try:
            yield made
        finally:
            made.close()
    finally:
        tvm_ffi.registry.remove_global_func(name)


def _held_out(calls: int, every: int) -> set[int]:
    """Return which of several calls are held out: each `every`-th, at least the last one."""
    if not every or calls == 1:
        return set()
    return set(range(every - 1, calls, every)) or {calls - 1}
