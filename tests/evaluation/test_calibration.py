"""A confidence fitted on a split, and held against the truth on another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slt.evaluation.calibration import NOBODY, STILL, calibration
from slt.evaluation.confidence import fit_confidence
from slt.evaluation.prediction import Prediction
from slt.models.confidence import Confidence
from slt.models.search import Search

SEARCH = Search(num_beams=4, length_penalty=1.0, max_tokens=9)


def split(count: int, seed: int, *, shift: float = 0.0) -> list[Prediction]:
    """Predictions of which one signal tells how likely they are good, and another tells nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for place, told in enumerate(rng.normal(-1.0 + shift, 0.5, count)):
        good = rng.random() < 1 / (1 + np.exp(-4 * (told + 1)))
        told_all = {"log_prob": float(told), "pace": float(rng.normal(-2, 0.1)), "seen": 1.0}
        text = "el niño come pan" if good else "una casa"
        made.append(Prediction.of(f"{place:04}", "el niño come pan", [(text, -1.0)], signals=told_all))
    return made


def fitted(count: int = 300, **changes: Any) -> Confidence:
    beyond = [p for p in split(200, 9, shift=-3.0) if p.score < 60]
    return fit_confidence(split(count, 1), changes.pop("unseeing", beyond), SEARCH, **{"good_chrf": 60.0} | changes)


def held(confidence: Confidence, predictions: list[Prediction], **beside: Any) -> Any:
    def sure(each: list[Prediction]) -> list[Prediction]:
        return [Prediction(**vars(p) | {"confidence": confidence(p.signals, p.hypothesis)}) for p in each]

    unlike = {NOBODY: sure(split(20, 3, shift=-3.0)), STILL: []}
    options: dict[str, Any] = {"abstain": None, "bootstrap": 20, "seed": 1}
    return calibration(sure(predictions), unlike, confidence, **options | beside)


def test_what_tells_something_is_weighed_and_what_tells_nothing_hardly() -> None:
    weights = {name: each.weight for name, each in fitted().signals.items()}
    assert weights["log_prob"] > 1 > 0.5 > weights["pace"] >= 0
    assert weights["seen"] == 0  # the same everywhere


def test_confidence_is_closer_to_the_truth_than_the_bare_probability_on_another_split() -> None:
    found = held(fitted(), split(400, 2))
    assert found.confidence.ece.value < 8
    assert found.confidence.ece.value < found.probability.ece.value / 2
    assert found.confidence.ece.low < found.confidence.ece.high
    assert found.least_area < found.confidence.area.value < 100 - found.good.value


def test_the_surest_are_left_and_are_better_the_fewer_they_are() -> None:
    found = held(fitted(), split(400, 2), abstain=0.8)
    left = found.left
    assert [*left] == ["90 %", "70 %", "50 %", "abstain"]
    assert [round(left[f"{share} %"].coverage) for share in (90, 70, 50)] == [90, 70, 50]
    assert found.good.value < left["90 %"].good < left["70 %"].good < left["50 %"].good
    assert left["90 %"].scores["chrf"].value < left["50 %"].scores["chrf"].value
    assert left["abstain"].threshold == 0.8
    assert left["abstain"].good >= 80
    assert left["90 %"].refused == {NOBODY: 100.0}


def test_more_confidence_than_any_clip_has_leaves_none_and_says_so() -> None:
    none = held(fitted(), split(30, 2), abstain=1.0).left["abstain"]
    assert (none.coverage, none.good, none.scores, none.refused) == (0, 0, {}, {NOBODY: 100.0})


def test_examples_of_nobody_make_what_lies_beyond_the_split_unsure() -> None:
    def far(confidence: Confidence) -> float:
        return confidence({"log_prob": -2.5, "pace": -2.0, "seen": 0.0}, "una casa")

    nobody = [Prediction(**vars(p) | {"signals": p.signals | {"seen": 0.0}}) for p in split(99, 5, shift=-3.0)]
    easy = [p for p in split(300, 1) if p.score >= 60]  # all good: nothing in the split tells what an error is
    without, with_ = (fit_confidence(easy, each, SEARCH, good_chrf=60.0) for each in ([], nobody))
    assert far(without) > 0.9
    assert far(with_) < 0.1
    assert with_(easy[0].signals, "sí") > 0.9


@pytest.mark.parametrize(("good_chrf", "low", "high"), [(0.0, 0.8, 1.0), (101.0, 0.0, 0.2)])
def test_a_few_clips_that_are_all_good_or_all_bad_never_make_it_certain(
    good_chrf: float, low: float, high: float
) -> None:
    few = split(8, 1)
    made = fit_confidence(few, [], SEARCH, good_chrf=good_chrf)
    assert all(low < made(p.signals, p.hypothesis) < high for p in few)


def test_area_and_error_of_a_perfect_and_of_a_worthless_confidence_are_as_counted_by_hand() -> None:
    four = split(4, 1)
    texts = ["el niño come pan", "el niño come pan", "x", "x"]
    sure = [0.9, 0.7, 0.2, 0.1]
    made = [
        Prediction.of(p.id, p.reference, [(text, 0.0)], signals=p.signals, confidence=each)
        for p, text, each in zip(four, texts, sure, strict=True)
    ]
    found = calibration(made, {}, fitted(), abstain=None, bootstrap=0, seed=1)
    assert found.confidence.ece.value == pytest.approx(100 * (0.1 + 0.3 + 0.2 + 0.1) / 4)
    assert found.confidence.area.value == pytest.approx(100 * (0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert found.curve == [(25, 0), (50, 0), pytest.approx((75, 100 / 3)), (100, 50)]
    assert found.left["70 %"].good == pytest.approx(200 / 3)
