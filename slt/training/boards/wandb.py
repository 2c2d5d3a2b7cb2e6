"""`board=wandb`: a run on Weights & Biases, sent as it goes or kept in the run folder for `wandb sync`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slt.settings import choice, not_negative
from slt.training.dashboard import COLUMNS, Dashboard, Telling
from slt.training.lineage import Item

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
# What counts of a run is its best value and not its last: the checkpoint that is kept is the best one.
SUMMARY = {
    "max": ("bleu", "chrf", "rouge_l", "knn", "linear", "rank"),
    "min": ("loss", "cer", "wer", "ter", "gloss_wer"),
}
NO_KEY = (
    "board.mode=online: wandb has no key; run `wandb login` once on this machine, or set WANDB_API_KEY, or keep the "
    "run here with board.mode=offline (wandb.mode=offline) and send it later with `wandb sync`, or take a board that "
    "needs no account: board=trackio"
)


@dataclass(frozen=True, kw_only=True)
class WandbBoard:
    """Its keys, as conf/board/wandb.yaml explains."""

    mode: str = choice("disabled", "offline", "online")
    project: str
    entity: str | None
    group: str | None
    name: str | None
    tags: list[str]
    log_tables: bool
    examples: int = not_negative()
    log_checkpoints: bool

    @property
    def silent(self) -> bool:
        return self.mode == "disabled"

    def fault(self) -> str | None:
        """What is wrong with the key of an online run, without asking the server or showing the key."""
        if self.mode != "online":
            return None
        import wandb

        wandb.setup(wandb.Settings(silent=True, mode="online"))  # or it asks the server whose key it is, to greet them
        try:
            return None if wandb.login(prompt=False, verify=False) else NO_KEY
        except wandb.errors.AuthenticationError as error:
            return f"board.mode=online: {error}"

    def open(self, folder: Path, config: dict[str, Any], *, job_type: str) -> Dashboard:
        return Dashboard() if self.silent else WandbRun(self, folder, config, job_type=job_type)


class WandbRun(Telling):
    """A wandb run, whose files go under the run folder, so that an offline run is complete there."""

    board, kept = "wandb", "the run goes on without it, `wandb sync` sends what was kept"
    _staging: ClassVar[str | None] = None

    def __init__(self, board: WandbBoard, folder: Path, config: dict[str, Any], *, job_type: str) -> None:
        self.log_checkpoints, self.log_tables = board.log_checkpoints, board.log_tables
        self.examples = board.examples if board.log_tables else 0
        self.rows: dict[str, list[list[Any]]] = {}
        # Artifacts that wait to be sent go beside the run and not into the home folder, unless the user has said where.
        if os.environ.get("WANDB_DATA_DIR") in (None, WandbRun._staging):
            os.environ["WANDB_DATA_DIR"] = WandbRun._staging = str((folder / "wandb").resolve())
        super().__init__(self._begin(board, {"dir": str(folder), "config": config, "job_type": job_type}))
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        for best, names in SUMMARY.items():
            for name in (f"{split}/{name}" for name in names for split in SPLITS):
                self.run.define_metric(name, step_metric="step", summary=best)

    def _begin(self, board: WandbBoard, settings: dict[str, Any]) -> Any:
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
                raise OSError(f"board.mode=offline: wandb cannot write under {settings['dir']} ({error})") from error
            log.warning("wandb cannot be reached (%s); the run is kept offline, `wandb sync` sends it later", error)
            return wandb.init(mode="offline", settings=wandb.Settings(silent=True), **settings)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged |= {*metrics}
        self.tell(lambda run: run.log({"step": step, **metrics}))

    def translations(self, name: str, step: int, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """One table, which grows when told of several steps."""

        def send(run: Any) -> None:
            rows = self.rows.setdefault(name, [])
            drawn = {key: self.wandb.Image(image) for key, image in pictures.items()}
            strips = {row[1]: row[-1] for row in rows} | drawn
            rows += [[step, p.id, p.reference, p.hypothesis, p.score, strips.get(p.id)] for p in predictions]
            # Whole each time: wandb's incremental tables refer to each other on the server, which offline is not there.
            run.log({"step": step, name: self.wandb.Table(columns=[*COLUMNS], data=rows)})

        if self.log_tables:
            self.tell(send)

    def picture(self, step: int, name: str, picture: Any) -> None:
        self.tell(lambda run: run.log({"step": step, name: self.wandb.Image(picture)}))

    def summary(self, metrics: Mapping[str, float]) -> None:
        self.tell(lambda run: run.summary.update(self.finals(metrics)))

    def uses(self, item: Item) -> None:
        def send(run: Any) -> None:
            # What `use_artifact` does with an artifact that is not logged yet, except that it also works offline
            # (`use_artifact` refuses there) and does not wait for the server.
            run._log_artifact(
                artifact_of(item, upload=self.log_checkpoints), is_user_created=True, use_after_commit=True
            )

        self.tell(send, lost=f"the lineage lacks a {item.kind}")

    def makes(self, item: Item, *aliases: str) -> None:
        self.tell(
            lambda run: run.log_artifact(artifact_of(item, upload=self.log_checkpoints), aliases=list(aliases)),
            lost=f"the lineage lacks a {item.kind}",
        )

    def close(self) -> None:
        self.tell(lambda run: run.finish())


def artifact_of(item: Item, *, upload: bool) -> Any:
    """An item as a wandb artifact, not yet logged; files that are not light are only pointed at unless `upload`."""
    import wandb

    made = wandb.Artifact(item.name, type=item.type, metadata={**item.facts, **item.about})
    if item.facts:
        with made.new_file(f"{item.kind}.json", mode="w") as file:
            file.write(item.text)
    for name, path in sorted(item.files.items()):
        if upload or item.light:
            made.add_file(str(path.resolve()), name=name, policy="immutable", skip_cache=True)
        else:
            made.add_reference(path.resolve().as_uri(), name=name)
    return made
