"""The strided convolution with which temporal encoders begin that look at fewer moments than there are frames.

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Frames = TypeVar("Frames", int, Tensor)  # how many of a clip, or of each clip of a batch


class Downsample(nn.Module):
    """Halves, thirds, ... the frame rate with one strided convolution that padding cannot reach."""

    def __init__(self, *, embed_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(embed_dim, embed_dim, kernel_size=2 * stride + 1, stride=stride, padding=stride)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, T) bool frames -> (B, T', D) and (B, T') bool."""
        # Contiguous, or torch.export must know whether one position is left to add or reshape it.
        x = self.conv((x * frames[..., None]).transpose(1, 2)).transpose(1, 2).contiguous()
        # By index and not by slice, whose length torch.export cannot prove to be the convolution's.
        return x, frames.index_select(1, torch.arange(x.shape[1], device=x.device) * self.stride)


class Shortening(nn.Module):
    """What such temporal encoders have in common: a norm, and the convolution where `downsample` is above 1."""

    def __init__(self, *, embed_dim: int, downsample: int) -> None:
        super().__init__()
        if downsample < 1:
            raise ValueError(f"temporal: downsample={downsample}, expected 1 (keep every frame) or more")
        self.embed_dim, self.stride = embed_dim, downsample
        self.norm_in = nn.LayerNorm(embed_dim)
        self.downsample = Downsample(embed_dim=embed_dim, stride=downsample) if downsample > 1 else None

    def length(self, frames: Frames) -> Frames:
        """Return how many positions are left of a clip of so many frames."""
        return -(-frames // self.stride)

    def enter(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool."""
        x = self.norm_in(x)
        return (x, frames) if self.downsample is None else self.downsample(x, frames)
