"""The averaged weights: those of the plain sum, shown for as long as they are asked for, and resumed to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slt.training.averaging import Average
from slt.training.checkpoint import load_checkpoint

Make = Callable[..., Any]


def test_the_average_is_that_of_the_weights_after_each_update() -> None:
    module = nn.Linear(2, 1, bias=False)
    average, plain = Average(module, 0.5), module.weight.detach().clone()
    for step, value in enumerate((1.0, 3.0, -2.0), start=1):
        nn.init.constant_(module.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        plain = decay * plain + (1 - decay) * value
    with average.shown():
        assert torch.allclose(module.weight, plain)
    assert torch.equal(module.weight, torch.full((1, 2), -2.0))


def test_without_a_decay_the_weights_shown_are_those_trained() -> None:
    module = nn.Linear(2, 1)
    before, average = module.weight.detach().clone(), Average(module, None)
    average.update(1)
    with average.shown():
        assert torch.equal(module.weight, before)


def test_the_best_holds_the_average_and_the_last_goes_on_bit_for_bit(trainer: Make, tmp_path: Path) -> None:
    whole = trainer(folder=tmp_path / "whole", ema_decay=0.9, evaluate=lambda: {"val/bleu": 1.0})
    whole.run()
    begun = trainer(folder=tmp_path / "begun", ema_decay=0.9, max_steps=3)
    begun.run()
    rest = trainer(folder=tmp_path / "rest", ema_decay=0.9)
    rest.resume(load_checkpoint(begun.folder / "last.pt"), source=begun.folder)
    rest.run()
    one, two = (load_checkpoint(run.folder / "last.pt") for run in (whole, rest))
    for kind in ("model", "average"):
        assert all(torch.equal(one[kind][name], two[kind][name]) for name in one[kind])
    best = load_checkpoint(whole.folder / "best.pt")["model"]  # of update 3
    assert all(torch.equal(best[name], x) for name, x in load_checkpoint(begun.folder / "last.pt")["average"].items())
    assert not torch.equal(one["model"]["0.weight"], one["average"]["0.weight"])


def test_averaging_changes_nothing_of_the_training(trainer: Make, tmp_path: Path) -> None:
    weights = []
    for decay in (None, 0.9):
        run = trainer(folder=tmp_path / str(decay), ema_decay=decay)
        run.run()
        weights.append(run.model[0].weight)
    assert torch.equal(*weights)
