"""The leak report counts what two splits share, and says where the corpus does not."""

from __future__ import annotations

from slt.evaluation.leaks import leak_report

TRAIN = {"text": ["Hola.", "¿Qué ves?"], "signer": ["ana", "eva"], "film": ["1", "2"]}


def test_shared_sentences_signers_and_films_are_counted():
    texts = ["Hola. ", "Hola.", "qué ves", "Otra"]
    leaks = leak_report({"text": texts, "signer": ["ana", *["luz"] * 3], "film": list("3233")}, TRAIN, examples=2)
    assert (leaks["sentences"].shared_clips, leaks["sentences"].share) == (2, 0.5)
    assert leaks["sentences"].examples == ("Hola.",)
    assert leaks["sentences"].shared_values == 1
    assert leaks["sentences_as_words"].share == 0.75
    assert leaks["signers"].values == 2
    assert leaks["signers"].examples == ("ana",)
    assert leaks["signers"].share == 0.25
    assert leaks["films"].shared_clips == 1


def test_what_the_corpus_does_not_say_is_none_not_zero():
    leaks = leak_report(*[{"text": ["Hola."], "signer": [None], "film": [""]}] * 2, examples=1)
    assert (leaks["signers"], leaks["films"], leaks["sentences"].share) == (None, None, 1)


def test_clips_without_a_signer_are_left_out_of_the_count():
    leaks = leak_report({"text": ["a", "b"], "signer": ["ana", ""]}, TRAIN, examples=1)
    assert (leaks["signers"].clips, leaks["signers"].shared_clips) == (1, 1)


def test_marks_alone_are_compared_as_they_are():
    assert leak_report({"text": ["..."]}, {"text": ["?"]}, examples=1)["sentences_as_words"].share == 0
