"""Rewards of sentences: those of the scores' own libraries, weighed."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu import sentence_bleu, sentence_chrf

from slt.evaluation.rewards import Reward

MINE, THEIRS = "Mañana el niño come pan.", "Mañana la niña no come pan."


def test_a_reward_is_the_weighed_mean_of_the_scores() -> None:
    made = Reward(bleu=1.0, chrf=3.0, rouge=0.0, scoring=None)
    bleu = sentence_bleu(MINE, [THEIRS], use_effective_order=True).score
    wanted = (bleu + 3 * sentence_chrf(MINE, [THEIRS]).score) / 400
    np.testing.assert_allclose(made([MINE, THEIRS], [THEIRS, THEIRS]), [wanted, 1.0], rtol=1e-6)


def test_rouge_sees_whole_words_of_spanish() -> None:
    assert Reward(bleu=0, chrf=0, rouge=2.0, scoring=None)(["mañana come"], ["Mañana no come"])[0] == pytest.approx(0.8)


def test_texts_are_compared_as_the_corpus_is_scored() -> None:
    assert Reward(bleu=1, chrf=0, rouge=0, scoring={"lowercase": True})(["EL SOL"], ["el sol"])[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="one of them above"):
        Reward(bleu=0, chrf=0, rouge=0, scoring=None)
