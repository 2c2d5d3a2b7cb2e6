"""`board=trackio`: a run in trackio's own store on this machine, without an account; `trackio show` opens its page."""

from __future__ import annotations

import atexit
import io
import logging
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt.files import needing
from slt.settings import not_negative
from slt.training.dashboard import COLUMNS, Dashboard, Telling
from slt.training.lineage import Item

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrackioBoard:
    """Its keys, as conf/board/trackio.yaml explains."""

    project: str
    group: str | None
    name: str | None
    tags: list[str]
    log_tables: bool
    examples: int = not_negative()
    silent = False

    def fault(self) -> str | None:
        with needing("board=trackio", extra="trackio"):
            import trackio  # noqa: F401
        return None

    def open(self, folder: Path, config: dict[str, Any], *, job_type: str) -> Dashboard:
        return TrackioRun(self, {**config, "tags": self.tags, "job_type": job_type})


class TrackioRun(Telling):
    """A run of trackio, which prints what it does: that goes into the run's log."""

    board, kept = "trackio", "the run goes on without it"

    def __init__(self, board: TrackioBoard, config: dict[str, Any]) -> None:
        import trackio

        self.trackio, self.log_tables = trackio, board.log_tables
        self.examples = board.examples if board.log_tables else 0
        self.strips: dict[str, Any] = {}
        self.last = 0
        with _unheard():
            try:
                # `embed`: in a notebook it would start its server. A run before that failed is ended by this one.
                run = trackio.init(project=board.project, name=board.name, group=board.group, config=config,
                                   embed=False)  # fmt: skip
            except (OSError, sqlite3.Error) as error:
                store = trackio.utils.TRACKIO_DIR
                raise OSError(
                    f"board=trackio: cannot write to its store {store} ({error}); TRACKIO_DIR chooses another"
                ) from error
        super().__init__(run)
        atexit.register(self._end)  # before trackio's own, which would print
        log.info("board: trackio show --project %s", board.project)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged |= {*metrics}
        self.last = step
        self.tell(lambda run: run.log(dict(metrics), step=step))

    def translations(self, name: str, step: int, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """A table at each step, whose page has a slider over steps."""

        def send(run: Any) -> None:
            self.strips |= pictures
            # Each table saves its own copy: trackio's pictures belong to one step.
            strips = {p.id: self.trackio.Image(self.strips[p.id]) for p in predictions if p.id in self.strips}
            rows = [[step, p.id, p.reference, p.hypothesis, p.score, strips.get(p.id)] for p in predictions]
            run.log({name: self.trackio.Table(columns=[*COLUMNS], data=rows)}, step=step)

        if self.log_tables:
            self.tell(send)

    def picture(self, step: int, name: str, picture: Any) -> None:
        self.tell(lambda run: run.log({name: self.trackio.Image(picture)}, step=step))

    def summary(self, metrics: Mapping[str, float]) -> None:
        """As metrics of the last step: trackio has no summary of a run."""
        self.tell(lambda run: run.log(self.finals(metrics), step=self.last))

    def uses(self, item: Item) -> None:
        def send(run: Any) -> None:
            try:
                run.use_artifact(item.name)
            except ValueError:  # made elsewhere, or before there was a board: this run brings it in
                run.use_artifact(self._logged(run, item, ()))

        self.tell(send, lost=f"the lineage lacks a {item.kind}")

    def makes(self, item: Item, *aliases: str) -> None:
        self.tell(lambda run: self._logged(run, item, aliases), lost=f"the lineage lacks a {item.kind}")

    def _logged(self, run: Any, item: Item, aliases: Sequence[str]) -> Any:
        """An item as an artifact of trackio's: files stay where they lie, but for the light ones."""
        made = self.trackio.Artifact(item.name, type=item.type, metadata={**item.facts, **item.about})
        with tempfile.TemporaryDirectory() as folder:
            if item.facts:
                (Path(folder) / "facts").write_text(item.text, encoding="utf-8")
                made.add_file(Path(folder) / "facts", name=f"{item.kind}.json")
            for name, path in sorted(item.files.items()):
                if item.light:
                    made.add_file(path, name=name)
                else:
                    made.add_reference(path.resolve().as_uri(), name=name)
            return run.log_artifact(made, aliases=list(aliases))

    def close(self) -> None:
        self._end()
        atexit.unregister(self._end)

    def _end(self) -> None:
        """Waits until all is written; of a run that another one has followed, trackio has waited already."""

        def end(run: Any) -> None:
            if self.trackio.context_vars.current_run.get() is run:
                with _unheard():
                    self.trackio.finish()

        self.tell(end)
        self.run = None


class _unheard(redirect_stdout[io.StringIO]):
    """Within, what is printed goes into the log file and not onto the screen."""

    def __init__(self) -> None:
        self.said = io.StringIO()
        super().__init__(self.said)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for line in filter(None, self.said.getvalue().splitlines()):
            log.debug("trackio: %s", line)
