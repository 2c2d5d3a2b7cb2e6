"""Learning-rate schedules with linear warm-up, stateless: step (updates done, from 0) -> factor of the base rate."""

from __future__ import annotations

import math


def cosine(step: int, *, max_steps: int, warmup_steps: int, floor: float) -> float:
    """Half a cosine from 1 to `floor` after warm-up (Loshchilov and Hutter 2017, without restarts)."""
    half = 0.5 * (1 + math.cos(math.pi * _done(step, max_steps, warmup_steps)))
    return _warm(step, warmup_steps) * (floor + (1 - floor) * half)


def linear(step: int, *, max_steps: int, warmup_steps: int, floor: float) -> float:
    """A straight line from 1 to `floor` after warm-up."""
    return _warm(step, warmup_steps) * (1 - (1 - floor) * _done(step, max_steps, warmup_steps))


def constant(step: int, *, max_steps: int, warmup_steps: int) -> float:
    """1 after warm-up."""
    return _warm(step, warmup_steps)


def inverse_sqrt(step: int, *, max_steps: int, warmup_steps: int) -> float:
    """sqrt(warmup_steps / step) after warm-up (Vaswani et al. 2017, section 5.3)."""
    warmup_steps = max(warmup_steps, 1)
    return min((step + 1) / warmup_steps, math.sqrt(warmup_steps / (step + 1)))


def _warm(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _done(step: int, max_steps: int, warmup_steps: int) -> float:
    """Share of the run after warm-up that is over, in [0, 1]."""
    return min(max((step - warmup_steps) / max(max_steps - warmup_steps, 1), 0.0), 1.0)
