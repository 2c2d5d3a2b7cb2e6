"""One translation beside its reference, and the two plain files that keep all of them and their scores."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from slt.evaluation.metrics import Score, sentence_chrf
from slt.files import atomic

T = TypeVar("T")

COLUMNS = ["id", "reference", "hypothesis", "chrf", "signer", "confidence"]
NEEDED = COLUMNS[:4]  # tables of before have not all of the others
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Prediction:
    """A clip's translation; signer and gloss are empty where the corpus does not say."""

    id: str
    reference: str
    hypothesis: str
    score: float  # sentence chrF2
    nbest: list[tuple[str, float]] = field(default_factory=list)  # (sentence, log probability) of the beam
    signer: str = ""
    corpus: str = ""  # of a mixture of corpora
    gloss: str = ""
    recognised: Mapping[str, str] = field(default_factory=dict)  # name of their score, `gloss_wer` -> glosses
    seen: float = 1.0  # share of the frames in which its streams were seen, the mean over streams
    signals: Mapping[str, float] = field(default_factory=dict)  # what its search tells of it (slt.models.confidence)
    confidence: float | None = None  # the probability that it is good; None where the model cannot say

    @classmethod
    def of(cls, id: str, reference: str, nbest: Sequence[tuple[str, float]], **beside: Any) -> Prediction:
        """From the beam's sentences, best first, and further attributes."""
        if not nbest:
            raise ValueError(f"prediction of {id}: expected at least one hypothesis, got none")
        hypothesis = nbest[0][0]
        return cls(id, reference, hypothesis, sentence_chrf(hypothesis, reference), list(nbest), **beside)


def spread(things: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, evenly spread from the first to the last."""
    return [things[int(place)] for place in np.linspace(0, len(things) - 1, min(count, len(things)))]


def write_predictions(path: Path | str, predictions: Sequence[Prediction]) -> None:
    r"""Writes predictions.tsv, a line a clip: id, reference, hypothesis, chrf, signer, confidence.

    What is not known of a clip, its signer or how sure its sentence is, is left empty. Tabs, line ends and backslashes
    inside a text are written `\t`, `\n`, `\r`, `\\`, and nothing is quoted.
    """
    rows = [COLUMNS]
    for p in predictions:
        sure = "" if p.confidence is None else f"{p.confidence:.4f}"
        rows.append([p.id, p.reference, p.hypothesis, f"{p.score:.2f}", p.signer, sure])
    lines = ("\t".join(cell.translate(ESCAPES) for cell in row) + "\n" for row in rows)
    with atomic(path) as file:
        file.write("".join(lines).encode())


def read_predictions(path: Path | str) -> list[Prediction]:
    with Path(path).open(encoding="utf-8", newline="\n") as file:
        header, *rows = csv.reader(io.StringIO(file.read()), delimiter="\t", quoting=csv.QUOTE_NONE)
    if header[: len(NEEDED)] != NEEDED or not set(header) <= set(COLUMNS):
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)} (or the first four), got {', '.join(header)}"
        )
    found = []
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: expected {len(header)} fields between tabs, got {len(row)}")
        found.append(_prediction(dict(zip(header, map(_unescape, row), strict=True)), f"{path}, line {line}"))
    return found


def _prediction(cells: Mapping[str, str], where: str) -> Prediction:
    try:
        score, sure = float(cells["chrf"]), float(cells["confidence"]) if cells.get("confidence") else None
    except ValueError as error:
        raise ValueError(f"{where}: a number expected as chrf and as confidence ({error})") from error
    beside: dict[str, Any] = {"signer": cells.get("signer", ""), "confidence": sure}
    return Prediction(cells["id"], cells["reference"], cells["hypothesis"], score, **beside)


def _unescape(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(p.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for p in parts)


def write_scores(path: Path | str, scores: Mapping[str, Score], /, **beside: Any) -> None:
    """Writes scores.json: {"scores": name -> value, low, high, signature} and other values or dataclasses."""
    content = {"scores": scores, **beside}
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=asdict)
    except ValueError as error:
        raise ValueError(f"{path}: expected finite numbers, got {content}") from error
    with atomic(path) as file:
        file.write((text + "\n").encode())


def headline(content: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of scores.json that a table, a board and a sweep show, by name.

    - `NAME` of `scores`, and `loss`; `bleu_constant` and `bleu_neighbour` of the floors.
    - `bleu_without_face`, `bleu_without_all_streams`, `bleu_shuffled`, `bleu_frozen` of the controls.
    - `bleu_worst_signer`, `bleu_worst_length`, `bleu_worst_seen`: of the worst group.
    - `sentences`: different translations; `most_frequent`: clips, in percent, with the most frequent one.
    """
    found = {name: float(value["value"]) for name, value in content.get("scores", {}).items()}
    plain = {**content, **content.get("variety", {})}
    found |= {name: float(plain[name]) for name in ("loss", "sentences", "most_frequent") if name in plain}
    blanked = {f"without {name}": each for name, each in content.get("blanked", {}).items()}  # all controls of before
    beside = {name.replace(" ", "_"): each for name, each in (blanked | content.get("controls", {})).items()}
    for name, key in (("constant", "floor"), ("neighbour", "neighbour")):
        beside |= {name: content[key]["scores"]} if content.get(key) else {}
    for kind, name in content.get("worst", {}).items():
        beside[f"worst_{kind}"] = content["groups"][kind][name]["scores"]
    return found | {f"bleu_{name}": float(each["bleu"]["value"]) for name, each in beside.items()}
