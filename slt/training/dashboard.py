"""The wandb side of a run; an unreachable server never stops a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)


class Dashboard:
    """A wandb run, or nothing at all with `mode=disabled`.

    Args:
        folder: the run folder; wandb's files go under it.
        config: resolved configuration, plain values.
        job_type: train, eval or pretrain.
        mode: disabled, offline or online. Where online cannot be reached the run is kept offline, with a warning.
        project, entity, name, tags: as wandb has them.
        log_checkpoints: whether `checkpoints` uploads anything.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(
        self,
        folder: Path,
        config: Any,
        *,
        job_type: str,
        mode: Literal["disabled", "offline", "online"],
        project: str,
        entity: str | None,
        name: str | None,
        tags: Sequence[str],
        log_checkpoints: bool,
    ) -> None:
        self.log_checkpoints = log_checkpoints
        self.run: Any = None
        if mode == "disabled":
            return
        import wandb

        settings = {"dir": str(folder), "config": config, "project": project, "entity": entity, "name": name}
        settings |= {"tags": list(tags), "job_type": job_type}
        try:
            # At the end checkpoints may take a while to go; what has not gone by then stays on disk, for `wandb sync`.
            end = 600 if log_checkpoints else 60
            limits = wandb.Settings(init_timeout=20, finish_timeout=end, silent=True)
            self.run = wandb.init(mode=mode, settings=limits, **settings)
        except (wandb.errors.Error, OSError, TimeoutError) as error:
            if mode == "offline":
                raise OSError(f"wandb.mode=offline: cannot write under {folder} ({error})") from error
            log.warning("wandb cannot be reached (%s); the run is kept offline, `wandb sync` sends it later", error)
            self.run = wandb.init(mode="offline", settings=wandb.Settings(silent=True), **settings)
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        for metric in ("val/bleu", "val/chrf", "val/knn", "val/linear"):
            self.run.define_metric(metric, step_metric="step", summary="max")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one step."""
        self._tell(lambda run: run.log({"step": step, **metrics}))

    def translations(self, split: str, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """A table of translations; a filmstrip (H, W, 3) uint8 beside each clip that has one."""

        def send(run: Any) -> None:
            import wandb

            table = wandb.Table(columns=["id", "reference", "translation", "chrf", "filmstrip"])
            for p in predictions:
                picture = wandb.Image(pictures[p.id]) if p.id in pictures else None
                table.add_data(p.id, p.reference, p.hypothesis, p.score, picture)
            run.log({f"{split}/translations": table})

        self._tell(send)

    def picture(self, step: int, name: str, picture: Any) -> None:
        """A picture (H, W, 3) uint8 of one step."""

        def send(run: Any) -> None:
            import wandb

            run.log({"step": step, name: wandb.Image(picture)})

        self._tell(send)

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Final scores, named `split/name`."""
        self._tell(lambda run: run.summary.update(dict(metrics)))

    def checkpoints(self, paths: Sequence[Path]) -> None:
        """Uploads checkpoints as one artifact, when asked for."""

        def send(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model")
            for path in paths:
                artifact.add_file(str(path))
            run.log_artifact(artifact)

        if self.log_checkpoints:
            self._tell(send)

    def close(self) -> None:
        """Ends the wandb run."""
        self._tell(lambda run: run.finish())

    def _tell(self, act: Callable[[Any], object]) -> None:
        """Does something with the run; a server that goes away comes as almost any error, and stops nothing."""
        if self.run is None:
            return
        try:
            act(self.run)
        except Exception as error:
            kept = "the run goes on without it, `wandb sync` sends what was kept"
            log.warning("wandb failed (%s: %s); %s", type(error).__name__, error, kept)
            self.run = None
