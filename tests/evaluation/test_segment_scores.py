"""Segments beside the true ones, and which caption belongs to which sentence."""

from __future__ import annotations

import pytest

from slt.evaluation.segments import paired, score_segments

TRUE = [(0.0, 2.0), (3.0, 5.0), (6.0, 10.0)]


@pytest.mark.parametrize(
    ("found", "f1", "iou"),
    [
        (TRUE, 100, 100),
        ([], 0, 0),
        ([(0.0, 5.0), (6.0, 10.0)], 100 * 2 / 5, 100 * (0.4 + 0.4 + 1) / 3),  # two sentences in one
        ([(0.0, 2.0), (3.0, 5.0), (6.0, 8.0), (8.0, 10.0)], 100 * 6 / 7, 100 * 2.5 / 3),  # one in two halves
        ([(1.1, 3.1), (3.0, 4.2)], 100 * 2 / 5, 100 * (0.9 / 3.1 + 0.6) / 3),
    ],
    ids=["the same", "none", "two in one", "one in two", "shifted"],
)
def test_f1_counts_segments_that_share_half_and_iou_is_the_mean_of_the_best(found, f1, iou):
    scores = score_segments([(found, TRUE)])
    assert (scores.f1, scores.iou) == (pytest.approx(f1), pytest.approx(iou))
    assert (scores.found, scores.true) == (len(found), 3)


def test_films_are_scored_together_and_one_without_sentences_is_refused():
    assert score_segments([(TRUE, TRUE), ([], TRUE)]).recall == pytest.approx(50)
    with pytest.raises(ValueError, match="no true segment"):
        score_segments([(TRUE, [])])


def test_a_caption_belongs_to_the_sentence_it_shares_most_time_with_or_that_is_nearest():
    true = [(*span, "x") for span in TRUE]
    found = [(0.0, 1.0, "a"), (1.0, 3.5, "b"), (4.0, 9.0, "c"), (20.0, 21.0, "d")]
    assert paired(found, true) == ["a b", "", "c d"]
    assert paired([], true) == ["", "", ""]
