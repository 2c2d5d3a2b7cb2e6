"""`python -m slt.rate +systems.NAME=RUN ...`: a page for blind human rating; `read=FOLDER`: what raters sent back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("rate")
def rate(cfg: DictConfig) -> None:
    """Writes the page, or reads the ratings."""
    from slt.commands import rate  # here: `--help` needs none of it

    rate.rate(cfg)


if __name__ == "__main__":
    rate()
