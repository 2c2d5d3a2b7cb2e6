"""Fusion: the projected streams of a frame become one vector: name -> (B, T, D), seen -> (B, T, D).

Shape letters: B clips, T frames, S streams, D model width.

All fusions take the streams as a mapping and share one rule: where a stream was not seen its content has no weight.
Of several streams a learned embedding says that one is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class MissingStreams(nn.Module):
    """One learned "not seen" embedding a stream; `streams` is the order in which they are stacked."""

    def __init__(self, *, streams: Sequence[str], embed_dim: int) -> None:
        super().__init__()
        self.streams = tuple(streams)
        self.embedding = nn.Parameter(torch.randn(len(self.streams), embed_dim) * 0.02)

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, S, D) content or embedding, and (B, T, S) seen."""
        there = torch.stack([seen[name] for name in self.streams], dim=2)
        stacked = torch.stack([projected[name] for name in self.streams], dim=2)
        return torch.where(there[..., None], stacked, self.embedding.to(stacked.dtype)), there


class FuseConcatLinear(nn.Module):
    """Concatenates the streams and mixes them with one linear layer."""

    def __init__(self, *, streams: Sequence[str], embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.missing = MissingStreams(streams=streams, embed_dim=embed_dim)
        self.linear = nn.Linear(len(streams) * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, D)."""
        content, _ = self.missing(projected, seen)
        return self.dropout(self.linear(content.flatten(2)))


class FuseMean(nn.Module):
    """The mean of the streams seen, plus the embeddings of those that were not."""

    def __init__(self, *, streams: Sequence[str], embed_dim: int) -> None:
        super().__init__()
        self.missing = MissingStreams(streams=streams, embed_dim=embed_dim)

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, D)."""
        content, there = self.missing(projected, seen)
        weight = there / there.sum(dim=2, keepdim=True).clamp(min=1)
        return _weighted(content, weight.to(content.dtype), there)


class FuseGated(nn.Module):
    """A softmax gate per frame weighs the streams seen (after gated multimodal units, Arevalo et al. 2017)."""

    def __init__(self, *, streams: Sequence[str], embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.missing = MissingStreams(streams=streams, embed_dim=embed_dim)
        # Each channel has its own gate: with one gate a frame, streams would compete for the whole vector.
        self.gate = nn.Linear(len(streams) * embed_dim, len(streams) * embed_dim)
        self.mix = nn.ModuleList(nn.Linear(embed_dim, embed_dim) for _ in streams)
        self.dropout = nn.Dropout(dropout)

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, D)."""
        content, there = self.missing(projected, seen)
        scores = self.gate(content.flatten(2)).unflatten(2, content.shape[2:])
        scores = scores.masked_fill(~there[..., None], torch.finfo(scores.dtype).min)
        weight = scores.softmax(dim=2) * there[..., None]
        mixed = torch.stack([layer(content[:, :, i]) for i, layer in enumerate(self.mix)], dim=2)
        mixed = torch.where(there[..., None], mixed, content)
        return self.dropout(_weighted(mixed, weight, there))


class FuseSingle(nn.Module):
    """Hands the only stream through, zero where it was not seen: a model of one stream needs no weight here."""

    def __init__(self, *, streams: Sequence[str]) -> None:
        super().__init__()
        if len(streams) != 1:
            raise ValueError(
                f"fusion=single is for one stream, came {', '.join(streams)}; choose it with dataset.only=[NAME], or "
                "take another fusion"
            )
        self.stream = streams[0]

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, D)."""
        return torch.where(seen[self.stream][..., None], projected[self.stream], 0.0)


def _weighted(content: Tensor, weight: Tensor, there: Tensor) -> Tensor:
    """Sums (B, T, S, D) content by (B, T, S[, D]) weight where seen and by one where not -> (B, T, D)."""
    weight = weight if weight.dim() == 4 else weight[..., None]
    return (content * torch.where(there[..., None], weight, 1.0)).sum(dim=2)
