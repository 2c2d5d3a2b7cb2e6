"""`python -m slt.board board.entity=NAME`: save the board's layout, the same for every project, as a view on wandb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slt.config.entry import main

if TYPE_CHECKING:
    from omegaconf import DictConfig


@main("board")
def board(cfg: DictConfig) -> None:
    """Saves the layout and says where it is."""
    from slt.config.checks import check  # here: `--help` needs none of it
    from slt.training.workspace import layout

    check(cfg)
    view = layout(entity=cfg.board.entity, project=cfg.board.project, title=cfg.title)
    try:
        view.save()
    except Exception as error:  # wandb has no one kind of error for a server that is away or refuses
        raise OSError(f"board.entity={cfg.board.entity}: the layout could not be saved ({error})") from error
    print(f"board: {view.url}")


if __name__ == "__main__":
    board()
