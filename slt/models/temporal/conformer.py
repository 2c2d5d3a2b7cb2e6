"""A conformer over the frames: attention for what is far, a convolution for what is near.

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.attention import hiding
from slt.models.batch_norm import BatchNorm
from slt.models.temporal.downsample import Shortening
from slt.models.temporal.transformer import Attention, sinusoidal_positions


class FeedForward(nn.Module):
    """The perceptron of a conformer, with its norm (Gulati et al. 2020, section 2.3)."""

    def __init__(self, *, embed_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.linear1, self.linear2 = nn.Linear(embed_dim, hidden), nn.Linear(hidden, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.dropout(self.linear2(self.dropout(functional.silu(self.linear1(self.norm(x))))))


class Convolution(nn.Module):
    """A gate, a convolution of each channel over `kernel_size` frames and a map, with their norms (section 2.2)."""

    def __init__(self, *, embed_dim: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.gated = nn.Linear(embed_dim, 2 * embed_dim)
        self.depthwise = nn.Conv1d(embed_dim, embed_dim, kernel_size, padding=kernel_size // 2, groups=embed_dim)
        self.batch_norm = BatchNorm(embed_dim)
        self.linear = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool frames -> (B, T, D); beyond a clip the convolution sees zeros."""
        there = frames[:, None]
        x = functional.glu(self.gated(self.norm(x)), dim=-1).transpose(1, 2)
        x = functional.silu(self.batch_norm(self.depthwise(torch.where(there, x, 0.0)), there))
        return self.dropout(self.linear(x.transpose(1, 2)))


class ConformerLayer(nn.Module):
    """Half a perceptron, attention, a convolution, and the other half: equation 1 of the paper."""

    def __init__(self, *, embed_dim: int, num_heads: int, hidden: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.before, self.behind = (
            FeedForward(embed_dim=embed_dim, hidden=hidden, dropout=dropout) for _ in range(2)
        )  # fmt: skip
        self.norm_attn, self.norm = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.self_attn = Attention(embed_dim=embed_dim, num_heads=num_heads, dropout=dropout)
        self.convolution = Convolution(embed_dim=embed_dim, kernel_size=kernel_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) bool frames and what is added to scores, (B, 1, 1, T) -> (B, T, D)."""
        x = x + 0.5 * self.before(x)
        x = x + self.dropout(self.self_attn(self.norm_attn(x), mask))
        x = x + self.convolution(x, frames)
        return self.norm(x + 0.5 * self.behind(x))


class ConformerTemporal(Shortening):
    """A conformer encoder (Gulati et al. 2020) over the frames, after a convolution that keeps one in `downsample`.

    As in the paper but for the places of frames: it adds relative ones to the scores of attention, here sines and
    cosines are added to the frames once, as in `TransformerTemporal`.

    Args:
        embed_dim: D of what comes in and goes out.
        depth, num_heads: layers, and heads of attention in each.
        mlp_ratio: width of the perceptrons in D; 4 in the paper.
        kernel_size: frames that a convolution looks at, an odd number; 32 frames of 40 ms in the paper.
        dropout: behind each part of a layer, within perceptrons and of attention's weights.
        downsample: n keeps one position in n frames.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        kernel_size: int,
        dropout: float,
        downsample: int,
    ) -> None:
        super().__init__(embed_dim=embed_dim, downsample=downsample)
        if embed_dim % num_heads:
            raise ValueError(f"temporal: embed_dim={embed_dim} is not divisible by num_heads={num_heads}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"temporal: kernel_size={kernel_size}, expected an odd number: a frame and its neighbours")
        self.dropout = nn.Dropout(dropout)
        hidden = int(embed_dim * mlp_ratio)
        self.layers = nn.ModuleList(
            ConformerLayer(
                embed_dim=embed_dim, num_heads=num_heads, hidden=hidden, kernel_size=kernel_size, dropout=dropout
            )
            for _ in range(depth)
        )
        for layer in self.layers.modules():
            if isinstance(layer, Attention):  # whose joint matrix is no layer of torch's, which draws its own
                nn.init.xavier_uniform_(layer.in_proj_weight)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool, True = a real frame."""
        x, frames = self.enter(x, frames)
        x = self.dropout(x + sinusoidal_positions(x.shape[1], self.embed_dim, x.device).to(x.dtype))
        mask = hiding(~frames)[:, None, None]
        for layer in self.layers:
            x = layer(x, frames, mask)
        return x, frames
