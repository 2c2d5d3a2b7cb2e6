"""`python -m slt.train`: parse, build, train, score the best checkpoint, close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("train")
def train(cfg: DictConfig) -> float:
    """Trains, and returns the best validation score, which sweeps maximise."""
    from slt.commands import train  # here: `--help` needs neither torch nor transformers

    return train.train(cfg)


if __name__ == "__main__":
    train()
