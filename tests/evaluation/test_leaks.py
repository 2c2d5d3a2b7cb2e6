"""The leak report counts what two splits share, and says where the corpus does not."""

from __future__ import annotations

import pytest

from slt.evaluation.leaks import leak_report

TRAIN = [{"text": "Hola.", "signer": "ana", "film": "1"}, {"text": "¿Qué ves?", "signer": "eva", "film": "2"}]


def test_shared_sentences_signers_and_films_are_counted():
    test = [
        {"text": "Hola. ", "signer": "ana", "film": "3"},
        {"text": "Hola.", "signer": "luz", "film": "2"},
        {"text": "qué ves", "signer": "luz", "film": "3"},
        {"text": "Otra", "signer": "luz", "film": "3"},
    ]
    leaks = leak_report(test, TRAIN, examples=2)
    assert (leaks.sentences.shared_clips, leaks.sentences.share) == (2, 0.5)
    assert leaks.sentences.examples == ("Hola.",)
    assert leaks.sentences.shared_values == 1
    assert leaks.sentences_as_words.share == 0.75
    assert leaks.signers.values == 2
    assert leaks.signers.examples == ("ana",)
    assert leaks.signers.share == 0.25
    assert leaks.films.shared_clips == 1


def test_what_the_corpus_does_not_say_is_none_not_zero():
    rows = [{"text": "Hola.", "signer": None, "film": ""}]
    leaks = leak_report(rows, rows, examples=1)
    assert leaks.signers is None
    assert leaks.films is None
    assert leaks.sentences.share == 1
    assert leaks.as_dict()["signers"] is None
    assert leaks.as_dict()["sentences"]["share"] == 1


def test_clips_without_a_signer_are_left_out_of_the_count():
    leaks = leak_report([{"text": "a", "signer": "ana"}, {"text": "b", "signer": ""}], TRAIN, examples=1)
    assert (leaks.signers.clips, leaks.signers.shared_clips) == (1, 1)


def test_marks_alone_are_compared_as_they_are():
    assert leak_report([{"text": "..."}], [{"text": "?"}], examples=1).sentences_as_words.share == 0


def test_an_empty_split_or_text_is_an_error():
    with pytest.raises(ValueError, match="0 of train"):
        leak_report(TRAIN, [], examples=1)
    with pytest.raises(ValueError, match="a text in every row"):
        leak_report([*TRAIN, {"text": ""}], TRAIN, examples=1)
