"""The head of two-stream and keypoint recognition: two convolutions over time about which everything goes once.

Shape letters: B clips, T frames, D model width, C channels between the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.batch_norm import BatchNorm
from slt.models.temporal.downsample import Frames
from slt.models.temporal.transformer import sinusoidal_positions

EPSILON = 1e-6  # of the layer norms


class VisualHeadTemporal(nn.Module):
    """What stands between a visual network and its classes in MMTLB, TwoStream-SLT (Chen et al. 2022) and MSKA.

    Theirs begins with a linear layer and ends with another, to the glosses: those are the projector
    (`slt.models.LinearProjector`) and the head `gloss` of an objective. Their normalisation passes padding by in
    training, as this does; their convolutions do not, and here padding is zeros to them.

    Args:
        embed_dim: D.
        hidden: C.
        kernel_size: frames of each convolution, odd.
        dropout: of what enters the convolutions, and between and behind them.
    """

    stride = 1

    def __init__(self, *, embed_dim: int, hidden: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: expected an odd number of frames, as many before as after")
        self.embed_dim = embed_dim
        self.norm_in = BatchNorm(embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.conv1 = nn.Conv1d(embed_dim, hidden, kernel_size, padding=kernel_size // 2)
        self.conv2 = nn.Conv1d(hidden, embed_dim, kernel_size, padding=kernel_size // 2)
        self.norm_out = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def length(self, frames: Frames) -> Frames:
        """Return how many positions are left of a clip of so many frames: all."""
        return frames

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> the same shapes."""
        there = frames[:, None]
        x = functional.relu(self.norm_in(x.transpose(1, 2), there)).transpose(1, 2)
        x = self.dropout(x + sinusoidal_positions(x.shape[1], self.embed_dim, x.device).to(x.dtype))
        inner = torch.where(there, self.norm(x).transpose(1, 2), 0.0)
        inner = self.dropout(functional.relu(self.conv1(inner)))
        inner = self.dropout(self.conv2(torch.where(there, inner, 0.0)))
        return self.norm_out(x + inner.transpose(1, 2)), frames
