"""A transformer over the frames, after an optional strided convolution.

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.attention import attend, hiding
from slt.models.temporal.downsample import Shortening


def sinusoidal_positions(length: int, embed_dim: int, device: torch.device) -> Tensor:
    """Positions (length, D) as float32 sines and cosines, for any length (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, embed_dim, 2, device=device) * (-math.log(10000.0) / embed_dim))
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :embed_dim]


class Attention(nn.Module):
    """Frames look at each other; its weights have the names of `nn.MultiheadAttention`'s."""

    def __init__(self, *, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and what is added to scores, (B, 1, 1, T) -> (B, T, D)."""
        joined = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = joined.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = attend(query, key, value, mask, scale=query.shape[-1] ** -0.5, dropout=dropout)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and a perceptron, each after a norm (Xiong et al. 2020); names as `nn.TransformerEncoderLayer`'s."""

    def __init__(self, *, embed_dim: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.self_attn = Attention(embed_dim=embed_dim, num_heads=num_heads, dropout=dropout)
        self.linear1, self.linear2 = nn.Linear(embed_dim, hidden), nn.Linear(hidden, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and what is added to scores, (B, 1, 1, T) -> (B, T, D)."""
        x = x + self.dropout(self.self_attn(self.norm1(x), mask))
        inner = self.dropout(functional.gelu(self.linear1(self.norm2(x))))
        return x + self.dropout(self.linear2(inner))


class Layers(nn.Module):
    """Layers one after the other and a norm behind them; names as `nn.TransformerEncoder`'s."""

    def __init__(self, *, depth: int, embed_dim: int, **sizes: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(embed_dim=embed_dim, **sizes) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and what is added to scores, (B, 1, 1, T) -> (B, T, D)."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class TransformerTemporal(Shortening):
    """A pre-norm transformer encoder over the frames, after a convolution that keeps one in `downsample`."""

    def __init__(
        self, *, embed_dim: int, depth: int, num_heads: int, mlp_ratio: float, dropout: float, downsample: int
    ) -> None:
        super().__init__(embed_dim=embed_dim, downsample=downsample)
        if embed_dim % num_heads:
            raise ValueError(f"temporal: embed_dim={embed_dim} is not divisible by num_heads={num_heads}")
        self.dropout = nn.Dropout(dropout)
        self.encoder = Layers(
            depth=depth, embed_dim=embed_dim, num_heads=num_heads, hidden=int(embed_dim * mlp_ratio), dropout=dropout
        )
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool, True = a real frame."""
        x, frames = self.enter(x, frames)
        x = self.dropout(x + sinusoidal_positions(x.shape[1], self.embed_dim, x.device).to(x.dtype))
        return self.encoder(x, hiding(~frames)[:, None, None]), frames
