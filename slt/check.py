"""`python -m slt.check dataset=NAME dataset.root=FOLDER`: a corpus in numbers, beside those that its authors give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("check")
def check(cfg: DictConfig) -> int:
    """Counts, and returns the exit status: 1 where no split can be read."""
    from slt.commands import check  # here: `--help` needs none of it

    return check.check_corpus(cfg)


if __name__ == "__main__":
    check()
