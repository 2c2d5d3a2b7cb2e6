"""The network of a learned segmenter: convolutions over frames, small enough to be run in numpy as it is.

Shape letters: B films, T frames, F features, D width, 3 tags (slt/streams/phrases.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

TAGS = 3


class Tagger(nn.Module):
    """Says of each frame whether it is outside a sentence, at its beginning or inside.

    Dilated convolutions over three frames, each added to what it read. They look as many frames ahead as back, so that
    a tag is known `reach` frames late. (Moryossef et al. 2023 have bidirectional LSTMs, which are known at a film's
    end.)

    Args:
        num_features: F.
        width: D.
        dilations: of the layers, in frames.
        dropout: before the last layer.
    """

    def __init__(self, *, num_features: int, width: int, dilations: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dilations = tuple(dilations)
        self.enter = nn.Linear(num_features, width)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=each) for each in dilations)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(width, TAGS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> logits (B, T, 3); beyond both ends there are zeros."""
        x = functional.relu(self.enter(x)).transpose(1, 2)
        for dilation, layer in zip(self.dilations, self.layers, strict=True):
            x = x + functional.relu(layer(functional.pad(x, (dilation, dilation))))
        return self.leave(self.dropout(x.transpose(1, 2)))
