"""Convolutions and pools over the frames: each position left has looked at some dozen neighbouring frames.

Shape letters: B clips, T frames, T' frames after the pools, D model width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.batch_norm import BatchNorm
from slt.models.temporal.downsample import Frames


class ConvTemporal(nn.Module):
    """The temporal convolution of VAC (Min et al. 2021), CorrNet (Hu et al. 2023) and SpaMo (Hwang et al. 2025).

    `K5` is a convolution over five frames, batch normalisation and ReLU; `P2` keeps the largest of every two. Theirs is
    K5 P2 K5 P2, the names of whose weights are kept.

    With `padding: valid` no layer looks beyond a clip, as published: 16 frames leave one position, 33 five, 64
    thirteen. A clip too short for one is lengthened at its end with frames of zeros, to exactly one position. (VAC and
    CorrNet repeat a clip's first and last frame some times before, which leaves ceil(frames / 4).) With `same` each
    convolution sees zeros beyond both ends, and ceil(frames / stride) positions are left.

    Args:
        embed_dim: D of what comes in and goes out.
        layers: `K` and `P` with a number of frames each, in order.
        padding: valid or same.
        dropout: of what comes out; the published have none.
    """

    def __init__(self, *, embed_dim: int, layers: Sequence[str], padding: str, dropout: float) -> None:
        super().__init__()
        if padding not in ("valid", "same"):
            raise ValueError(f"temporal: padding={padding}, expected valid (nothing beyond a clip) or same (zeros)")
        self.same = padding == "same"
        made: list[nn.Module] = []
        lost, strides = 0, [1]  # by valid convolutions, in frames of the clip
        for kind, size in map(_read, layers):
            if kind == "K":
                made += [Convolution(embed_dim, size, same=self.same), Normalised(embed_dim), Rectified()]
                lost += (size - 1) * prod(strides)
            else:
                made.append(Pool(size, same=self.same))
                strides.append(size)
        self.stride, self.lost = prod(strides), 0 if self.same else lost
        self.temporal_conv = nn.ModuleList(made)
        self.dropout = nn.Dropout(dropout)

    @property
    def least(self) -> int:
        """The fewest frames of which a position is left."""
        return 1 if self.same else self.lost + self.stride

    def length(self, frames: Frames) -> Frames:
        """Return how many positions are left of a clip of so many frames."""
        if self.same:
            return -(-frames // self.stride)
        long = frames.clamp(min=self.least) if isinstance(frames, Tensor) else max(frames, self.least)
        return (long - self.lost) // self.stride

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) fused frames and (B, T) bool frames -> (B, T', D) and (B, T') bool, True = of the clip.

        With `valid` padding the last of the T' = ceil(T / stride) positions are nobody's: so many that a batch of any
        length has one, which an exported graph could not look at first.
        """
        x = torch.where(frames[..., None], x, 0.0).transpose(1, 2)
        x = functional.pad(x, (0, self.least - 1))
        count = frames.sum(1).clamp(min=self.least)
        for layer in self.temporal_conv:
            x, count = layer(x, count)
        there = _there(x, count)
        return self.dropout(torch.where(there, x, 0.0).transpose(1, 2)), there.squeeze(1)


class Convolution(nn.Conv1d):
    """Over `size` neighbouring positions; what is not the clip's own it sees as zeros."""

    def __init__(self, embed_dim: int, size: int, *, same: bool) -> None:
        super().__init__(embed_dim, embed_dim, size)
        self.lost = 0 if same else size - 1
        self.beyond = ((size - 1) // 2, size // 2) if same else (0, 0)

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, D, T) and how many of each clip's T are its own, (B,) -> (B, D, T') and (B,)."""
        x = torch.where(_there(x, count), x, 0.0)
        return super().forward(functional.pad(x, self.beyond)), count - self.lost


class Normalised(BatchNorm):
    """Over the positions that are a clip's own."""

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, D, T) and (B,) -> the same."""
        return super().forward(x, _there(x, count)), count


class Rectified(nn.ReLU):
    """Nothing below zero."""

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, D, T) and (B,) -> the same."""
        return super().forward(x), count


class Pool(nn.Module):
    """The largest of every `size` positions; with `same` the last ones of a clip may be fewer."""

    def __init__(self, size: int, *, same: bool) -> None:
        super().__init__()
        self.size = size
        self.more = size - 1 if same else 0

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, T) and (B,) -> (B, D, T') and (B,)."""
        lowest = torch.finfo(x.dtype).min
        x = functional.pad(torch.where(_there(x, count), x, lowest), (0, self.more), value=lowest)
        # In two dimensions: torch.export takes the length of what max_pool1d pools for a fixed one.
        return functional.max_pool2d(x[..., None], (self.size, 1)).squeeze(3), (count + self.more) // self.size


def _there(x: Tensor, count: Tensor) -> Tensor:
    """(B, 1, T) bool of (B, D, T): the first `count` (B,) are the clip's."""
    return torch.arange(x.shape[2], device=x.device) < count[:, None, None]


def _read(layer: str) -> tuple[str, int]:
    """`K5` -> K, 5."""
    found = re.fullmatch(r"([KP])([1-9]\d*)", str(layer))
    if not found:
        raise ValueError(
            f"temporal: layers has {layer!r}; expected K and the frames of a convolution, or P and those that a pool "
            "makes one, as in [K5, P2, K5, P2]"
        )
    return found[1], int(found[2])
