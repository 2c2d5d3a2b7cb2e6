"""The report is one file that needs no network and escapes what the corpus says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from slt.drawing.charts import draw_curves
from slt.evaluation.assessment import Assessment
from slt.evaluation.breakdown import Variety, by_group
from slt.evaluation.calibration import STILL, calibration
from slt.evaluation.floors import ConstantBaseline
from slt.evaluation.leaks import leak_report
from slt.evaluation.metrics import score
from slt.evaluation.prediction import Prediction
from slt.evaluation.rating import read_strips
from slt.evaluation.report import Shown, write_report
from slt.models.confidence import Confidence, Weighed

PREDICTIONS = [
    Prediction.of(f"clip_{i}", f"el <b>niño</b> {i} & más", [(f"el niño {i}", -0.5), ("la <i>niña</i>", -2.0)][: i + 1])
    for i in range(5)
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


def page(path, strips=None, curves=None, **changes) -> str:
    hypotheses, references = [p.hypothesis for p in PREDICTIONS], [p.reference for p in PREDICTIONS]
    scores = score(hypotheses, references, bootstrap=20, seed=0)
    column = {"text": references}
    found = Assessment(
        split="test", predictions=PREDICTIONS, scores=scores, loss=1.0, floor=ConstantBaseline("a", scores),
        neighbour=None, controls={"blanked": {"bleu": scores["bleu"]}},
        groups=by_group(PREDICTIONS, bootstrap=20, seed=0), variety=Variety.of(PREDICTIONS),
        leaks=leak_report(column, column, examples=1),
    )  # fmt: skip
    drawn = {p.id: np.full((40, 90, 3), 9, np.uint8) for p in PREDICTIONS} if strips is None else strips
    lines = {"train/loss": [(1, 3.0), (2, 2.0)], "val/loss": [(2, 2.5)], "val/bleu": []} if curves is None else curves
    shown = Shown(lines, "a: </pre><script>alert(1)</script>")
    write_report(path / "report.html", replace(found, **changes), drawn, shown, {"checkpoint": "run <1>"})
    return (path / "report.html").read_text("utf-8")


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_confidence_is_shown_beside_the_truth_and_with_what_is_left(tmp_path):
    signal = {"seen": Weighed(centre=0.0, scale=1.0, weight=1.0)}
    confidence = Confidence(good_chrf=50.0, num_beams=1, length_penalty=1.0, bias=0.0, signals=signal)
    sure = [replace(p, signals={"log_prob": -1.0}, confidence=n / 5) for n, p in enumerate(PREDICTIONS)]
    found = calibration(sure, {STILL: sure[:1]}, confidence, abstain=None, bootstrap=0, seed=0)
    text = page(tmp_path, calibration=found, predictions=sure)
    assert text.count('<svg role="img"') == 3
    assert 'aria-label="risk against coverage, ' in text
    assert "Refused: a still person, %" in text
    assert "confidence 0.80" in text
    assert "knows of its own errors" not in page(tmp_path)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []


def test_the_page_asks_for_nothing_from_outside(tmp_path):
    text = page(tmp_path)
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert "url(http" not in text
    assert "default-src 'none'" in text


def test_the_page_is_well_formed_and_its_ids_are_unique(tmp_path):
    text, parser = page(tmp_path), Balanced()
    parser.feed(text)
    assert parser.open == []
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_what_the_corpus_says_is_escaped(tmp_path):
    text = page(tmp_path)
    assert text.count("<script>") == 1
    assert "<b>" not in text
    assert "<i>niña" not in text
    assert "&lt;b&gt;niño&lt;/b&gt;" in text
    assert "run &lt;1&gt;" in text


def test_translations_stand_with_reference_score_and_filmstrip(tmp_path):
    text = page(tmp_path)
    assert text.count("<tbody data-score=") == 5
    assert text.count("data:image/webp;base64,") == 5
    assert text.count(' lang="es"') >= 10
    assert "1 more of the beam" in text
    assert "are embedded, to keep this file small" not in text


def test_the_page_says_when_filmstrips_are_capped(tmp_path):
    text = page(tmp_path, strips={p.id: np.full((40, 90, 3), 9, np.uint8) for p in PREDICTIONS[:2]})
    assert text.count("data:image/webp;base64,") == 2
    assert "Filmstrips of 2 of 5 clips" in text


def test_filmstrips_are_read_back_from_the_page_for_that_of_raters(tmp_path):
    page(tmp_path)
    found = read_strips(tmp_path / "report.html")
    assert [*found] == [p.id for p in sorted(PREDICTIONS, key=lambda p: (p.score, p.id))]
    assert {(each.width, each.height, each.source[:23]) for each in found.values()} == {
        (90, 40, "data:image/webp;base64,")
    }


def test_scores_stand_with_interval_signature_and_floors(tmp_path):
    text = page(tmp_path)
    for part in (
        "chrF++",
        "ROUGE-L",
        "tok:13a",
        ">constant sentence: a<",
        ">blanked<",
        "By length of the sentence",
        "Signer: the corpus does not say",
    ):
        assert part in text
    assert "Same signer" not in text


def test_a_report_without_extras_is_written(tmp_path):
    text = page(tmp_path, controls={}, groups={}, strips={}, curves={})
    assert "Curves" not in text
    assert "<svg" not in text


def test_curves_of_one_metric_share_a_chart():
    curves = {"train/loss": [(0, 1.0), (1, 0.5)], "val/loss": [(1, 0.7)], "val/bleu": [], "lr": [(0, 1e-3)]}
    charts = draw_curves(curves)
    assert list(charts) == ["loss", "lr"]
    assert 'aria-label="loss over steps: train 1 to 0.5; val 0.7 to 0.7"' in charts["loss"]
    assert "currentColor" in charts["loss"]
    assert charts == draw_curves(curves)
