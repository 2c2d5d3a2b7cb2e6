"""What a search tells of its best sentence, and the probability that it becomes."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from slt.models.confidence import Confidence, Weighed, refuse_abstaining, signals
from slt.models.search import Found, Search

SEARCH = Search(num_beams=2, length_penalty=1.0, max_tokens=9)


def found(ids: str, *log_probs: float) -> Found:
    return Found(sum(log_probs) / len(log_probs), tuple(map(ord, ids)), log_probs)


def confidence(**weights: float) -> Confidence:
    signal = {name: Weighed(centre=-1.0, scale=0.5, weight=weight) for name, weight in weights.items()}
    return Confidence(good_chrf=60.0, num_beams=2, length_penalty=1.0, bias=0.5, signals=signal)


def test_signals_are_of_the_best_sentence_and_of_those_beside_it() -> None:
    told = signals([found("ab", -0.1, -0.5), found("ac", -0.6, -1.0)], seen=0.5, frames=20)
    assert told["log_prob"] == pytest.approx(-0.3)
    assert told["least"] == -0.5
    assert told["ahead"] == pytest.approx(-math.log(1 + math.exp(-1)))
    assert told["agreement"] == 0.5  # one of two tokens
    assert (told["pace"], told["seen"]) == (math.log(0.1), 0.5)


def test_far_likelier_shorter_sentence_beside_the_best_is_no_overflow() -> None:
    told = signals([found("a" * 900, *[-1.0] * 900), found("b", -1.1)], seen=1.0, frames=9)
    assert told["ahead"] == pytest.approx(-898.9)


def test_greedy_sentence_has_signals_too() -> None:
    told = signals([found("ab", -0.1, -0.5)], seen=1.0, frames=0)
    assert (told["ahead"], told["agreement"]) == (0.0, 1.0)


@pytest.mark.parametrize("text", ["aaaaa resporatorararararararara", "no sé no sé no sé no sé no sé "])
def test_a_sentence_that_goes_round_is_not_good(text: str) -> None:
    assert confidence()({}, text) == 0


def test_confidence_is_logistic_in_standardised_signals() -> None:
    sure = confidence(log_prob=2.0)({"log_prob": -0.5}, "sí")
    assert sure == pytest.approx(1 / (1 + math.exp(-(0.5 + 2.0 * 1.0))))
    assert confidence(log_prob=2.0)({"log_prob": -1e9}, "sí") > 0  # no overflow


def test_any_other_pace_than_the_usual_is_less_sure() -> None:
    each = [confidence(pace=1.0)({"pace": pace}, "sí") for pace in (-1.5, -1.0, -0.5)]
    assert each[0] == each[2] < each[1]


def test_plain_values_of_a_checkpoint_come_back_and_damaged_ones_do_not() -> None:
    made = confidence(seen=1.0)
    assert Confidence.of(asdict(made)) == made
    assert Confidence.of(None) is None
    with pytest.raises(ValueError, match="not as slt.train writes it"):
        Confidence.of({"bias": 1.0})
    values: Any = asdict(made)
    values["bias"] = math.nan
    with pytest.raises(ValueError, match="finite numbers"):
        Confidence.of(values)


def test_refusing_by_a_confidence_that_is_not_known_is_itself_refused() -> None:
    refuse_abstaining(None, None, SEARCH)
    refuse_abstaining(0.5, confidence(), SEARCH)
    with pytest.raises(ValueError, match="does not say how sure it is"):
        refuse_abstaining(0.5, None, SEARCH)
    with pytest.raises(ValueError, match="num_beams=2 .*came 1 and 1"):
        refuse_abstaining(0.5, confidence(), replace(SEARCH, num_beams=1))
