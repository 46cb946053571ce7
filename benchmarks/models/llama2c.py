"""Language models stored in the legacy llama2.c format, stories260K and BabyLlama.

Both were trained on TinyStories. Their test data are token sequences sampled from the fp32 models
themselves, on which the fp32 perplexity is 3.496 and 1.790.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import RealModel, data_file
from .llama import Config, Llama

CHECKPOINTS = {
    "stories260k": ("llama_stories260K", "stories260K.bin"),
    "babyllama": ("llama_babyllama_tok105", "model5000.bin"),
}


def read_checkpoint(path: Path) -> Llama:
    """Read a legacy llama2.c file: seven little-endian int32, then float32 tensors.

    Each kind of tensor is stored for all layers before the next kind begins.
    """
    header = np.fromfile(path, "<i4", count=7)
    config = Config(*(int(value) for value in header))
    if config.vocab < 0:
        raise ValueError(f"{path}: an output layer of its own (negative vocabulary) is unsupported")
    values = torch.from_numpy(np.fromfile(path, "<f4", offset=header.nbytes).astype(np.float32))
    module = Llama(config)
    layers = module.layers
    targets = [module.tok_embeddings.weight]
    for name in ("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
                 "ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"):  # fmt: skip
        targets += [layer.get_submodule(name).get_parameter("weight") for layer in layers]
    targets += [module.norm.weight, module.cos, module.sin]
    expected = sum(target.numel() for target in targets)
    if expected != values.numel():
        raise ValueError(f"{path}: {values.numel()} values, but its header asks for {expected}")
    with torch.no_grad():
        for target, part in zip(targets, values.split([t.numel() for t in targets]), strict=True):
            target.copy_(part.reshape(target.shape))
    return module.eval()


def read_sequences(name: str) -> list[list[int]]:
    """Return the 32 token sequences that were sampled from the fp32 model ``name``."""
    folder = CHECKPOINTS[name][0]
    sequences: list[list[int]] = json.loads(data_file(folder, "selfgen.json").read_text("utf-8"))
    return sequences


def perplexity(
    logits_fn: Callable[[torch.Tensor], torch.Tensor],
    tokens: Sequence[Sequence[int]],
    length: int | None = None,
) -> float:
    """Return exp of the mean negative log likelihood of every token after the first.

    Parameters
    ----------
    logits_fn : callable
        Maps ids int64 (1, T) to logits float32 (1, T, vocab).
    tokens : sequence of sequences of int
        Token ids; each sequence starts with the beginning-of-sequence token.
    length : int, optional
        The T that ``logits_fn`` was compiled for: shorter sequences are filled up with zeros
        behind their end (exact, for a causal model) and longer ones are cut. By default each
        sequence has its own T.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for sequence in tokens:
            ids = torch.tensor(sequence[:length], dtype=torch.int64)
            padded = F.pad(ids, (0, 0 if length is None else length - len(ids)))
            logits = logits_fn(padded[None])[0, : len(ids) - 1]
            total += F.cross_entropy(logits.float(), ids[1:], reduction="sum").item()
            count += len(ids) - 1
    return math.exp(total / count)


def load(name: str, length: int = 64) -> RealModel:
    """Load ``"stories260k"`` or ``"babyllama"`` with inputs int64 (1, length)."""
    module = read_checkpoint(data_file(*CHECKPOINTS[name]))
    usable = [torch.tensor([ids[:length]]) for ids in read_sequences(name) if len(ids) >= length]
    if not usable:
        raise ValueError(f"no stored sequence of {name} has {length} tokens")

    def batches(count: int = 4) -> list[tuple[torch.Tensor, ...]]:
        if count >= len(usable):
            raise ValueError(f"only {len(usable) - 1} sequences besides the example")
        return [(ids,) for ids in usable[1 : count + 1]]

    return RealModel(name, module, (usable[0],), batches)
