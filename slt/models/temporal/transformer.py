"""A transformer over the frames, after an optional strided convolution.

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal_positions(length: int, embed_dim: int, device: torch.device) -> Tensor:
    """Positions (length, D) as float32 sines and cosines, for any length (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, embed_dim, 2, device=device) * (-math.log(10000.0) / embed_dim))
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :embed_dim]


class Downsample(nn.Module):
    """Halves, thirds, ... the frame rate with one strided convolution that padding cannot reach."""

    def __init__(self, *, embed_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(embed_dim, embed_dim, kernel_size=2 * stride + 1, stride=stride, padding=stride)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, T) bool frames -> (B, T', D) and (B, T') bool."""
        x = self.conv((x * frames[..., None]).transpose(1, 2)).transpose(1, 2)
        # By index and not by slice, whose length torch.export cannot prove to be the convolution's.
        return x, frames.index_select(1, torch.arange(x.shape[1], device=x.device) * self.stride)


class TransformerTemporal(nn.Module):
    """A pre-norm transformer encoder over the frames, after a convolution that keeps one in `downsample`."""

    def __init__(
        self, *, embed_dim: int, depth: int, num_heads: int, mlp_ratio: float, dropout: float, downsample: int
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"temporal: embed_dim={embed_dim} is not divisible by num_heads={num_heads}")
        if downsample < 1:
            raise ValueError(f"temporal: downsample={downsample}, expected 1 (keep every frame) or more")
        self.embed_dim, self.stride = embed_dim, downsample
        self.norm_in = nn.LayerNorm(embed_dim)
        self.downsample = Downsample(embed_dim=embed_dim, stride=downsample) if downsample > 1 else None
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            embed_dim, num_heads, int(embed_dim * mlp_ratio), dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(embed_dim), enable_nested_tensor=False)
        # nn.TransformerEncoder copies one layer; drawn anew, the layers do not start as twins.
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool, True = a real frame."""
        x = self.norm_in(x)
        if self.downsample is not None:
            x, frames = self.downsample(x, frames)
        x = self.dropout(x + sinusoidal_positions(x.shape[1], self.embed_dim, x.device).to(x.dtype))
        # torch's layers want True = ignore, the house's masks say True = present.
        x = self.encoder(x, src_key_padding_mask=~frames)
        return x, frames
