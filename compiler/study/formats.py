"""Weight formats side by side on one model: what rounding loses, and what it costs on a machine.

Each format is run on the smallest of some machines that decodes it, with the same activations and
a method of its own that needs no data, or with data one that makes errors good.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from ...target.arch import Arch, load_arch
from ...target.area import area, compute_um2
from ...target.errors import ConfigError, unknown_name
from ...target.formats import ACTIVATION_FORMATS, DEFAULT_ACTIVATION, WEIGHT_FORMATS
from ..driver import prepared
from ..frontend.load import load_model
from ..partition.layer import matrices
from ..partition.partition import partition_module
from ..quant.base import quantize_weight, values_of
from ..quant.defaults import method_for
from ..quant.recipe import Recipe
from .block_noise import crest_factors, expected_db
from .compare import Progress, compare_on
from .dse import pareto

QUARTILE = 0.75
"""Of the crest factors, as INT vs FP reports them."""


@dataclass(frozen=True)
class Row:
    """What a format gave on a model.

    Attributes
    ----------
    method, arch : str
        That made the weights, and the machine that ran them.
    bits_per_weight : float
        Of the packed bytes.
    relative_error, agreement : float
        As `compare.Row` has them.
    crest_factor : float
        Upper quartile of the largest magnitude over the root mean square of a block of weights.
    qsnr_db, formula_db : float or None
        Signal to quantization noise of weights rounded without data, mean over the layers; and
        what INT vs FP's formula expects of them, None where it has none.
    cycles, energy_pj, area_mm2 : int, float, float
        Of one call; of array, ReCoN and controller.
    front : bool
        No other format has as few bits and as little error, and less of one.
    """

    format: str
    method: str
    arch: str
    bits_per_weight: float
    relative_error: float
    agreement: float
    crest_factor: float
    qsnr_db: float
    formula_db: float | None
    cycles: int | None
    energy_pj: float | None
    area_mm2: float
    front: bool = False


def machines_of(
    names: Sequence[str], archs: Sequence[str], activation: str = DEFAULT_ACTIVATION
) -> dict[str, Arch]:
    """Return for each format the smallest machine of some that multiplies it by activations.

    Parameters
    ----------
    names : sequence of str
        Formats; empty for all that one of the machines takes.

    Raises
    ------
    ConfigError
        For unknown names, and for a format that none decodes.
    """
    known = sorted(map(load_arch, archs), key=lambda arch: compute_um2(area(arch)))
    found = {}
    for name in names or WEIGHT_FORMATS:
        if name not in WEIGHT_FORMATS:
            raise ConfigError(unknown_name("weight format", name, WEIGHT_FORMATS))
        arch = next((arch for arch in known if name in _multiplied(arch, activation)), None)
        if arch is not None:
            found[name] = arch
        elif names:
            taken = {each for arch in known for each in _multiplied(arch, activation)}
            raise ConfigError(
                f"weight format '{name}': none of {', '.join(archs)} multiplies it by "
                f"'{activation}'; allowed: {', '.join(n for n in WEIGHT_FORMATS if n in taken)}"
            )
    return found


def _multiplied(arch: Arch, activation: str) -> list[str]:
    """Return the weight formats of a machine beside which its PEs take such activations."""
    bits = ACTIVATION_FORMATS[activation].code_bits
    return [n for n in arch.weight_formats if arch.code_bits(WEIGHT_FORMATS[n].bits) >= bits]


def study_formats(
    source,
    names: Sequence[str],
    samples,
    archs: Sequence[str],
    compensate: bool = False,
    activation: str = DEFAULT_ACTIVATION,
    progress: Progress | None = None,
) -> list[Row]:
    """Return a row per weight format.

    Parameters
    ----------
    source, samples
        As `compare.compare` takes them.
    names, archs
        As `machines_of` takes them.
    compensate : bool
        Make errors good with the samples, where a format has a method that does.

    Raises
    ------
    MicroscopiqError
        As `compare.compare` and `machines_of`; `InputError` for a model without weights.
    """
    machines = machines_of(names, archs, activation)
    mod = load_model(source)
    weights = layer_matrices(mod)
    recipes = [_recipe(name, compensate, activation) for name in machines]
    pairs = list(zip(recipes, machines.values(), strict=True))
    compared = compare_on(mod, pairs, samples, progress)
    rows = []
    for (name, arch), recipe, row in zip(machines.items(), recipes, compared, strict=True):
        rows.append(
            Row(
                name,
                recipe.method,
                arch.name,
                row.bits_per_weight,
                row.relative_error,
                row.agreement,
                *noise(weights, name),
                row.cycles,
                row.energy_pj,
                compute_um2(area(arch)) / 1e6,
            )
        )
    best = pareto([(row.bits_per_weight, row.relative_error) for row in rows])
    return [replace(row, front=is_best) for row, is_best in zip(rows, best, strict=True)]


def layer_matrices(mod) -> list[np.ndarray]:
    """Return the weights of a module's layers, float32 ``(out, in)`` each."""
    parts = partition_module(relax.transform.ToNonDataflow()(prepared(mod)), {})
    return [
        matrix
        for part in parts.values()
        for layer in part.layers
        if layer.weight is not None
        for matrix in matrices(layer)
    ]


def noise(weights: list[np.ndarray], name: str) -> tuple[float, float, float | None]:
    """Return the crest factor, and the measured and the expected signal to noise ratio in dB."""
    row, method = WEIGHT_FORMATS[name], method_for(name, data=False)
    assert method is not None
    crests = np.concatenate([crest_factors(matrix, row.group) for matrix in weights])
    measured, expected = [], []
    for number, matrix in enumerate(weights):
        rounded = values_of(quantize_weight(method, matrix, name, f"matrix {number}")[0])
        power = np.square(matrix, dtype=np.float64).sum()
        lost = np.square(rounded.astype(np.float64) - matrix).sum()
        if power and lost:
            measured.append(10 * np.log10(power / lost))
            expected.append(expected_db(matrix, row))
    known = [value for value in expected if value is not None]
    return (
        float(np.quantile(crests, QUARTILE)),
        float(np.mean(measured)),
        float(np.mean(known)) if known else None,
    )


def _recipe(name: str, compensate: bool, activation: str) -> Recipe:
    method = method_for(name, data=True) if compensate else None
    method = method or method_for(name, data=False)
    assert method is not None
    return Recipe(name, "", method, name, activation, bias_correction=compensate)
