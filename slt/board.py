"""`python -m slt.board board.entity=NAME`: save the board's layout, the same for every project, as a view on wandb."""

from __future__ import annotations

from omegaconf import DictConfig

from slt.config.checks import check
from slt.config.entry import main
from slt.training.workspace import layout


@main("board")
def board(cfg: DictConfig) -> None:
    """Saves the layout and says where it is."""
    check(cfg)
    view = layout(entity=cfg.board.entity, project=cfg.board.project, title=cfg.title)
    try:
        view.save()
    except Exception as error:  # wandb has no one kind of error for a server that is away or refuses
        raise OSError(f"board.entity={cfg.board.entity}: the layout could not be saved ({error})") from error
    print(f"board: {view.url}")


if __name__ == "__main__":
    board()
