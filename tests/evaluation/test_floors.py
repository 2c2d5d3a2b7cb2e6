"""The constant floor is the best of train, chosen on train alone."""

from __future__ import annotations

import random

import pytest

from slt.evaluation.floors import best_constant, constant_floor
from slt.evaluation.metrics import bleu
from slt.evaluation.settings import Conventions


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = ["el", "la", "niño", "casa", "no", "ve", "¿qué", "ve?", "ayer", "el"]
    return [" ".join(draw.choices(words, k=draw.randint(1, 9))) for _ in range(count)]


def test_the_counted_choice_is_the_one_sacrebleu_would_make():
    for seed in range(3):
        train = sentences(40, seed)
        best = max(bleu([candidate] * 40, train) for candidate in set(train))
        assert bleu([best_constant(train)] * 40, train) == pytest.approx(best, abs=1e-9)


def test_the_choice_and_its_score_follow_the_conventions():
    train = ["Una casa .", "una casa", "una CASA", "el sol . sale . hoy .", "otra cosa"]
    for rules in (Conventions(lowercase=True, final_stop="strip"), Conventions(tokenize="char", characters=True)):
        best = max(bleu([candidate] * 5, train, rules) for candidate in train)
        assert bleu([best_constant(train, rules)] * 5, train, rules) == pytest.approx(best, abs=1e-9)
        floor = constant_floor(train, ["UNA CASA"], conventions=rules, bootstrap=0, seed=0)
        assert floor.scores["bleu"].value == pytest.approx(bleu([floor.sentence], ["UNA CASA"], rules))


def test_test_sentences_have_no_say_in_the_choice():
    train = ["el niño come pan", "el niño come", "la casa"]
    floors = [constant_floor(train, test, bootstrap=0, seed=0) for test in (["la casa"], ["el niño come pan"])]
    assert floors[0].sentence == floors[1].sentence == best_constant(train)
    assert floors[0].scores["bleu"].value < 1


def test_the_order_of_the_corpus_does_not_matter():
    train = sentences(60, 0)
    assert best_constant(train) == best_constant(train[::-1])


def test_no_training_sentences_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        best_constant([" "])
