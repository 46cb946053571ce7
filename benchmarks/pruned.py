"""What pruning costs: how many of the slots that Lower halves take held a zero anyway."""

import numpy as np
import torch

from benchmarks.models import MODELS
from benchmarks.moments import folded, products
from microscopiq.compiler.quant.base import quantize_weight, values_of
from microscopiq.compiler.quant.recipe import Recipe


def pruned_slots(model: str, pruned: Recipe, loose: Recipe) -> dict[str, float]:
    """Compare two data-free steps, with Lower halves in slots of inliers and without.

    Returns
    -------
    dict
        ``share`` of all slots that are pruned, ``zeros`` of these that were zero anyway, and the
        squared ``error`` of all weights before and ``after``, relative.
    """
    taken = zeros = slots = 0
    lost, power = np.zeros(2), 0.0
    module = MODELS[model]().module
    for name, layer in products(module):
        with torch.no_grad():
            weight = folded(module, name, layer)[0].numpy()
        values = []
        for recipe in (loose, pruned):
            method, weight_format, options = recipe.for_layer(name)
            found, counts = quantize_weight(method, weight, weight_format, name, None, options)
            values.append(np.asarray(values_of(found)))
        slots += weight.size
        taken += counts["pruned"]
        zeros += counts["pruned"] - int(((values[1] == 0) & (values[0] != 0)).sum())
        lost += [np.square(one - weight).sum() for one in values]
        power += float(np.square(weight).sum())
    error, after = lost / power
    return {"share": taken / slots, "zeros": zeros / max(1, taken), "error": error, "after": after}
