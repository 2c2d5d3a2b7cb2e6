"""Projectors: bring each stream's backbone width to the model's: (B, T, F) -> (B, T, D).

Shape letters: B clips, T frames, F backbone width, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class StreamProjector(nn.Module):
    """Normalises and projects one stream."""

    def __init__(self, *, num_features: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features)
        self.linear = nn.Linear(num_features, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, D)."""
        return self.dropout(self.linear(self.norm(x)))


class LinearProjector(nn.Module):
    """Projects one stream, without a norm before: for a temporal encoder that begins with one."""

    def __init__(self, *, num_features: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, D)."""
        return self.dropout(self.linear(x))


class LinearGelu(LinearProjector):
    """A linear layer and GELU without a norm: how numbers whose scale is known enter a language model."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, D)."""
        return functional.gelu(super().forward(x))
