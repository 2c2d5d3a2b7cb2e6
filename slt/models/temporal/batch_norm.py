"""Batch normalisation over the frames that there are: a batch's padding has no part in its mean and variance.

Shape letters: B clips, T frames, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Ioffe and Szegedy 2015 (algorithms 1 and 2), its weights and running statistics named as `nn.BatchNorm1d`'s.

    The published temporal convolutions take padding into their statistics, by which a clip's training depends on how
    long its neighbours are. In a batch without padding the two are the same. Over several processes each has the
    statistics of its own part of the batch.
    """

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(B, D, T) and (B, 1, T) bool, True = a frame to count -> (B, D, T)."""
        if not self.training or there is None:
            return super().forward(x)
        count = there.sum().clamp(min=1)
        full = x.float()  # sums over a whole batch, whatever autocast computes products in
        mean = torch.where(there, full, 0.0).sum((0, 2)) / count
        centred = full - mean[:, None]
        variance = torch.where(there, centred, 0.0).square().sum((0, 2)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum or 0.0)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale[:, None] + self.bias[:, None]).to(x.dtype)
