"""`python -m slt.start FOLDER`: one's own films and captions to a model, its scores, an export and a report."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from slt.config.entry import main
from slt.config.messages import in_quotes

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("start")
def run(cfg: DictConfig) -> int:
    """Goes through the steps, and returns the exit status of the one that stopped, else 0."""
    from slt.commands import start  # here: `--help` needs none of it

    return start.start(cfg)


def start() -> None:
    """Takes a word that is no `key=value`, and no flag or its value, for the folder."""
    sys.argv[1:] = [in_quotes("source", word) if _is_folder(word, last) else word for last, word in pairwise(sys.argv)]
    run()


def _is_folder(word: str, last: str) -> bool:
    return not word.startswith("-") and not last.startswith("-") and ("=" not in word or Path(word).is_dir())


if __name__ == "__main__":
    start()
