"""Cuts the function of a calibration run into pieces, so that what is settled runs only once.

A piece starts at a product whose rows are wanted. What later pieces read is what it returns.
"""

import itertools
import tempfile

import numpy as np
import tvm
from tvm import relax

from ...runtime.whole_file import writing
from ..partition.graph import static_shape


def cut(
    mod: tvm.IRModule, entry: str, starts: set[int], name: str
) -> tuple[tvm.IRModule, list[str], dict[int, int]]:
    """Return a module whose functions, one after the other, do what `entry` did.

    Each takes what the one before it returned, a tuple; the first takes the inputs of `entry`.

    Parameters
    ----------
    starts : set of int
        Numbers of the calls of the packed function `name` before which to cut.

    Returns
    -------
    mod : tvm.IRModule
        Without `entry`.
    names : list of str
        The functions, in order; the last one returns what `entry` returned.
    where : dict of int to int
        Which of them makes the call of a number; not of those in other functions.
    """
    function = mod[entry]
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    live = _live(function, bindings)
    places = [0]
    where: dict[int, int] = {}
    for at, binding in enumerate(bindings):
        number = _number(binding, name)
        if number in starts and at and all(map(_is_array, live[at])):
            places.append(at)
        if number is not None:
            where[number] = len(places) - 1
    pieces: dict[tvm.ir.GlobalVar, relax.Function] = {}
    names: list[str] = []
    for first, end in zip(places, [*places[1:], None], strict=True):
        result = function.body.body if end is None else relax.Tuple(live[end])
        params = list(function.params) if first == 0 else live[first]
        body = relax.SeqExpr([relax.BindingBlock(bindings[first:end])], result)
        piece = relax.Function(params, body, result.ty, is_pure=function.is_pure)
        names.append(f"{entry}_piece{len(names)}")
        piece = piece.with_attr("global_symbol", names[-1])
        pieces[tvm.ir.GlobalVar(names[-1])] = relax.utils.copy_with_new_vars(piece)
    others = {gv: func for gv, func in mod.functions.items() if gv.name_hint != entry}
    return tvm.IRModule({**others, **pieces}, attrs=mod.attrs), names, where


def _live(function: relax.Function, bindings: list) -> list[list[relax.Var]]:
    """Return what is read at or after each binding, and defined before it."""
    needed = dict.fromkeys(relax.analysis.free_vars(function.body.body))
    live: list[list[relax.Var]] = []
    for binding in reversed(bindings):
        needed.pop(binding.var, None)
        needed |= dict.fromkeys(relax.analysis.free_vars(binding.value))
        live.append(list(needed))
    return live[::-1]


def _number(binding, name: str) -> int | None:
    """Return the number that a binding calls the packed function with, None if it's another."""
    value = getattr(binding, "value", None)
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return None
    if value.op.name != "relax.call_dps_packed" or value.args[0].global_symbol != name:
        return None
    return int(value.args[1][0].value)


def _is_array(var: relax.Var) -> bool:
    return isinstance(var.ty, relax.TensorType) and static_shape(var) is not None


def flat_arrays(outputs) -> list[np.ndarray]:
    """Return the arrays of a result in order, nested or not."""
    if hasattr(outputs, "numpy"):
        return [outputs.numpy()]
    return [array for item in outputs for array in flat_arrays(item)]


class Store:
    """Arrays in a temporary file: what a piece gets in every call of the model."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  (its owner closes it)
        self.places: dict[int, tuple[int, dict[bool, int]]] = {}

    def put(self, number: int, inputs: dict[bool, list[np.ndarray]]) -> None:
        """Write what a call has, the source's and that of quantized layers."""
        self.places[number] = self.file.seek(0, 2), {key: len(a) for key, a in inputs.items()}
        with writing(f"{tempfile.gettempdir()} (a temporary file)"):
            for array in itertools.chain.from_iterable(inputs.values()):
                np.save(self.file, array, allow_pickle=False)
            self.file.flush()

    def get(self, number: int) -> dict[bool, list[np.ndarray]]:
        """Return what was written for a call."""
        start, counts = self.places[number]
        self.file.seek(start)
        return {
            key: [np.load(self.file, allow_pickle=False) for _ in range(count)]
            for key, count in counts.items()
        }
