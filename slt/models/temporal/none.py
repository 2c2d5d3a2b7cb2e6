"""No temporal encoder: frames go to the decoder as they were fused, (B, T, D); B clips, T frames, D model width."""

from __future__ import annotations

from torch import Tensor, nn

from slt.models.temporal.downsample import Frames


class NoTemporal(nn.Module):
    """Hands the frames through, for a decoder whose own encoder looks at all of them."""

    stride = 1  # frames to one position

    def length(self, frames: Frames) -> Frames:
        """Return how many positions are left of a clip of so many frames: all."""
        return frames

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, T) bool -> the same."""
        return x, frames
