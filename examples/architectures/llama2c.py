"""Llama 2 (Touvron et al., 2023, arXiv:2307.09288) in the form and with the names of llama2.c's checkpoints.

    bessemer convert stories260K.pt --factory examples/architectures/llama2c.py:stories260k --to ort
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """Root mean square normalization (Zhang and Sennrich, 2019, arXiv:1910.07467)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Attention(nn.Module):
    """Causal attention of grouped heads, neighbouring pairs of channels rotated by their position."""

    def __init__(self, dim: int, heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, dim // heads
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, shared * self.size, bias=False)
        self.wv = nn.Linear(dim, shared * self.size, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x: (N, tokens, dim); cos, sin: (tokens, size / 2); mask: (tokens, tokens), added."""
        batch, tokens, _ = x.shape
        q = rotated(self.wq(x).view(batch, tokens, self.heads, self.size), cos, sin)
        k = rotated(self.wk(x).view(batch, tokens, self.shared, self.size), cos, sin)
        v = self.wv(x).view(batch, tokens, self.shared, self.size)
        group = self.heads // self.shared
        k, v = (item.repeat_interleave(group, 2).transpose(1, 2) for item in (k, v))
        scores = q.transpose(1, 2) @ k.transpose(2, 3) / self.size**0.5 + mask
        return self.wo((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, -1))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021, arXiv:2104.09864, equation 34); x: (N, tokens, heads, size)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Position by position."""
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """Attention and feed-forward, each normalized before and added to its input."""

    def __init__(self, dim: int, heads: int, shared: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, shared)
        self.feed_forward = FeedForward(dim, hidden)
        self.attention_norm = Norm(dim)
        self.ffn_norm = Norm(dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(N, tokens, dim)."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    """The output layer shares the embedding's weights."""

    def __init__(self, dim: int, layers: int, heads: int, shared: int, vocabulary: int, hidden: int, longest: int) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocabulary, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, shared, hidden) for _ in range(layers))
        self.norm = Norm(dim)
        self.output = nn.Linear(dim, vocabulary, bias=False)
        size = dim // heads
        angles = torch.outer(torch.arange(longest), 10000.0 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, tokens) ids -> (N, tokens, vocabulary) logits."""
        count = tokens.shape[1]
        mask = torch.full((count, count), float("-inf")).triu(1)
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:count], self.sin[:count], mask)
        return self.output(self.norm(x))


def stories260k() -> tuple[nn.Module, Tensor]:
    """260 thousand parameters trained on TinyStories; 64 tokens at once."""
    return Llama(64, 5, 8, 4, 512, 172, 512), torch.randint(0, 512, (1, 64))
