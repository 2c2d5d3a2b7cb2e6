"""Signed order, Spanish, and how much of a sentence each stream alone can tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import sacrebleu
from minimal_pairs import form_without

from slt.synthetic.grammar import (
    GRAMMARS,
    Clause,
    Meaning,
    Phrase,
    sentences,
    signed,
    transcribe,
    translate,
)
from slt.synthetic.lexicon import lexicon
from slt.synthetic.phonology import Sign

SIGNS = {sign.gloss: sign for sign in lexicon("hard")}


def draw(size: str, count: int, seed: int = 0) -> list[Meaning]:
    return sentences(lexicon(size), GRAMMARS[size], np.random.default_rng(seed), count)


def meaning(mood: str, *, negated: bool, asking: str = "") -> Meaning:
    topic = None if asking == "qué" else Phrase(SIGNS["TAZA"], None, SIGNS["ROJO"], intense=True)
    clause = Clause(
        Phrase(SIGNS["NIÑA"], SIGNS["MUCHOS"]), topic, SIGNS["COMPRAR"], SIGNS["MERCADO"], None, None,
        SIGNS["QUÉ"] if asking else None, negated, intense=False,
    )  # fmt: skip
    return Meaning(mood, SIGNS["AYER"], clause, None, None)


def two_clauses() -> Meaning:
    flowers, cousin = Phrase(SIGNS["FLOR"], SIGNS["DOS"], SIGNS["CARO"]), Phrase(SIGNS["PRIMO"], owner=SIGNS["MI"])
    first = Clause(None, flowers, None, None, None, None, None, negated=True, intense=False)
    second = Clause(
        Phrase(SIGNS["YO"]), None, SIGNS["NADAR"], None, SIGNS["DESPACIO"], cousin, None, negated=False, intense=True
    )
    return Meaning("statement", SIGNS["AYER"], first, SIGNS["PERO"], second)


def glosses(value: Meaning) -> list[str]:
    return [one.sign.gloss for one in signed(value)]


def test_signs_run_time_place_subject_topic_verb() -> None:
    expected = ["AYER", "MERCADO", "NIÑA", "MUCHOS", "TAZA", "ROJO", "COMPRAR"]
    assert glosses(meaning("statement", negated=False)) == expected


def test_mood_negation_and_intensity_change_the_face_and_not_the_signs() -> None:
    plain, asked = meaning("statement", negated=False), meaning("question", negated=True)
    assert glosses(plain) == glosses(asked)
    assert {one.brows for one in signed(asked)[:-1]} == {"raised"}
    assert (signed(asked)[-1].mouth, signed(asked)[-1].brows) == ("down", "furrowed")
    assert [one.sign.gloss for one in signed(plain) if one.mouth == "puff"] == ["ROJO"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(meaning("statement", negated=False), "Ayer muchas niñas compraron una taza muy roja en el mercado."),
     (meaning("statement", negated=True), "Ayer muchas niñas no compraron la taza muy roja en el mercado."),
     (meaning("exclamation", negated=False), "¡Ayer muchas niñas compraron una taza muy roja en el mercado!"),
     (meaning("question", negated=True), "¿No compraron muchas niñas la taza muy roja en el mercado ayer?"),
     (meaning("question", negated=False, asking="qué"), "¿Qué compraron muchas niñas en el mercado ayer?"),
     (replace(meaning("statement", negated=False), time=SIGNS["MAÑANA"]),
      "Mañana muchas niñas comprarán una taza muy roja en el mercado."),
     (replace(meaning("statement", negated=False), time=None),
      "Muchas niñas compran una taza muy roja en el mercado."),
     (two_clauses(), "Ayer dos flores no eran caras, pero nadé mucho despacio con mi primo.")],
)  # fmt: skip
def test_translation(value: Meaning, expected: str) -> None:
    assert translate(value) == expected


@pytest.mark.parametrize("size", ["default", "hard"])
def test_drawn_sentences_differ_are_well_formed_and_not_too_long(size: str) -> None:
    drawn = draw(size, 500)
    texts, (low, high) = [translate(value) for value in drawn], GRAMMARS[size].signs
    assert len(set(texts)) == 500
    assert all(low <= len(signed(value)) <= high for value in drawn)
    words = "[A-ZÁÉÍÓÚ]?[a-záéíóúñ]*(,? [a-záéíóúñ]+)*"
    assert all(re.fullmatch(rf"¿{words}\?|¡{words}!|{words}\.", text) for text in texts)


def test_the_same_seed_draws_the_same_sentences() -> None:
    assert draw("default", 20, seed=3) == draw("default", 20, seed=3) != draw("default", 20, seed=4)


def test_more_sentences_than_the_grammar_gives_are_refused() -> None:
    few = [sign for sign in lexicon("default") if sign.gloss in ("AYER", "NIÑA", "TODOS", "NADAR", "PLAZA")]
    narrow = replace(GRAMMARS["default"], asking=0, described=0, pronoun=0, deed=1, intense=0, signs=(2, 5))
    with pytest.raises(ValueError, match="clips: 100 different sentences asked for"):
        sentences(few, narrow, np.random.default_rng(0), 100)


def test_glosses_say_what_the_face_adds() -> None:
    drawn = sentences(lexicon("default"), GRAMMARS["default"], np.random.default_rng(0), 300)
    asked = [meaning for meaning in drawn if meaning.mood == "question"]
    assert asked
    assert all(transcribe(meaning).endswith(" q") for meaning in asked)
    for meaning in drawn:
        marks = [gloss for gloss in transcribe(meaning).split() if not gloss.isupper()]
        assert ("neg" in marks) == meaning.first.negated
        assert ("excl" in marks) == (meaning.mood == "exclamation")


# ---------------------------------------------------------------- what a perfect decoder could know


def substitute(value: Any, choose: Callable[[Sign], Sign]) -> Any:
    """A meaning, or a part of one, with every sign replaced by `choose(sign)`."""
    if isinstance(value, Sign):
        return choose(value)
    if isinstance(value, (Meaning, Clause, Phrase)):
        parts = {field.name: substitute(getattr(value, field.name), choose) for field in fields(value)}
        return replace(value, **parts)
    return value


def faceless(value: Meaning) -> Meaning:
    """Take away what only the face says beside mouthing: mood, negation, intensity (an asking sign still asks)."""

    def clause(one: Clause) -> Clause:
        topic = replace(one.topic, intense=False) if one.topic else None
        return replace(one, negated=False, intense=False, topic=topic)

    mood = "question" if value.first.asking else "statement"
    return replace(value, mood=mood, first=clause(value.first), second=clause(value.second) if value.second else None)


def best_guess(size: str, train: list[Meaning], streams: tuple[str, ...]) -> Callable[[Sign], Sign]:
    """Resolve signs that look alike without some streams to the most frequent of them, the word class being known."""
    count = Counter(one.sign for value in train for one in signed(value))
    best: dict[tuple[str, ...], Sign] = {}
    for sign in lexicon(size):
        key = (sign.kind, *form_without(sign, *streams))
        best[key] = max(best.get(key, sign), sign, key=count.__getitem__)
    return lambda sign: best[(sign.kind, *form_without(sign, *streams))]


@pytest.mark.parametrize("size", ["default", "hard"])
@pytest.mark.parametrize(
    ("streams", "limit"),
    [(("hands",), 40), (("pose",), 40), (("face",), 70), (("hands", "pose"), 20), (("hands", "face"), 20),
     (("pose", "face"), 20)],
)  # fmt: skip
def test_no_stream_can_be_spared_even_by_a_perfect_decoder(size: str, streams: tuple[str, ...], limit: float) -> None:
    drawn = draw(size, 1200)
    train, test = drawn[:1000], drawn[1000:]
    choose = best_guess(size, train, streams)
    guesses = [substitute(value, choose) for value in test]
    if "face" in streams:
        guesses = [faceless(value) for value in guesses]
    references = [translate(value) for value in test]
    assert sacrebleu.corpus_bleu(references, [references]).score == pytest.approx(100)
    assert sacrebleu.corpus_bleu([translate(value) for value in guesses], [references]).score < limit


def test_no_constant_sentence_scores_five() -> None:
    drawn = draw("default", 1200)
    references = [translate(value) for value in drawn[1000:]]
    constants = [translate(value) for value in drawn[:1000:20]]
    assert max(sacrebleu.corpus_bleu([text] * 200, [references]).score for text in constants) < 5
