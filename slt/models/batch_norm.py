"""Batch normalisation over the frames that there are: a batch's padding has no part in its mean and variance.

Shape letters: B clips, C channels, T frames; more dimensions may follow these, as the points of a skeleton.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Ioffe and Szegedy 2015 (algorithms 1 and 2), its weights and running statistics named as `nn.BatchNorm1d`'s.

    Published networks take padding into their statistics, by which a clip's training depends on how long its
    neighbours are. In a batch without padding the two are the same. A batch without any frame teaches nothing. Over
    several processes each has the statistics of its own part of the batch.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor, there: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, T, ...) and bool (B, 1, T, ...), True = to count, last dimensions 1 or as x's -> (B, C, T, ...)."""
        if not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        others = [0, *range(2, x.dim())]
        wide = (-1, *[1] * (x.dim() - 2))  # of channels, beside x
        whole = x.float()  # sums over a whole batch, whatever autocast computes products in
        weight = there.expand(-1, -1, *x.shape[2:]).float()
        count = weight.sum()
        some = count.clamp(min=1)
        mean = (whole * weight).sum(others) / some
        centred = whole - mean.view(wide)
        variance = (centred.square() * weight).sum(others) / some
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            step = (self.momentum or 0.0) * (count > 0)
            self.running_mean.lerp_(mean, step)
            self.running_var.lerp_(variance * some / (some - 1).clamp(min=1), step)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale.view(wide) + self.bias.view(wide)).to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None: ...
