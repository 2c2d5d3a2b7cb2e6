"""The last page of a run: scores, floors, leaks, curves and translations in one HTML file that needs no network."""

from __future__ import annotations

import base64
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from PIL import Image

from slt.drawing.charts import Curve, draw_against, draw_curves
from slt.drawing.page import templates
from slt.evaluation.assessment import Assessment
from slt.evaluation.breakdown import KINDS, worst
from slt.evaluation.calibration import Calibration
from slt.evaluation.metrics import LOWER_IS_BETTER, Score
from slt.evaluation.prediction import Prediction
from slt.files import atomic
from slt.words import say

NAMES = {
    "bleu": "BLEU", "bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4",
    "bleu_13a": "BLEU 13a", "bleu_intl": "BLEU intl", "chrf": "chrF2", "chrf++": "chrF++", "ter": "TER", "cer": "CER",
    "wer": "WER", "rouge_l": "ROUGE-L", "gloss_wer": "gloss WER", "gloss_wer_beam": "gloss WER, beam",
    "gloss_wer_lm": "gloss WER, beam with n-gram",
}  # fmt: skip
Picture = npt.NDArray[np.uint8]

BESIDE = ("bleu", "chrf", "wer", "rouge_l", "gloss_wer")  # columns of the tables of floors, controls and groups


@dataclass(frozen=True)
class Shown:
    """What stands in a report beside the scores: the curves of the training, and its configuration as YAML."""

    curves: Mapping[str, Curve]  # `split/name` -> (step, value) pairs
    config_text: str


def write_report(
    path: Path, found: Assessment, strips: Mapping[str, Picture], shown: Shown, about: Mapping[str, Any]
) -> None:
    """Writes report.html, which opens with the worst clips; `strips` are filmstrips (H, W, 3) by clip id."""
    floors = {say("constant sentence") + f": {found.floor.sentence}": found.floor.scores}
    floors |= {} if found.neighbour is None else {str(found.neighbour): found.neighbour.scores}
    floors |= found.controls
    facts = {say("split"): found.split, say("clips"): str(len(found.predictions))}
    facts[say("loss")] = say("{loss} nats a token").format(loss=f"{found.loss:.4f}")
    facts |= {say("translations"): str(found.variety), **{key: str(value) for key, value in about.items()}}
    groups = [
        {
            "kind": say(KINDS[kind]),
            "worst": worst(each),
            "clips": {name: group.clips for name, group in each.items()},
            "table": _table({name: group.scores for name, group in each.items()}),
        }
        for kind, each in found.groups.items()
    ]
    page = templates("slt.evaluation").get_template("report.html")
    text = page.render(
        title=say("Translations of {split}").format(split=found.split),
        facts=facts,
        rows=[
            {
                "name": NAMES.get(name, name),
                "lower": name in LOWER_IS_BETTER,
                "score": score,
                "marks": [_percent(floor[name].value) for floor in floors.values() if name in floor],
                "at": _percent(score.value),
                "band": None
                if score.low is None or score.high is None
                else (_percent(score.low), _percent(score.high)),
            }
            for name, score in found.scores.items()
        ],
        beside=_table({say("the model"): found.scores, **floors}),
        groups=groups,
        leaks=found.leaks.items(),
        trust=None if found.calibration is None else _trust(found.calibration),
        clips=[_clip(p, strips.get(p.id)) for p in sorted(found.predictions, key=lambda p: (p.score, p.id))],
        strip_count=len(strips),
        charts=[Markup(svg) for svg in draw_curves(shown.curves).values()],
        config_text=shown.config_text,
        lang="es",
    )
    with atomic(path) as file:
        file.write(text.encode())


def _trust(found: Calibration) -> dict[str, Any]:
    """What the section on confidence shows."""
    ends = [(0.0, 0.0), (100.0, 100.0)]
    risks = {"by confidence": found.curve, "least possible": found.least_curve}
    reliable = {"a tenth of the clips each": [(100 * sure, good) for sure, good, _ in found.bins], "as said": ends}
    return {
        "event": found.event,
        "numbers": {"its confidence": found.confidence, "its bare probability": found.probability},
        "least": found.least_area,
        "good": found.good,
        "left": found.left,
        "table": _table({name: left.scores for name, left in found.left.items()}),
        "refused": [*next(iter(found.left.values())).refused],
        "charts": [
            Markup(svg)
            for svg in (
                draw_against("risk against coverage", risks, axis="clips shown, %", upright="not good among them, %",
                             dotted="least possible"),
                draw_against("said and true", reliable, axis="confidence, %", upright="good, %", dotted="as said"),
            )
        ],
    }  # fmt: skip


def _table(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, Any]:
    """Columns by name of a score, and rows of what was scored."""
    names = [name for name in BESIDE if any(name in each for each in scores.values())]
    rows = {row: [each.get(name) for name in names] for row, each in scores.items()}
    return {"columns": [NAMES[name] for name in names], "rows": rows}


def _percent(value: float) -> float:
    """Where a score stands on a bar from 0 to 100; an error rate above stands at its end."""
    return round(min(max(value, 0.0), 100.0), 2)


def _clip(prediction: Prediction, strip: Picture | None) -> dict[str, Any]:
    reference, hypothesis = _marked(prediction.reference, prediction.hypothesis)
    return {
        "id": prediction.id,
        "score": prediction.score,
        "confidence": prediction.confidence,
        "reference": reference,
        "hypothesis": hypothesis,
        "nbest": prediction.nbest[1:],
        "strip": None if strip is None else _data_uri(strip),
        "size": None if strip is None else strip.shape,
    }


def _marked(reference: str, hypothesis: str) -> tuple[Markup, Markup]:
    """Both sentences, escaped, with the words that the other lacks marked."""
    ours, theirs = hypothesis.split(), reference.split()
    left, right = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        left.append(_words(theirs[a:b], "" if kind == "equal" else "del"))
        right.append(_words(ours[c:d], "" if kind == "equal" else "ins"))
    return Markup(" ").join(filter(None, left)), Markup(" ").join(filter(None, right))


def _words(words: Sequence[str], tag: str) -> Markup:
    text = escape(" ".join(words))
    return Markup(f"<{tag}>{text}</{tag}>") if tag and words else text


def _data_uri(picture: Picture) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="WEBP", quality=72, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
