"""What the training tests share: the real `Trainer` on a regression of three features, small enough to count on.

B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.training.loop import Run, Trainer
from slt.training.machine import Compute
from slt.training.record import Record
from slt.training.schedule import constant
from slt.training.settings import LoopSettings

LOOP: dict[str, Any] = {
    "strategy": "ddp", "select": "val/bleu", "accumulate": 1, "grad_clip": None, "max_steps": 6, "eval_every": 3,
    "log_every": 1,
}  # fmt: skip
FIELDS = {part.name for part in fields(LoopSettings)}


@dataclass
class Rows:
    """A batch: features x (B, 3) and targets y (B,)."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device) -> Rows:
        return self

    def __len__(self) -> int:
        return len(self.x)


class Endless:
    """Batch number i of `size` rows is cut from one long table, so that two batches of 4 are one of 8."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.x = torch.randn(400, 3, generator=torch.Generator().manual_seed(5))
        self.y = self.x @ torch.tensor([1.0, 2.0, 3.0])

    def start(self, consumed: int) -> Iterator[Rows]:
        while True:
            place = slice(consumed * self.size, (consumed + 1) * self.size)
            yield Rows(self.x[place], self.y[place])
            consumed += 1


def squared_error(model: nn.Module, rows: Rows) -> Tensor:
    return functional.mse_loss(model(rows.x)[:, 0], rows.y)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Build a Trainer of an MLP 3-16-1 with dropout; keyword arguments replace its own, `folder` is the run's."""

    def make(*, dropout: float = 0.5, lr: float = 0.05, folder: Path = tmp_path, **changes: Any) -> Trainer:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))
        model = changes.pop("model", model)
        groups = [{"params": list(model.parameters()), "lr": lr, "base_lr": lr}]
        compute = Compute(torch.device("cpu"), changes.pop("precision", "fp32"))
        carried, profiler = changes.pop("carried", {"config": "a: 1"}), changes.pop("profiler", None)
        run = Run(folder / "checkpoints", compute, Record(folder, []), carried, profiler)
        settings = LoopSettings(**LOOP | {key: changes.pop(key) for key in [*changes] if key in FIELDS})
        options: dict[str, Any] = {
            "model": model, "objective": squared_error, "optimizer": torch.optim.AdamW(groups), "evaluate": None,
            "batches": Endless(4), "schedule": partial(constant, warmup_steps=0), "run": run, "settings": settings,
        }  # fmt: skip
        return Trainer(**options | changes)

    return make
