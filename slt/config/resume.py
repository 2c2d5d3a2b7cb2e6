"""Finds the checkpoint that a run goes on from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slt.sweeps.status import read_status
from slt.training.checkpoint import find_checkpoint, load_checkpoint

log = logging.getLogger(__name__)


def find_resume(
    resume: str | None, *, run: Path, runs: Path, max_steps: int, same: Callable[[dict[str, Any]], bool]
) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint named by `resume`, read.

    Args:
        resume: None, `auto`, a run folder, or a `last.pt`.
        run: this run's own folder. `auto` looks here first, so that a job that is queued again with a fixed
            `hydra.run.dir` goes on where it was, be it in the examination after its last step.
        runs: folder of all training runs, `<runs>/<date>/<time>`; `auto` takes the newest unfinished one below it.
        max_steps: a checkpoint that has come this far is finished, unless its run did not end well after it.
        same: whether a checkpoint is of the same training as this run.

    Returns:
        The path and its content, or None to start afresh.

    Raises:
        FileNotFoundError, ValueError: `resume` names something that is not there or cannot be read.
    """
    if resume is None:
        return None
    if resume != "auto":
        path = find_checkpoint(Path(resume), "last.pt")
        return path, load_checkpoint(path)
    own = run / "checkpoints" / "last.pt"
    found = sorted(runs.glob("*/*/checkpoints/last.pt"), reverse=True)
    for path in [own, *(path for path in found if path != own)]:
        if not path.is_file():
            continue
        payload = load_checkpoint(path)
        if same(payload) and (path == own or _unfinished(path.parent.parent, payload["step"] < max_steps)):
            return path, payload
    log.info("resume=auto: no unfinished run of this configuration under %s; starting afresh", runs)
    return None


def _unfinished(run: Path, short: bool) -> bool:
    """Whether somebody must go on with a run: none that is at work just now, and one that was cut short at any step."""
    status = read_status(run)
    state = None if status is None else status.state
    return state != "running" and (short or state in ("failed", "stopped", "killed"))
