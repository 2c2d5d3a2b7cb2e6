"""Temporal encoders, the stage in which frames look at each other and the only one that may shorten a clip.

One is any module with `stride` and `forward(x, frames)`, (B, T, D) and (B, T) -> (B, T', D) and (B, T'): B clips,
T frames, T' = ceil(T / stride), D model width.
"""

from slt.models.temporal.transformer import TransformerTemporal, sinusoidal_positions
from slt.models.temporal.visual_head import VisualHeadTemporal

__all__ = ["TransformerTemporal", "VisualHeadTemporal", "sinusoidal_positions"]
