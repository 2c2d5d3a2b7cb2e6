"""Precomputed features: B clips, T frames, F feature width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureBackbone(nn.Module):
    """Precomputed features pass as they are: (B, T, F) -> (B, T, F), zero where not seen."""

    def __init__(self, *, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, F) and (B, T) seen -> (B, T, F), zero where not seen."""
        if x.shape[-1] != self.num_features:
            raise ValueError(f"features are {x.shape[-1]} wide, backbone.num_features says {self.num_features}")
        return torch.where(seen[..., None], x.float(), 0.0)
