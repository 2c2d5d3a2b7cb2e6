"""The wandb side of a run; an unreachable server never stops a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slt.settings import choice, not_negative
from slt.training.lineage import Item, checkpoint

log = logging.getLogger(__name__)

COLUMNS = ("step", "id", "reference", "hypothesis", "chrf", "filmstrip")  # of a table of translations
SPLITS = ("train", "val", "test")
# What counts of a run is its best value and not its last: the checkpoint that is kept is the best one.
SUMMARY = {
    "max": ("bleu", "chrf", "rouge_l", "knn", "linear", "rank"),
    "min": ("loss", "cer", "wer", "ter", "gloss_wer"),
}
NO_KEY = (
    "wandb.mode=online: there is no key; run `wandb login` once on this machine, or set WANDB_API_KEY, or keep the run "
    "here with wandb.mode=offline and send it later with `wandb sync`"
)


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is told to wandb, and how, as `wandb` in conf/ explains."""

    mode: str = choice("disabled", "offline", "online")
    project: str
    entity: str | None
    group: str | None
    name: str | None
    tags: list[str]
    log_tables: bool
    examples: int = not_negative()
    log_checkpoints: bool


class Dashboard:
    """A wandb run, or nothing at all with `mode=disabled`: then wandb is not even imported.

    Its files go under the run folder, so that an offline run is complete there.
    """

    _staging: ClassVar[str | None] = None

    def __init__(self, folder: Path, config: Any, board: Board, *, job_type: str) -> None:
        self.log_checkpoints, self.log_tables = board.log_checkpoints, board.log_tables
        self.examples = board.examples if board.log_tables and board.mode != "disabled" else 0
        self.logged: set[str] = set()
        self.rows: dict[str, list[list[Any]]] = {}
        self.run: Any = None
        if board.mode == "disabled":
            return
        # Artifacts that wait to be sent go beside the run and not into the home folder, unless the user has said where.
        if os.environ.get("WANDB_DATA_DIR") in (None, Dashboard._staging):
            os.environ["WANDB_DATA_DIR"] = Dashboard._staging = str((folder / "wandb").resolve())
        self.run = self._begin(board, {"dir": str(folder), "config": config, "job_type": job_type})
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        for best, names in SUMMARY.items():
            for name in (f"{split}/{name}" for name in names for split in SPLITS):
                self.run.define_metric(name, step_metric="step", summary=best)

    def _begin(self, board: Board, settings: dict[str, Any]) -> Any:
        import wandb

        self.wandb = wandb
        if wandb.run is not None:  # of a job of this sweep that failed: wandb would go on in it
            wandb.run.finish(exit_code=1)
        settings |= {key: getattr(board, key) for key in ("project", "entity", "name", "tags", "group")}
        try:
            # At the end checkpoints may take a while to go; what has not gone by then stays on disk, for `wandb sync`.
            end = 600 if self.log_checkpoints else 60
            limits = wandb.Settings(init_timeout=20, finish_timeout=end, silent=True)
            return wandb.init(mode=board.mode, settings=limits, **settings)  # type: ignore[arg-type]
        except (wandb.errors.Error, OSError, TimeoutError) as error:
            if board.mode == "offline":
                raise OSError(f"wandb.mode=offline: cannot write under {settings['dir']} ({error})") from error
            log.warning("wandb cannot be reached (%s); the run is kept offline, `wandb sync` sends it later", error)
            return wandb.init(mode="offline", settings=wandb.Settings(silent=True), **settings)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged |= {*metrics}
        self._tell(lambda run: run.log({"step": step, **metrics}))

    def translations(self, name: str, step: int, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """A table that grows when told of several steps; `pictures` is id -> filmstrip (H, W, 3) uint8."""

        def send(run: Any) -> None:
            rows = self.rows.setdefault(name, [])
            drawn = {key: self.wandb.Image(image) for key, image in pictures.items()}
            strips = {row[1]: row[-1] for row in rows} | drawn
            rows += [[step, p.id, p.reference, p.hypothesis, p.score, strips.get(p.id)] for p in predictions]
            # Whole each time: wandb's incremental tables refer to each other on the server, which offline is not there.
            run.log({"step": step, name: self.wandb.Table(columns=[*COLUMNS], data=rows)})

        if self.log_tables:
            self._tell(send)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Any table, which wandb also keeps as an artifact."""
        if self.log_tables:
            self._tell(lambda run: run.log({name: self.wandb.Table(columns=[*columns], data=[[*row] for row in rows])}))

    def picture(self, step: int, name: str, picture: Any) -> None:
        """A picture (H, W, 3) uint8 of one step."""
        self._tell(lambda run: run.log({"step": step, name: self.wandb.Image(picture)}))

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Final scores, named `split/name`; beside the best of the training curve where that has the name."""
        own = {name.replace("/", "/final_") if name in self.logged else name: value for name, value in metrics.items()}
        self._tell(lambda run: run.summary.update(own))

    def uses(self, item: Item) -> None:
        """Says that this run builds on `item`, which another run may have made."""

        def send(run: Any) -> None:
            artifact = item.artifact(upload=self.log_checkpoints)
            # What `use_artifact` does with an artifact that is not logged yet, except that it also works offline
            # (`use_artifact` refuses there) and does not wait for the server.
            run._log_artifact(artifact, is_user_created=True, use_after_commit=True)

        self._tell(send, lost=f"the lineage lacks a {item.kind}")

    def makes(self, item: Item, *aliases: str) -> None:
        self._tell(
            lambda run: run.log_artifact(item.artifact(upload=self.log_checkpoints), aliases=list(aliases)),
            lost=f"the lineage lacks a {item.kind}",
        )

    def checkpoints(self, folder: Path, **about: Any) -> None:
        """Says that this run made `best.pt` and `last.pt` in `folder`; `about` is shown beside them."""
        for path in sorted(folder.glob("*.pt")):
            self.makes(checkpoint(path, **about), path.stem)

    def close(self) -> None:
        self._tell(lambda run: run.finish())

    def _tell(self, act: Callable[[Any], object], lost: str | None = None) -> None:
        """Does something with the run; a server that goes away comes as almost any error, and stops nothing.

        `lost` says what is missing where it fails and the dashboard goes on; None = it ends.
        """
        if self.run is None:
            return
        try:
            act(self.run)
        except Exception as error:
            kept = lost or "the run goes on without it, `wandb sync` sends what was kept"
            log.warning("wandb failed (%s: %s); %s", type(error).__name__, error, kept)
            self.run = self.run if lost else None


def key_fault(mode: str | None) -> str | None:
    """What is wrong with the key of an online run, without asking the server or showing the key; None = nothing."""
    if mode != "online":
        return None
    import wandb

    wandb.setup(wandb.Settings(silent=True, mode="online"))  # or it asks the server whose key it is, to greet them
    try:
        return None if wandb.login(prompt=False, verify=False) else NO_KEY
    except wandb.errors.AuthenticationError as error:
        return f"wandb.mode=online: {error}"
