"""Attention, by the kernel that is fastest where it runs.

Shape letters: B clips, H heads, L queries, T keys, d width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scale: float, dropout: float = 0.0
) -> Tensor:
    """(B, H, L, d), (B, H, T, d) twice and what is added to scores (broadcast to B, H, L, T) -> (B, H, L, d).

    On a processor by the definition (Vaswani et al. 2017, section 3.2.1): of torch's own kernels there, one has a slow
    way back in bfloat16, and the other computes in float32 whatever it is given.
    """
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scale)
    scores = (query if scale == 1 else query * scale) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    weights = scores.softmax(dim=-1)
    if dropout:
        weights = functional.dropout(weights, dropout)
    return weights @ value


def hiding(absent: Tensor) -> Tensor:
    """What is added to scores: 0 where bool `absent` is False, far below any score where it is True.

    Finite, so that a row in which all is absent has even weights and no NaN, and in the precision of computing.
    """
    zero = torch.zeros((), dtype=mixed_precision(absent.device), device=absent.device)
    return torch.where(absent, torch.finfo(torch.float16).min, zero)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """What autocast computes products in on a device; None where it is off."""
    on = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else None
