"""Which loss was the first that is not finite, noted on the device.

Asked after each update, a GPU would stand still until the host has heard and gone on.
"""

from __future__ import annotations

import torch
from torch import Tensor


class FirstBad:
    """The first update whose loss was not finite."""

    def __init__(self) -> None:
        self._step: Tensor | None = None
        self._loss = torch.zeros(())

    def note(self, loss: Tensor, step: int) -> None:
        """Takes note of the loss, a scalar without gradient, of an update; they count from 1."""
        bad = torch.where(loss.isfinite(), 0, step)
        if self._step is None:
            self._step, self._loss = bad, loss
        else:
            none = self._step == 0
            self._step, self._loss = torch.where(none, bad, self._step), torch.where(none, loss, self._loss)

    @property
    def step(self) -> int:
        """0 = none so far; the device is waited for."""
        return 0 if self._step is None else int(self._step)

    @property
    def loss(self) -> float:
        """Of that update; of the last one where there was none."""
        return self._loss.item()
