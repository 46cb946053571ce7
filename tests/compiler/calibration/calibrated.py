"""Statistics as the compiler gathers them, and as torch's hooks see the same rows."""

import numpy as np
import torch
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.calibration.collect import Calibration, collect
from microscopiq.compiler.frontend.load import load_model
from microscopiq.compiler.partition.layer import Layer
from microscopiq.compiler.passes.quantize import quantize_model
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.compiler.quant.statistics import Statistics, held_out_stride
from tests.compiler import relax_modules as make

Found = dict[str, tuple[Layer, list[Statistics] | None]]


def gathered(
    source,
    samples,
    recipe="int8",
    steps=None,
    sequential=False,
    values=None,
    orderings=None,
    **options,
) -> Found:
    """Return each layer and its statistics by the layer's name, in the order of their taking.

    `values` gets the quantized values by the layer's name, `orderings` its channels' order.
    """
    found: Found = {}
    mod = relax.transform.CanonicalizeBindings()(load_model(source))
    calibration = Calibration(samples, sequential=sequential, **options)

    def calibrate(mod, parts, take, one_by_one):
        def keep(layer, statistics):
            # Layers of two functions can have the same name.
            name = layer.name if layer.name not in found else f"{layer.name} again"
            found[name] = (layer, statistics)
            if orderings is not None:
                (orderings[name],) = [
                    part.ordering(layer) for part in parts.values() if layer in part.layers
                ]
            chosen = take(layer, statistics)
            if values is not None:
                values[name] = chosen
            return chosen

        collect(mod, parts, keep, one_by_one, calibration, steps)

    quantized = quantize_model(mod, load_recipe(recipe), calibrate=calibrate)
    records = read_records(quantized).layers.values()
    names = [layer.name for layer, _ in found.values()]
    assert sorted(names) == sorted(row.layer for row in records if row.weights)
    return found


def exported(module: torch.nn.Module, *inputs: np.ndarray):
    with torch.no_grad():
        return torch.export.export(module.eval(), tuple(map(torch.from_numpy, inputs)))


def seen_by_torch(module: torch.nn.Module, calls: list[tuple]) -> dict[str, list[np.ndarray]]:
    """Return the rows ``(groups, rows, in)`` of each layer in each call, by the layer's name."""
    seen: dict[str, list[np.ndarray]] = {}
    hooks = []
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):

            def hook(layer, inputs, name=name):
                seen.setdefault(name, []).append(rows_of(layer, inputs[0]))

            hooks.append(layer.register_forward_pre_hook(hook))
    with torch.no_grad():
        for call in calls:
            module.eval()(*map(torch.from_numpy, call))
    for handle in hooks:
        handle.remove()
    return seen


def rows_of(layer, x: torch.Tensor) -> np.ndarray:
    """Return the rows that a layer multiplies, as torch gathers them."""
    if isinstance(layer, torch.nn.Linear):
        return x.detach().reshape(1, -1, x.shape[-1]).numpy()
    windows = torch.nn.functional.unfold(
        x, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )
    batch, size, pixels = windows.shape
    split = windows.reshape(batch, layer.groups, size // layer.groups, pixels)
    return split.permute(1, 0, 3, 2).reshape(layer.groups, batch * pixels, -1).numpy()


def moment(rows: np.ndarray) -> np.ndarray:
    """Return X^T X in float64."""
    return rows.astype(np.float64).T @ rows.astype(np.float64)


def assert_held_out(one: Statistics, rows: np.ndarray) -> None:
    """Check that of the held-out rows those that should be kept are there."""
    assert one.held_out_rows == len(rows)
    kept = rows[:: held_out_stride(len(rows))]
    np.testing.assert_allclose(one.held_out, kept, rtol=1e-4, atol=1e-5 * np.abs(rows).max())


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare sums of many float32 products: equal but for their rounding."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def same(one: Found, other: Found) -> bool:
    """Tell whether the statistics of all layers are equal to the bit."""
    assert one.keys() == other.keys()
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for layer in one
        for a, b in zip(one[layer][1], other[layer][1], strict=True)
        for name in ("moments", "held_out", "largest", "magnitudes", "rows", "held_out_rows")
    )


def log_model() -> tvm.IRModule:
    """Return a model of x0 of two rows of 5: a linear layer on log(x0), another on its result."""

    def body(emit, x):
        return make.linear(emit, emit(op.tanh(make.linear(emit, emit(op.log(x)), 4))), 3, seed=1)

    return make.module(body, (2, 5))


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    """Return float32 numbers from 0.5 to 1.5."""
    return np.random.default_rng(seed).random(shape, np.float32) + 0.5
