"""Random masks at a fraction of their cost on a processor, where torch's own generator takes a fifth of an update.

Dropout and stochastic depth draw a mask of the size of what they hide, and torch makes each element of it from a number
of its own. Here four come of one 64-bit number of SFC64 (Doty-Humphrey's, in numpy), which is seeded by torch's
generator anew for each mask: what a checkpoint keeps of torch's random numbers repeats these too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.library import Library

LEVELS = 2**16


def bernoulli_(x: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fills a tensor of a processor with ones, each of probability p, and zeros; what `Tensor.bernoulli_` does."""
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    source = np.random.SFC64(seed)
    # An element has 2^16 levels; that of the mask is drawn from the two that p lies between, so that its mean is p.
    level = int(p * LEVELS + np.random.Generator(source).random())
    if level == LEVELS:
        return x.fill_(1)
    drawn = torch.from_numpy(source.random_raw(-(-x.numel() // 4)).view(np.int16))[: x.numel()].view(x.shape)
    return torch.lt(drawn, level - LEVELS // 2, out=x)


@contextmanager
def quick_masks() -> Iterator[None]:
    """Within the block `bernoulli_` is what torch fills masks by, in whatever network draws them."""
    library = Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this takes another's place, which is what it is for
        library.impl("bernoulli_.float", bernoulli_, "CPU")
    try:
        yield
    finally:
        del library  # with it the kernel goes
