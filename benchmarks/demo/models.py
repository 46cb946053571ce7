"""The two architectures that train.py trains and exports."""

import torch
from torch import nn

CLASSES = 10


class Attention(nn.Module):
    """Multi-head self-attention in plain matmuls, so that each one is a node in the graph."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        split = (batch, tokens, self.heads, dim // self.heads)
        query = self.query(x).reshape(split).transpose(1, 2)
        key = self.key(x).reshape(split).permute(0, 2, 3, 1)
        value = self.value(x).reshape(split).transpose(1, 2)
        weights = torch.softmax(torch.matmul(query, key) * self.scale, dim=-1)
        mixed = torch.matmul(weights, value).transpose(1, 2)
        return self.out(mixed.reshape(batch, tokens, dim))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class DigitsViT(nn.Module):
    """A vision transformer over the 16 patches of 2x2 pixels, mean-pooled."""

    # Four blocks of width 64 stay below 1 MB of float32; width 96 wouldn't.
    def __init__(self, dim: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, dim, kernel_size=2, stride=2)
        self.positions = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, heads, dropout=0.1) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution and its batch norm; the norm's offset replaces the bias."""
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class DigitsCNN(nn.Module):
    """One of each convolution: plain, residual, strided, depthwise and pointwise."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = conv_bn(1, width, 3)
        self.residual = nn.Sequential(conv_bn(width, width, 3), nn.ReLU(), conv_bn(width, width, 3))
        self.down = conv_bn(width, 2 * width, 3, stride=2)
        self.depthwise = conv_bn(2 * width, 2 * width, 3, groups=2 * width)
        self.pointwise = conv_bn(2 * width, 4 * width, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        x = torch.relu(x + self.residual(x))
        x = torch.relu(self.down(x))
        x = torch.relu(self.depthwise(x))
        x = torch.relu(self.pointwise(x))
        return self.head(self.pool(x).flatten(1))
