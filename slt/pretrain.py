"""`python -m slt.pretrain stream=hands objective=dinov2`: crops without captions become a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("pretrain")
def pretrain(cfg: DictConfig) -> float:
    """Pretrains, and returns the best share of labels that neighbours got right (without a probe: the best rank)."""
    from slt.commands import pretrain  # here: `--help` needs neither torch nor transformers

    return pretrain.pretrain(cfg)


if __name__ == "__main__":
    pretrain()
