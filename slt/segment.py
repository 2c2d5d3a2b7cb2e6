"""`python -m slt.segment`: a segmenter learns where sentences begin and end in films, for slt.demo and slt.align."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("segment")
def segment(cfg: DictConfig) -> float:
    """Trains, and returns F1 of the segments of test."""
    from slt.commands import segment  # here: `--help` needs no torch

    return segment.segment(cfg)


if __name__ == "__main__":
    segment()
