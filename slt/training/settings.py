"""How long and by which steps a model is trained: plain values, without torch, which the configuration knows too."""

from __future__ import annotations

from dataclasses import dataclass

from slt.settings import choice, not_negative, positive, share


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What every training says of its updates, as conf/train.yaml explains."""

    strategy: str = choice("ddp", "fsdp2")
    max_steps: int = positive()
    accumulate: int = positive()
    grad_clip: float | None = positive()
    log_every: int = positive()
    eval_every: int = positive()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which weights training begins with, averages and keeps, as conf/train.yaml explains."""

    select: str | None
    patience: int | None = positive()
    start: str | None
    ema_decay: float | None = share()


@dataclass(frozen=True, kw_only=True)
class LoopSettings(Updates):
    """All that the training loop is told in plain values.

    `select` is the metric that picks `best.pt`, the higher the better, or the lower with `lowest`. `weight_decay_end`
    is what weight decay comes to, on half a cosine (Caron et al. 2021, section 3.2). `unit` is what batches are of.
    """

    select: str
    lowest: bool = False
    patience: int | None = None
    ema_decay: float | None = None
    weight_decay_end: float | None = None
    unit: str = "clips"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Updates that pass before (first ones allocate, compile and fill the loader), and those that are recorded."""

    warmup: int = positive()
    steps: int = not_negative()
