"""`python -m slt.adapt checkpoint=RUN signer=NAME clips=20`: a checkpoint learns one signer from a few clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("adapt")
def adapt(cfg: DictConfig) -> float:
    """Adapts, and returns BLEU on the signer's other clips."""
    from slt.commands import adapt  # here: `--help` needs neither torch nor transformers

    return adapt.adapt(cfg)


if __name__ == "__main__":
    adapt()
