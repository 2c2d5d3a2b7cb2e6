"""What the page says and draws, without a browser."""

from __future__ import annotations

import re
import string
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from slt.inference.films import Update
from slt.inference.onnx import Hypothesis
from slt.inference.page import html as page
from slt.inference.subtitles import Caption

EN = page.TEXTS["en"]


def caption(start: float, end: float, *texts: str) -> Caption:
    return Caption(start, end, tuple(Hypothesis(text, -0.1 * n, ()) for n, text in enumerate(texts, 1)))


def test_both_languages_say_the_same_things_with_the_same_fields():
    assert set(page.TEXTS) == set(page.LANGUAGES)
    fields = {
        language: {
            key: {field for _, field, _, _ in string.Formatter().parse(text) if field} for key, text in of.items()
        }
        for language, of in page.TEXTS.items()
    }
    assert fields["en"] == fields["es"]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("es-AR,es;q=0.9,en;q=0.8", "es"), ("fr,en;q=0.5,es;q=0.9", "es"), ("de", "en"), (None, "en"), ("es;q=x,*", "en")],
)
def test_the_language_is_the_browsers(accepted, language):
    assert page.language(accepted) == language


def test_runs_are_whole_and_in_order():
    marks = np.array([1, 1, 0, 2, 2, 2], np.uint8)
    assert page.runs(marks) == [(1, 0, 2), (0, 2, 3), (2, 3, 6)]
    assert page.runs(marks[:0]) == []


@pytest.mark.parametrize("duration", [0.3, 1.0, 7.1, 20.0, 119.0, 3600.0])
def test_the_axis_has_a_few_round_seconds(duration):
    ticks = page.ticks(duration)
    assert 2 <= len(ticks) <= 10
    assert ticks[0] == 0
    assert ticks[-1] <= duration
    assert duration - ticks[-1] < ticks[1]


def test_the_timeline_has_a_bar_for_each_stretch_where_it_was():
    seen = {"face": np.array([1, 1, 1, 0], np.uint8), "left_hand": np.array([2, 2, 0, 0], np.uint8)}
    drawn = page.timeline(seen, [caption(0.0, 0.4, "a")], 0.4, EN)
    svg = ElementTree.fromstring(re.search(r"(?s)<svg.*</svg>", drawn)[0])
    assert svg.get("aria-label") == "When each stream was seen: face 75%, left hand 50%; 0.4 s"
    bars = {row.get("data-stream"): [(bar.get("data-mark"), float(bar.get("x")), float(bar.get("width")))
                                     for bar in row.iter("rect") if bar.get("data-mark")]
            for row in svg.iter("g") if row.get("data-stream")}  # fmt: skip
    inner = page.WIDTH - page.LEFT - page.RIGHT
    assert bars["face"] == [("1", page.LEFT, 0.75 * inner), ("0", page.LEFT + 0.75 * inner, 0.25 * inner)]
    assert [mark for mark, _, _ in bars["left_hand"]] == ["2", "0"]
    # Not by colour alone: a full bar, a hatched half one and a thin line.
    heights = {bar.get("data-mark"): float(bar.get("height")) for bar in svg.iter("rect") if bar.get("data-mark")}
    assert heights["1"] > heights["2"] > heights["0"]
    assert all(EN[f"seen_{mark}"] in drawn for mark in (0, 1, 2))


def test_what_a_model_or_a_name_says_is_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    captions = [caption(0.0, 1.0, evil, evil)]
    update = Update("landmarks", 1.0, 2.0, ())
    for said in (
        page.part("message", evil), page.part("notice", evil), page.part("sentences", captions, EN),
        page.part("sentences", captions * 2, EN), page.part("nbest", captions * 2, EN),
        page.progress(update, EN, name=evil), page.part("live_sentences", captions, captions[0], EN),
        page.timeline({}, captions, 1.0, EN),
    ):  # fmt: skip
        assert "&lt;img" in said
        assert "<img" not in said


def test_several_sentences_come_with_their_times():
    said = page.part("sentences", [caption(0.0, 1.5, "uno"), caption(62.5, 64.0, "dos")], EN)
    assert re.findall(r"[\d:.]+ – [\d:.]+", said) == ["00:00.0 – 00:01.5", "01:02.5 – 01:04.0"]


def test_the_bar_goes_on_from_the_first_pass_to_the_second():
    def share(stage: str, seconds: float) -> float:
        said = page.progress(Update(stage, seconds, 10.0, ()), EN, name="a.mp4")
        return float(re.search(r'value="([\d.]+)"', said)[1])

    shares = [
        share("landmarks", 0),
        share("landmarks", 10),
        share("drawing", 0),
        share("drawing", 5),
        share("drawing", 10),
    ]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
