"""Why outliers can raise a network's error while they lower each layer's: batch norm's moments.

A batch norm subtracts means and divides by deviations that it learned from the network in fp32.
Quantized weights shift both, and nothing behind them mends it. Here the steps of the ablation that
need no data are applied to ResNet-20 as they are; with the mean of each convolution's channels
brought back to fp32's; and with mean and deviation brought back (both on images that the measure
doesn't see, layer after layer). Batch norm is folded into the weights before they are quantized,
as the compiler does.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.models import MODELS, resnet20
from microscopiq.compiler.quant.base import quantize_weight, values_of
from microscopiq.compiler.quant.recipe import Recipe

SEEN, MEASURED = 256, 384
"""Images whose moments are restored, and those that are classified."""
KINDS = {"as it is": (False, False), "means": (True, False), "means, deviations": (True, True)}
Measures = dict[str, float]
Moments = tuple[torch.Tensor, torch.Tensor]
"""Mean and deviation of each channel."""


def measure_steps(recipes: list[Recipe]) -> dict[str, dict[str, Measures]]:
    """Return, by recipe and kind of restoration, agreement with fp32, cosine, gain and error."""
    model = MODELS["resnet20"]().module
    seen = resnet20.smooth_images(SEEN, seed=1)
    images = resnet20.smooth_images(MEASURED, seed=2)
    with torch.no_grad():
        wanted, moments = model(images), channel_moments(model, seen)
        return {
            recipe.name: {
                kind: _outcome(
                    restored(quantized(model, recipe), moments, seen, *which), images, wanted
                )
                for kind, which in KINDS.items()
            }
            for recipe in recipes
        }


def quantized(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Return a model whose weights went through a recipe without data, batch norms folded."""
    found = copy.deepcopy(model)
    for name, layer in products(found):
        flat, gain = folded(found, name, layer)
        method, weight_format, options = recipe.for_layer(name)
        weight, _ = quantize_weight(method, flat.numpy(), weight_format, name, None, options)
        values = torch.from_numpy(np.array(values_of(weight))) / gain[:, None]
        layer.weight.data.copy_(values.reshape(layer.weight.shape))
    return found


def products(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that multiply by weights, with their names."""
    kinds = (nn.Conv2d, nn.Linear)
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


def folded(model: nn.Module, name: str, layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a layer's weights ``(out, in)`` with its batch norm's gain, and that gain."""
    norm = _norm(model, name)
    gain = torch.ones(len(layer.weight)) if norm is None else _gain(norm)
    return (layer.weight.flatten(1) * gain[:, None]).contiguous(), gain


def restored(
    found: nn.Module, wanted: dict[str, Moments], images: torch.Tensor, mean: bool, deviation: bool
) -> nn.Module:
    """Return a model whose convolutions' channels have the wanted moments, by its norms.

    One pass is enough: a norm is changed before the images come through it.
    """
    if not mean:
        return found

    def change(name: str, output: torch.Tensor) -> None:
        norm = _norm(found, name)
        if norm is None:
            return
        have, want = _moments(output), wanted[name]
        scale = want[1] / have[1].clamp(min=1e-6) if deviation else torch.ones_like(want[1])
        # norm(y) = gain (y - centre) + bias has to become that of scale (y - have) + wanted.
        gain = _gain(norm)
        norm.bias += gain * (want[0] - scale * have[0] + (scale - 1.0) * norm.running_mean)
        norm.weight *= scale

    _watch(found, images, change)
    return found


def channel_moments(model: nn.Module, images: torch.Tensor) -> dict[str, Moments]:
    """Return mean and deviation of each convolution's output channels, by name."""
    seen: dict[str, Moments] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        if _norm(model, name) is not None:
            seen[name] = _moments(output)

    _watch(model, images, keep)
    return seen


def _outcome(model: nn.Module, images: torch.Tensor, wanted: torch.Tensor) -> Measures:
    found = model(images)
    power = wanted.square().sum()
    return {
        "agreement": float((found.argmax(1) == wanted.argmax(1)).float().mean()),
        "error": float((found - wanted).square().sum() / power),
        "cosine": float((found * wanted).sum() / (found.norm() * wanted.norm())),
        "gain": float(found.norm() / power.sqrt()),
    }


def _norm(model: nn.Module, name: str) -> nn.BatchNorm2d | None:
    """Return the batch norm behind a convolution; none is behind the last layer."""
    modules = dict(model.named_modules())
    return modules.get(name.replace("conv", "bn")) if "conv" in name else None


def _gain(norm: nn.BatchNorm2d) -> torch.Tensor:
    return norm.weight / torch.sqrt(norm.running_var + norm.eps)


def _moments(output: torch.Tensor) -> Moments:
    return output.mean((0, 2, 3)), output.std((0, 2, 3))


def _watch(
    model: nn.Module, images: torch.Tensor, see: Callable[[str, torch.Tensor], None]
) -> None:
    """Run a model, and show what each layer with weights gives before it's used."""
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: see(name, output))
        for name, layer in products(model)
    ]
    model(images)
    for handle in handles:
        handle.remove()
