"""Runs a network on the frames seen only: padding and missed detections cost nothing and cannot change a result.

Shape letters: B clips, T frames, F backbone width, N = frames seen in the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def on_seen(network: Callable[[Tensor], Tensor], x: Tensor, seen: Tensor, *, together: bool = False) -> Tensor:
    """(N, ...) -> (N, F) on the frames seen of (B, T, ...) -> (B, T, F), zero where (B, T) `seen` is False.

    `together` says that frames change each other's result in the network, as in batch normalisation.
    """
    if x.device.type != "cpu" and not together:
        return on_all(network, x, seen)
    flat = seen.flatten()
    # No network takes an empty batch: where nothing was seen at all the first frame is computed and not used. Without
    # a branch on what was seen, so that the module can be exported as it is.
    first = torch.arange(flat.shape[0], device=flat.device) == 0
    kept = (flat | (first & ~flat.any())).nonzero().squeeze(1)
    if not torch.jit.is_tracing():  # which knows numbers as tensors
        torch._check(kept.shape[0] >= 1)
    features = network(x.flatten(0, 1)[kept])
    out = features.new_zeros(flat.shape[0], features.shape[-1]).index_copy(0, kept, features)
    return torch.where(flat[:, None], out, 0.0).unflatten(0, seen.shape)


def on_all(network: Callable[[Tensor], Tensor], x: Tensor, seen: Tensor) -> Tensor:
    """The same by computing all frames: how many were seen only a GPU knows, and to wait for it costs more than those.

    One form of work for every batch, too, which compilers and captured graphs want.
    """
    return torch.where(seen[..., None], network(x.flatten(0, 1)).unflatten(0, seen.shape), 0.0)


def shortened(mask: Tensor, length: int, stride: int) -> Tensor:
    """(B, T) bool -> (B, T'): whether any frame of each `stride` is True; `length` T' = ceil(T / stride) is known.

    By index and not by slice, whose length torch.export cannot prove to be that of what a network has shortened.
    """
    first = torch.arange(length, device=mask.device) * stride
    out = mask.index_select(1, first)
    for later in range(1, stride):
        out = out | mask.index_select(1, (first + later).clamp(max=mask.shape[1] - 1))
    return out
