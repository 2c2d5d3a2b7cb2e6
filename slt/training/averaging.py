"""The weights that are evaluated and kept where training asks for it: an exponential average of those trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Average:
    """An exponential moving average of a module's weights (Polyak and Juditsky 1992; as timm's `ModelEmaV3`).

    Of shards each process averages its own. Buffers are those of the module. Without a `decay` it holds and costs
    nothing, and the weights shown are the module's.
    """

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        self.module, self.decay = module, decay
        self.held: list[Tensor] = []
        self.take()

    def take(self) -> None:
        """Begin from the weights of now."""
        self.held = [weight.clone() for weight in self._weights()] if self.decay is not None else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after update number `step`, at first faster: the start is soon forgotten."""
        if self.decay is not None:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.held, self._weights(), 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within it the module has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for held, weight in zip(self.held, self._weights() if self.held else (), strict=True):
            kept = weight.clone()
            weight.copy_(held)
            held.copy_(kept)

    def _weights(self) -> list[Tensor]:
        every = (parameter.detach() for parameter in self.module.parameters())
        return [weight.to_local() if isinstance(weight, DTensor) else weight for weight in every]
