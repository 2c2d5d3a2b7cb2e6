"""`python -m slt.eval checkpoint=RUN`: rebuild everything from the checkpoint, translate a split, score it, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("eval")
def evaluate(cfg: DictConfig) -> float:
    """Evaluates, and returns BLEU."""
    from slt.commands import evaluate  # here: `--help` needs neither torch nor transformers

    return evaluate.evaluate(cfg)


if __name__ == "__main__":
    evaluate()
