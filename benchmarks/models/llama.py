"""The LLaMA architecture in eager torch.

RMSNorm, rotary position embedding on interleaved pairs, grouped-query attention, SwiGLU, and an
output layer that shares the embedding's weights. Rotation tables and causal mask are plain float
buffers, so that an exported graph has no boolean, complex or cumulative operators, and all
products are explicit (``nn.Linear`` or ``torch.matmul``), so that a compiler sees each of them.
Weights come from `llama2c`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# Added to the scores of future positions. Finite, because minus infinity becomes NaN as soon as
# someone scales or quantizes the scores; large enough that exp() of it is exactly 0 in float32.
MASKED = -1e9
NORM_EPSILON = 1e-5


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
