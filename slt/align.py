"""`python -m slt.align root=FOLDER out=FOLDER`: captions that follow the sound are moved to the signing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("align")
def align(cfg: DictConfig) -> None:
    """Aligns the captions of all films of a folder."""
    from slt.commands import align  # here: `--help` needs none of it

    align.align(cfg)


if __name__ == "__main__":
    align()
