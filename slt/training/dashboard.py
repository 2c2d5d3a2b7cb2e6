"""What a run tells a board, whichever it is; a board that fails, or whose server is away, never stops a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slt.training.lineage import Item, checkpoint

log = logging.getLogger(__name__)

COLUMNS = ("step", "id", "reference", "hypothesis", "chrf", "filmstrip")  # of a table of translations


class Dashboard:
    """A run on a board; this one tells nobody anything.

    Attributes:
        examples: clips whose translations are to be shown at each evaluation.
    """

    examples = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step, named `split/name`."""

    def translations(self, name: str, step: int, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """A table of translations at a step; `pictures` is id -> filmstrip (H, W, 3) uint8, each told once."""

    def picture(self, step: int, name: str, picture: Any) -> None:
        """A picture (H, W, 3) uint8 of one step."""

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Final scores, named `split/name`; beside the training curve's where that has the name (`finals`)."""

    def uses(self, item: Item) -> None:
        """Says that this run builds on `item`, which another run may have made."""

    def makes(self, item: Item, *aliases: str) -> None:
        """Says that this run made `item`."""

    def checkpoints(self, folder: Path, **about: Any) -> None:
        """Says that this run made `best.pt` and `last.pt` in `folder`; `about` is shown beside them."""
        for path in sorted(folder.glob("*.pt")):
            self.makes(checkpoint(path, **about), path.stem)

    def close(self) -> None:
        """Ends the run on the board; all that was told is there, or on its way."""


class Board(Protocol):
    """What conf/board/NAME.yaml builds: a frozen dataclass of the board's keys.

    Those that have `group`, `name` and `tags` get them of the command where they are not given (slt/config/runs.py).
    """

    @property
    def silent(self) -> bool:
        """Whether nothing is told to it at all."""

    def fault(self) -> str | None:
        """What is wrong with it before anything begins, such as a missing key; None = nothing."""

    def open(self, folder: Path, config: dict[str, Any], *, job_type: str) -> Dashboard:
        """Begins a run whose files lie in `folder`; its configuration as plain values, and which command it is of."""


@dataclass(frozen=True)
class NoBoard:
    """`board=none`: no board is told anything, and no library of one is imported."""

    silent = True

    def fault(self) -> str | None:
        return None

    def open(self, folder: Path, config: dict[str, Any], *, job_type: str) -> Dashboard:
        return Dashboard()


class Telling(Dashboard):
    """A run on a board that something is told to, until telling it fails.

    Attributes:
        run: what the board's library has for it; None once it has failed or is closed.
        board: the board's name, for messages.
        kept: what becomes of a run that its board fails, for messages.
    """

    board: str
    kept: str

    def __init__(self, run: Any) -> None:
        self.run = run
        self.logged: set[str] = set()

    def finals(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The names under which final scores stand beside the curves: `val/final_bleu` where there is a `val/bleu`."""
        return {name.replace("/", "/final_") if name in self.logged else name: v for name, v in metrics.items()}

    def tell(self, act: Callable[[Any], object], lost: str | None = None) -> None:
        """Does something with the run; a server or a disk that goes away comes as almost any error, and stops nothing.

        `lost` says what is missing where it fails and the board goes on; None = it ends.
        """
        if self.run is None:
            return
        try:
            act(self.run)
        except Exception as error:
            log.warning("%s failed (%s: %s); %s", self.board, type(error).__name__, error, lost or self.kept)
            self.run = self.run if lost else None
