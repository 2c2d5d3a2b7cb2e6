"""`python -m slt.score hypotheses=FILE references=FILE`: score any two text files, with a baseline test them too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from slt import Command
from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("score")
def score(cfg: DictConfig) -> float:
    """Scores, and returns BLEU."""
    from slt.commands import score  # here: `--help` needs neither torch nor transformers

    return score.score(cfg)


if __name__ == "__main__":
    score()
else:
    sys.modules[__name__].__class__ = Command
