"""Fusion: the projected streams of a frame become one vector: name -> (B, T, D), seen -> (B, T, D).

Shape letters: B clips, T frames, S streams, D model width.

All fusions take the streams as a mapping and share one rule: where a stream was not seen its content has no weight.
Of several streams a learned embedding says that one is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from slt.models.attention import attend, hiding


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


class FuseCrossAttention(nn.Module):
    """Streams ask each other what they show within `window` frames; a guide alone asks, or each of them.

    What is kept of Uni-Sign's prior-guided fusion (Li et al. 2025): the pose asks, the crops answer, and the answer is
    added to what the pose says itself. There each point of a hand reads the feature map of its crop at places that are
    learned; here a stream is one vector a frame, so a query reads the vectors of the other streams at its frame and its
    neighbours. Their answer goes through a gate, which their code draws as zeros before a ReLU, so that no gradient
    reaches it; ours is added as it is.

    Without a guide the answers are added to the mean of the streams seen, as `FuseMean` has it. A stream that was not
    seen answers nothing; it asks with its embedding, so that neighbouring frames can fill its place. Where nobody
    answers, what is asked remains as it was.

    Args:
        streams: their names, in the order of their embeddings.
        embed_dim, num_heads: D, and heads of attention.
        window: frames before and after; 0 = the same frame alone.
        guide: the stream that asks; None = all of them.
        dropout: of what comes out.
    """

    def __init__(
        self, *, streams: Sequence[str], embed_dim: int, num_heads: int, window: int, guide: str | None, dropout: float
    ) -> None:
        super().__init__()
        if guide is not None and guide not in streams:
            raise ValueError(
                f"fusion: guide={guide} is none of the streams ({', '.join(streams)}); null lets all of them ask"
            )
        if embed_dim % num_heads:
            raise ValueError(f"fusion: embed_dim={embed_dim} is not divisible by num_heads={num_heads}")
        if window < 0:
            raise ValueError(f"fusion: window={window}, expected frames on either side, 0 or more")
        self.missing = MissingStreams(streams=streams, embed_dim=embed_dim)
        self.num_heads, self.window = num_heads, window
        self.guide = None if guide is None else self.missing.streams.index(guide)
        self.query, self.value, self.out = (nn.Linear(embed_dim, embed_dim) for _ in range(3))
        self.key = nn.Linear(embed_dim, embed_dim, bias=False)  # one would change no weight
        # Who answers, and how many frames off.
        self.place = nn.Parameter(torch.randn(2 * window + 1, len(streams), embed_dim) * 0.02)
        self.dropout = nn.Dropout(dropout)

    def forward(self, projected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, D) and name -> (B, T) bool -> (B, T, D)."""
        content, there = self.missing(projected, seen)
        stream = torch.arange(there.shape[2], device=there.device)
        if self.guide is None:
            answers = self._ask(content, content, there, stream)
            weight = there / there.sum(dim=2, keepdim=True).clamp(min=1)
        else:
            asking = stream[self.guide, None]
            answers, weight = self._ask(content[:, :, self.guide, None], content, there, asking), stream == asking
        return self.dropout(_weighted(content, weight.to(content.dtype), there) + answers.mean(dim=2))

    def _ask(self, asking: Tensor, content: Tensor, there: Tensor, who: Tensor) -> Tensor:
        """(B, T, Q, D) of the streams `who` (Q,), and (B, T, S, D) and (B, T, S) -> the answers (B, T, Q, D).

        Zero where there is none. Each query reads N = (2 window + 1) S vectors.
        """
        others = who[:, None] != torch.arange(there.shape[2], device=who.device)  # nobody asks itself
        answering = self._near(there)[:, :, None] & others.repeat(1, 2 * self.window + 1)  # (B, T, Q, N)
        heads = [self.query(asking), self._near(self.key(content)), self._near(self.value(content))]
        heads[1] = heads[1] + self.place.flatten(0, 1)
        query, key, value = (x.flatten(0, 1).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in heads)
        mask = hiding(~answering.flatten(0, 1))[:, None]
        found = attend(query, key, value, mask, scale=query.shape[-1] ** -0.5).transpose(1, 2).flatten(2)
        return torch.where(answering.any(dim=3, keepdim=True), self.out(found).unflatten(0, there.shape[:2]), 0.0)

    def _near(self, x: Tensor) -> Tensor:
        """(B, T, S, ...) -> (B, T, N, ...), those of each frame and its neighbours; zeros beyond the batch."""
        times = torch.arange(x.shape[1], device=x.device)[:, None]
        times = times + torch.arange(2 * self.window + 1, device=x.device)
        beyond = torch.zeros_like(x[:, :1]).repeat(1, self.window, *[1] * (x.dim() - 2))
        return torch.cat([beyond, x, beyond], dim=1)[:, times].flatten(2, 3)


def _weighted(content: Tensor, weight: Tensor, there: Tensor) -> Tensor:
    """Sums (B, T, S, D) content by (B, T, S[, D]) weight where seen and by one where not -> (B, T, D)."""
    weight = weight if weight.dim() == 4 else weight[..., None]
    return (content * torch.where(there[..., None], weight, 1.0)).sum(dim=2)
