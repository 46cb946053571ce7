"""LLaMA language models stored in the legacy llama2.c format: stories260K and BabyLlama.

RMSNorm, rotary position embedding on interleaved pairs, grouped-query attention, SwiGLU, and an
output layer that shares the embedding's weights. Rotation tables and causal mask are plain float
buffers, so that an exported graph has no boolean, complex or cumulative operators, and all
products are explicit (``nn.Linear`` or ``torch.matmul``), so that a compiler sees each of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import RealModel, data_file

# Added to the scores of future positions. Finite, because minus infinity becomes NaN as soon as
# someone scales or quantizes the scores; large enough that exp() of it is exactly 0 in float32.
MASKED = -1e9
NORM_EPSILON = 1e-5

CHECKPOINTS = {
    "stories260k": ("llama_stories260K", "stories260K.bin"),
    "babyllama": ("llama_babyllama_tok105", "model5000.bin"),
}


@dataclass(frozen=True)
class Config:
    """The seven header integers of a llama2.c file, in the order of the file."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.dim // self.heads


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then by a learnt weight."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float32 (..., dim) to the same shape."""
        scale = torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + NORM_EPSILON)
        return x * scale * self.weight


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair of neighbouring features by its position's angle.

    Parameters
    ----------
    x : torch.Tensor
        float32 (B, heads, T, head_dim).
    cos, sin : torch.Tensor
        float32 (T, head_dim / 2).

    Returns
    -------
    torch.Tensor
        float32 (B, heads, T, head_dim).
    """
    # Slices of length 1 instead of indices keep the rank, so nothing is squeezed or stacked.
    pairs = x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    real, imaginary = pairs[..., 0:1], pairs[..., 1:2]
    cos, sin = cos[..., None], sin[..., None]
    turned = torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.reshape(x.shape)


class Attention(nn.Module):
    """Causal attention in which groups of query heads share a key and a value head."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        key_dim = config.kv_heads * config.head_dim
        self.wq = nn.Linear(config.dim, config.dim, bias=False)
        self.wk = nn.Linear(config.dim, key_dim, bias=False)
        self.wv = nn.Linear(config.dim, key_dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Map float32 (B, T, dim) to the same shape; the mask is (T, T), added to the scores."""
        c = self.config
        batch, length = x.shape[0], x.shape[1]
        q = self.wq(x).reshape(batch, length, c.heads, c.head_dim).transpose(1, 2)
        k = self.wk(x).reshape(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        v = self.wv(x).reshape(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = self._share(k), self._share(v)
        scores = torch.matmul(q, k.transpose(2, 3)) * (1.0 / math.sqrt(c.head_dim)) + mask
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.wo(mixed.transpose(1, 2).reshape(batch, length, c.dim))

    def _share(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat (B, kv_heads, T, head_dim) to (B, heads, T, head_dim), neighbours alike."""
        c = self.config
        batch, _, length, _ = x.shape
        groups = (batch, c.kv_heads, c.heads // c.kv_heads, length, c.head_dim)
        return x[:, :, None].expand(groups).reshape(batch, c.heads, length, c.head_dim)


class FeedForward(nn.Module):
    """SwiGLU: ``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float32 (B, T, dim) to the same shape."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.dim)
        self.feed_forward = FeedForward(config.dim, config.hidden)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Map float32 (B, T, dim) to the same shape."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    """The language model; takes token ids, returns logits of the next token."""

    cos: torch.Tensor
    sin: torch.Tensor
    mask: torch.Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab, config.dim)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.dim)
        self.output = nn.Linear(config.dim, config.vocab, bias=False)
        self.output.weight = self.tok_embeddings.weight
        table = torch.zeros(config.context, config.head_dim // 2)
        self.register_buffer("cos", table)
        self.register_buffer("sin", table.clone())
        square = torch.full((config.context, config.context), MASKED)
        self.register_buffer("mask", square.triu(1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits float32 (B, T, vocab) of ids int64 (B, T), T at most the context."""
        length = tokens.shape[1]
        cos, sin, mask = self.cos[:length], self.sin[:length], self.mask[:length, :length]
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.output(self.norm(x))


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
    return json.loads(data_file(folder, "selfgen.json").read_text(encoding="utf-8"))


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
    if length > module.config.context:
        raise ValueError(f"length {length} exceeds the context of {module.config.context}")
    usable = [sequence[:length] for sequence in read_sequences(name) if len(sequence) >= length]

    def batches(count: int = 4) -> list[tuple[torch.Tensor, ...]]:
        # The first one is the example; the last ones are for calibration.
        return [(torch.tensor([ids], dtype=torch.int64),) for ids in usable[1:][-count:]]

    return RealModel(name, module, (torch.tensor([usable[0]], dtype=torch.int64),), batches)
