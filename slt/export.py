"""`python -m slt.export checkpoint=RUN out=exports/NAME`: rebuild a run, export it, and prove that it is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("export")
def export(cfg: DictConfig) -> None:
    """Exports."""
    from slt.commands import export  # here: `--help` needs neither torch nor transformers

    export.export(cfg)


if __name__ == "__main__":
    export()
