"""`board=tensorboard`: event files in the run folder, which `tensorboard --logdir outputs` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt.files import needing
from slt.settings import not_negative
from slt.training.dashboard import COLUMNS, Dashboard, Telling
from slt.training.lineage import Item

FOLDER = "tensorboard"  # below the run folder


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Its keys, as conf/board/tensorboard.yaml explains."""

    log_tables: bool
    examples: int = not_negative()
    silent = False

    def fault(self) -> str | None:
        with needing("board=tensorboard", extra="tensorboard"):
            import tensorboard  # noqa: F401
        return None

    def open(self, folder: Path, config: dict[str, Any], *, job_type: str) -> Dashboard:
        return TensorBoardRun(self, folder, {**config, "job_type": job_type})


class TensorBoardRun(Telling):
    """Event files: scalars, pictures, tables as text, lineage as text, and the configuration beside the last scores."""

    board, kept = "tensorboard", "the run goes on without it; what was written stays"

    def __init__(self, board: TensorBoard, folder: Path, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.log_tables, self.config = board.log_tables, dict(_leaves(config, ""))
        self.examples = board.examples if board.log_tables else 0
        self.last, self.scores = 0, dict[str, float]()
        # A job that is queued again in its folder tells its curve anew: what stands there is void.
        super().__init__(SummaryWriter(str(folder / FOLDER), purge_step=0))
        self.tell(lambda run: run.add_text("config", _table(("key", "value"), self.config.items())))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged |= {*metrics}
        self._scalars(step, metrics)

    def _scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        def send(run: Any) -> None:
            for name, value in metrics.items():
                run.add_scalar(name, value, step)

        self.last, self.scores = step, self.scores | dict(metrics)
        self.tell(send)

    def translations(self, name: str, step: int, predictions: Sequence[Any], pictures: Mapping[str, Any]) -> None:
        """A table as text at each step, and a picture a clip."""

        def send(run: Any) -> None:
            rows = [(step, p.id, p.reference, p.hypothesis, f"{p.score:.2f}") for p in predictions]
            run.add_text(name, _table(COLUMNS[:-1], rows), step)
            for key, picture in pictures.items():
                run.add_image(f"{name}/{key}", picture, step, dataformats="HWC")

        if self.log_tables:
            self.tell(send)

    def picture(self, step: int, name: str, picture: Any) -> None:
        self.tell(lambda run: run.add_image(name, picture, step, dataformats="HWC"))

    def summary(self, metrics: Mapping[str, float]) -> None:
        """As scalars of the last step."""
        self._scalars(self.last, self.finals(metrics))

    def uses(self, item: Item) -> None:
        self._lineage("uses", item)

    def makes(self, item: Item, *aliases: str) -> None:
        self._lineage("makes", item, *aliases)

    def _lineage(self, verb: str, item: Item, *aliases: str) -> None:
        def send(run: Any) -> None:
            about = {"name": item.name, "aliases": ", ".join(aliases), **item.facts, **item.about}
            files = {name: path.resolve() for name, path in sorted(item.files.items())}
            run.add_text("/".join(("lineage", verb, item.kind, *aliases)), _table(("", ""), (about | files).items()))

        self.tell(send, lost=f"the lineage lacks a {item.kind}")

    def close(self) -> None:
        def end(run: Any) -> None:
            from torch.utils.tensorboard.summary import hparams

            shown = {name: value for name, value in self.scores.items() if not name.startswith("train/")}
            for part in hparams(self.config, shown):
                run.file_writer.add_summary(part)
            run.close()

        self.tell(end)
        self.run = None


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted key -> value of a configuration; what is no number, truth or text as text."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}")
    else:
        yield path[1:], node if isinstance(node, bool | int | float | str) else str(node)


def _table(columns: Sequence[str], rows: Any) -> str:
    """A Markdown table; a cell's own bars and line ends would part it, and its `<` is no tag."""
    signs = str.maketrans({"|": "&#124;", "\n": " ", "\r": " ", "<": "&lt;", "&": "&amp;"})
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).translate(signs) for cell in row) + " |" for row in lines)
