"""No temporal encoder: what reads the frames afterwards, such as a decoder's text encoder, compares them first.

Shape letters: B clips, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn


class NoTemporal(nn.Module):
    """Frames pass as they are."""

    stride = 1

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, T) bool -> the same."""
        return x, frames
