"""`python -m slt.train`: parse, build, train, score the best checkpoint, close."""

from __future__ import annotations

from omegaconf import DictConfig

from slt.config.entry import main


@main("train")
def train(cfg: DictConfig) -> float:
    """Trains, and returns the best validation score, which sweeps maximise."""
    from slt.commands import train  # here: `--help` needs neither torch nor transformers

    return train.train(cfg)


if __name__ == "__main__":
    train()
