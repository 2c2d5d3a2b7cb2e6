"""One translation beside its reference, and the two plain files that keep all of them and their scores."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slt.data.layout import atomic
from slt.metrics import Score, sentence_chrf

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Prediction:
    """A clip's translation: `score` is the sentence chrF2, `nbest` the (sentence, log probability) of the beam."""

    id: str
    reference: str
    hypothesis: str
    score: float
    nbest: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def of(cls, id: str, reference: str, nbest: Sequence[tuple[str, float]]) -> Prediction:
        """From the beam's sentences, best first.

        Raises:
            ValueError: an empty beam.
        """
        if not nbest:
            raise ValueError(f"prediction of {id}: expected at least one hypothesis, got none")
        hypothesis = nbest[0][0]
        return cls(id, reference, hypothesis, sentence_chrf(hypothesis, reference), list(nbest))


def write_predictions(path: Path | str, predictions: Sequence[Prediction]) -> None:
    r"""Writes predictions.tsv: id, reference, hypothesis, chrf, one clip a line, in the order given.

    Tabs, line ends and backslashes inside a text are written `\t`, `\n`, `\r`, `\\`, and nothing is quoted:
    a line is a clip for every tool.
    """
    lines = ["id\treference\thypothesis\tchrf"]
    for p in predictions:
        texts = (text.translate(ESCAPES) for text in (p.id, p.reference, p.hypothesis))
        lines.append("\t".join((*texts, f"{p.score:.2f}")))
    with atomic(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_predictions(path: Path | str) -> list[Prediction]:
    """Reads what `write_predictions` wrote.

    Raises:
        ValueError: another header, or a line without four fields.
    """
    with Path(path).open(encoding="utf-8", newline="\n") as file:
        header, *rows = csv.reader(io.StringIO(file.read()), delimiter="\t", quoting=csv.QUOTE_NONE)
    if header != ["id", "reference", "hypothesis", "chrf"]:
        raise ValueError(f"{path}: expected the columns id, reference, hypothesis, chrf, got {', '.join(header)}")
    for line, row in enumerate(rows, start=2):
        if len(row) != 4:
            raise ValueError(f"{path}, line {line}: expected 4 fields between tabs, got {len(row)}")
    return [Prediction(_unescape(i), _unescape(r), _unescape(h), float(chrf)) for i, r, h, chrf in rows]


def _unescape(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(p.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for p in parts)


def write_scores(path: Path | str, scores: Mapping[str, Score], /, **beside: Any) -> None:
    """Writes scores.json: {"scores": name -> value, low, high, signature} and what stands beside them.

    Args:
        path: of the file.
        scores: from `slt.metrics.score`, in percent.
        beside: further entries by name; scores within are written as above, the rest must be plain values.

    Raises:
        ValueError: a number that JSON has no word for (NaN, infinity), a loss that broke.
    """
    content = {"scores": scores, **beside}
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise ValueError(f"{path}: expected finite numbers, got {content}") from error
    with atomic(path) as file:
        file.write((text + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Score):
        return asdict(value)
    if hasattr(value, "as_dict"):
        return value.as_dict()
    raise TypeError(f"scores.json: expected plain values, got {type(value).__name__}")
