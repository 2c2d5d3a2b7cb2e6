"""Temporal encoders, the stage in which frames look at each other and the only one that may shorten a clip.

One is any module with `stride`, `length(frames)` and `forward(x, frames)`, (B, T, D) and (B, T) -> (B, T', D) and
(B, T'): B clips, T frames, T' = ceil(T / stride), D model width. A clip of so many frames has the first `length` of
those positions, at least one, and the mask that comes out says so.
"""

from slt.models.temporal.conformer import ConformerTemporal
from slt.models.temporal.conv import ConvTemporal
from slt.models.temporal.none import NoTemporal
from slt.models.temporal.recurrent import BiGRUTemporal, BiLSTMTemporal
from slt.models.temporal.transformer import TransformerTemporal, sinusoidal_positions
from slt.models.temporal.visual_head import VisualHeadTemporal

__all__ = [
    "BiGRUTemporal", "BiLSTMTemporal", "ConformerTemporal", "ConvTemporal", "NoTemporal", "TransformerTemporal",
    "VisualHeadTemporal", "sinusoidal_positions",
]  # fmt: skip
