"""How good one sentence is, as a number to train towards: a mixture of sentence-level BLEU, chrF and ROUGE-L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from slt.evaluation.metrics import UnicodeWords
from slt.evaluation.settings import Conventions


class Reward:
    """Sentences -> rewards in [0, 1]; the weights of the three scores are brought to a sum of one.

    BLEU is of as many orders as a sentence has (sacreBLEU's `effective_order`), all are of the texts as the
    conventions of the corpus prepare them.
    """

    def __init__(self, *, bleu: float, chrf: float, rouge: float, scoring: Mapping[str, Any] | None) -> None:
        weights = {"bleu": bleu, "chrf": chrf, "rouge": rouge}
        if min(weights.values()) < 0 or not sum(weights.values()):
            raise ValueError(f"objective.reward: weights of 0 or more, one of them above, expected, came {weights}")
        self.conventions = Conventions.of(scoring)
        case = self.conventions.lowercase
        scores = {
            "bleu": BLEU(tokenize=self.conventions.tokenize, lowercase=case, effective_order=True).sentence_score,
            "chrf": CHRF(lowercase=case).sentence_score,
        }
        self.scores = {scores[name]: weight for name, weight in weights.items() if name in scores and weight}
        self.rouge = rouge and RougeScorer(["rougeL"], tokenizer=UnicodeWords())
        self.rouge_weight, self.total = rouge, sum(weights.values())

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float32]:
        """Return the rewards (N,) of N hypotheses by their references."""
        pairs = zip(*map(self.conventions.prepare, (hypotheses, references)), strict=True)
        return np.array([self._one(mine, theirs) for mine, theirs in pairs], np.float32)

    def _one(self, hypothesis: str, reference: str) -> float:
        found = sum(weight * score(hypothesis, [reference]).score / 100 for score, weight in self.scores.items())
        if self.rouge:
            found += self.rouge_weight * self.rouge.score(reference, hypothesis)["rougeL"].fmeasure
        return found / self.total
