"""Recipes side by side on one model: error, bits, time to quantize, cycles, energy.

Samples are cut into those that calibrate and those that the outputs are compared on: nothing of a
quantizer sees the latter. Recipes that the machine runs are measured on the simulator; the others,
for weights alone or in formats for comparison, run on the host.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ...runtime.session import Session
from ...target.errors import InputError
from ..api import build
from ..calibration.collect import ENTRY, check_entry
from ..calibration.pieces import flat_arrays
from ..calibration.run import runner
from ..calibration.samples import Call, model_inputs, read_calls
from ..driver import prepared, quantize
from ..frontend.load import load_model
from ..partition.partition import partition_module
from ..passes.records import LayerRecord, read_records
from ..quant.recipe import Recipe, load_recipe

UNSEEN_EVERY = 4
"""Of so many samples one is for comparing outputs, at least the last."""
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Row:
    """What a recipe gave on a model.

    Attributes
    ----------
    relative_error : float
        Squared distance of all outputs from fp32's over those, on samples nobody calibrated with.
    agreement : float
        Share of the first output's rows whose largest element is where fp32 has it.
    bits_per_weight : float
        Of quantized weights, their scales and outliers included.
    held_out_error : float or None
        Median over the layers of their relative output error on held-out rows.
    quantize_s : float
        CPU seconds, calibration included.
    cycles, energy_pj : int, float or None
        Of one call, on the simulator; None where the host computes.
    """

    recipe: str
    relative_error: float
    agreement: float
    bits_per_weight: float
    held_out_error: float | None
    quantize_s: float
    cycles: int | None = None
    energy_pj: float | None = None


def compare(source, recipes, samples, arch, progress: Progress | None = None) -> list[Row]:
    """Return a row per recipe, by name, TOML path, or object.

    Parameters
    ----------
    source : anything that `load_model` takes
    samples : iterable
        As `calibration.samples.read_calls` takes them; two at least.

    Raises
    ------
    MicroscopiqError
        As `quantize` and `build`; `InputError` for fewer than two samples.
    """
    return compare_on(source, [(recipe, arch) for recipe in recipes], samples, progress)


def compare_on(source, pairs, samples, progress: Progress | None = None) -> list[Row]:
    """Return a row per pair of recipe and machine; the rest is as in `compare`."""
    mod = load_model(source)
    inputs, state = model_inputs(mod, check_entry(mod, ENTRY))
    if state:
        raise InputError("the model keeps state from call to call; a study compares single calls")
    calls = read_calls(samples, inputs)
    if len(calls) < 2:
        raise InputError(
            "a study needs two samples at least: some to calibrate, others to compare outputs on"
        )
    unseen = calls[UNSEEN_EVERY - 1 :: UNSEEN_EVERY] or calls[-1:]
    seen = [call for call in calls if not any(call is other for other in unseen)]
    with on_blas(mod) as run:
        exact = [run(call) for call in unseen]
    chosen = [(load_recipe(recipe), arch) for recipe, arch in pairs]
    rows = []
    for number, (recipe, arch) in enumerate(chosen):
        if progress:
            progress("study", number, len(chosen), recipe.name)
        rows.append(_row(mod, recipe, seen, unseen, exact, arch))
    return rows


def _row(mod, recipe: Recipe, seen: list[Call], unseen: list[Call], exact: list, arch) -> Row:
    start = time.process_time()
    quantized = quantize(mod, recipe, [tuple(call) for call in seen])
    seconds = time.process_time() - start
    with running(quantized, arch) as run:
        results = [run(call) for call in unseen]
    records = quantized_layers(quantized)
    errors = [row.held_out_error for row in records if row.held_out_error is not None]
    outputs = [result.outputs for result in results]
    return Row(
        recipe.name,
        _relative_error(exact, outputs),
        _agreement(exact, outputs),
        mean_bits(records),
        float(np.median(errors)) if errors else None,
        seconds,
        results[0].cycles,
        results[0].energy_pj,
    )


@dataclass(frozen=True)
class CallResult:
    """Outputs of one call; cycles and energy where the simulator computed them."""

    outputs: list[np.ndarray]
    cycles: int | None = None
    energy_pj: float | None = None


def quantized_layers(mod: tvm.IRModule) -> list[LayerRecord]:
    """Return the records of a quantized module's layers with weights, on machine and host."""
    records = read_records(mod)
    return [row for row in (*records.layers.values(), *records.host_layers) if row.weights]


def mean_bits(records: list[LayerRecord]) -> float:
    """Return the bits of a weight over all layers, NaN without any."""
    found = [row.weights for row in records if row.weights]
    weights = sum(row.count for row in found)
    bits = sum(row.count * row.bits_per_weight for row in found)
    return bits / weights if weights else float("nan")


@contextmanager
def running(mod: tvm.IRModule, arch) -> Iterator[Callable[[Call], CallResult]]:
    """Give what runs a quantized module: the simulator, or the host if all layers are on it."""
    if all(row.work is None for row in read_records(mod).layers.values()):
        with on_blas(mod) as run:
            yield lambda call: CallResult(run(call))
        return
    session = Session(build(mod, arch))

    def simulate(call: Call) -> CallResult:
        result = session.run(*call)
        return CallResult(result.outputs, result.cycles, float(sum(result.energy_pj.values())))

    yield simulate


def _relative_error(exact: list, found: list) -> float:
    lost = power = 0.0
    for wanted, given in zip(exact, found, strict=True):
        for want, have in zip(wanted, given, strict=True):
            if np.issubdtype(want.dtype, np.floating):
                lost += float(np.square(have.astype(np.float64) - want).sum())
                power += float(np.square(want.astype(np.float64)).sum())
    return lost / power if power else float(lost > 0)


def _agreement(exact: list, found: list) -> float:
    same = [
        np.argmax(want[0], axis=-1) == np.argmax(have[0], axis=-1)
        for want, have in zip(exact, found, strict=True)
    ]
    return float(np.mean(np.concatenate([np.atleast_1d(one).reshape(-1) for one in same])))


@contextmanager
def on_blas(mod: tvm.IRModule):
    """Give a function from a call's arrays to outputs; products run on BLAS, the rest on LLVM."""
    mod = relax.transform.ToNonDataflow()(prepared(mod))
    with runner(mod, partition_module(mod, {}), [], ENTRY) as made:

        def run(call: Call) -> list[np.ndarray]:
            return flat_arrays(made.pieces[0](*(tvm.runtime.tensor(array) for array in call)))

        yield run
