"""Landmarks of a frame to features.

Shape letters: B clips, T frames, K landmarks, F backbone width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slt.models.backbones.seen import on_seen


class PoseMLP(nn.Module):
    """Landmarks of one frame and how they move: (B, T, K, 3) -> (B, T, F).

    Each frame is described by its points, their confidence, and the difference to the frame before (zero where either
    was not seen), through a two-layer perceptron. A missing point has confidence 0 and enters as zeros.
    """

    def __init__(self, *, num_points: int, num_features: int, dropout: float) -> None:
        super().__init__()
        self.num_points = num_points
        self.num_features = num_features
        self.network = nn.Sequential(
            nn.Linear(num_points * 5, num_features), nn.LayerNorm(num_features), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(num_features, num_features), nn.LayerNorm(num_features), nn.GELU(), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, K, 3) centred landmarks (x, y, confidence) and (B, T) seen -> (B, T, F)."""
        if x.shape[2] != self.num_points:
            raise ValueError(f"pose has {x.shape[2]} points a frame, the backbone was made for {self.num_points}")
        there = (x[..., 2:] > 0) & seen[..., None, None]
        x = torch.where(there, x, 0.0)
        # The first frame is its own predecessor: its speed is zero, and no length is other than the clip's.
        before = (torch.arange(x.shape[1], device=x.device) - 1).clamp(min=0)
        points = x[..., :2]
        speed = (points - points[:, before]) * (there & there[:, before])
        return on_seen(self.network, torch.cat([points, speed, x[..., 2:]], dim=-1).flatten(2), seen)


class PointBackbone(nn.Module):
    """Landmarks as they are: (B, T, K, 3) -> (B, T, 2 K) of x and y in turn, or (B, T, 3 K) with their confidence."""

    def __init__(self, *, num_points: int, confidence: bool) -> None:
        super().__init__()
        self.num_points, self.values = num_points, 3 if confidence else 2
        self.num_features = num_points * self.values

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, K, 3) landmarks (x, y, confidence) and (B, T) seen -> (B, T, F), zero where not seen."""
        if x.shape[2] != self.num_points:
            raise ValueError(f"pose has {x.shape[2]} points a frame, the backbone was made for {self.num_points}")
        there = (x[..., 2:] > 0) & seen[..., None, None]
        return torch.where(there, x, 0.0)[..., : self.values].flatten(2)
