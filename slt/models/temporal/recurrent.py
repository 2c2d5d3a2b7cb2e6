"""Recurrent layers that read a clip from both its ends, after an optional strided convolution.

Shape letters: B clips, T frames, T' frames after downsampling, D model width, H hidden size of a direction.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from slt.models.temporal.downsample import Shortening


class BothWays(nn.Module):
    """One bidirectional layer; its two directions are what `nn.GRU` and `nn.LSTM` name without and with `_reverse`.

    Those would begin their way back in a batch's padding, and with packed sequences take lengths from the host, which
    an exported graph has not. Here each clip is turned over within its own length, so that padding comes last in both
    directions and reaches nothing.
    """

    def __init__(self, cell: type[nn.GRU] | type[nn.LSTM], width: int, hidden: int) -> None:
        super().__init__()
        self.forth, self.back = (cell(width, hidden, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """(B, T, D) and the place (B, T, 1) of each frame counted from its clip's end -> (B, T, 2 H)."""
        back = self.back(x.gather(1, turned.expand_as(x)))[0]
        return torch.cat([self.forth(x)[0], back.gather(1, turned.expand_as(back))], dim=2)


class BiGRUTemporal(Shortening):
    """Bidirectional GRU layers (Cho et al. 2014; Schuster and Paliwal 1997).

    VAC (Min et al. 2021) and CorrNet (Hu et al. 2023) read a temporal convolution with two bidirectional LSTM layers;
    here one strided convolution stands for it. The sizes of both directions together need not be D: a linear layer
    brings them there.

    Args:
        embed_dim: D of what comes in and goes out.
        hidden: H of each direction.
        depth: layers.
        dropout: of what enters each layer.
        downsample: n keeps one position in n frames.
    """

    cell: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.GRU

    def __init__(self, *, embed_dim: int, hidden: int, depth: int, dropout: float, downsample: int) -> None:
        super().__init__(embed_dim=embed_dim, downsample=downsample)
        if depth < 1:
            raise ValueError(f"temporal: depth={depth}, expected 1 layer or more")
        self.dropout = nn.Dropout(dropout)
        widths = [embed_dim] + [2 * hidden] * (depth - 1)
        self.layers = nn.ModuleList(BothWays(self.cell, width, hidden) for width in widths)
        self.linear = nn.Linear(2 * hidden, embed_dim)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool, True = a real frame."""
        x, frames = self.enter(x, frames)
        # On padding any place does: it is read after the clip, and what it gives is masked.
        last = frames.sum(1, keepdim=True) - 1
        turned = (last - torch.arange(x.shape[1], device=x.device)).clamp(min=0)[..., None]
        for layer in self.layers:
            x = layer(self.dropout(x), turned)
        return self.linear(x), frames


class BiLSTMTemporal(BiGRUTemporal):
    """Bidirectional LSTM layers (Hochreiter and Schmidhuber 1997) in the same places."""

    cell = nn.LSTM
