"""Baseline: the score of the single best training sentence used for every clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.helpers import extract_all_word_ngrams

from slt.evaluation.metrics import Score, bleu_metric, score
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.text import clean

ORDER = 4


@dataclass(frozen=True)
class ConstantBaseline:
    sentence: str
    scores: dict[str, Score]


def constant_floor(
    train: Sequence[str], references: Sequence[str], *, conventions: Conventions = AS_WRITTEN, **draws: Any
) -> ConstantBaseline:
    """Scores the best constant sentence of train, chosen among and on training sentences only, on another split."""
    sentence = best_constant(train, conventions)
    said = [sentence] * len(references)
    return ConstantBaseline(sentence, score(said, references, conventions=conventions, **draws))


def best_constant(train: Sequence[str], conventions: Conventions = AS_WRITTEN) -> str:
    """The training sentence with the highest corpus BLEU when it is said of every training clip.

    Exact over all candidates in linear time: a clipped match of an n-gram that the candidate holds c times is
    min(c, its count in a reference); summed over the references that is the number of references that hold it at
    least once, plus those that hold it at least twice, and so on up to c.
    """
    sentences = [text for text in map(clean, train) if text]
    if not sentences:
        raise ValueError("constant floor: expected training sentences, got none")
    metric = bleu_metric(conventions)

    def counted(text: str) -> tuple[list[tuple[tuple[str, ...], int]], int]:
        (prepared,) = conventions.prepare([text])
        grams, length = extract_all_word_ngrams(metric._preprocess_segment(prepared), 1, ORDER)
        return [(gram, k) for gram, count in grams.items() for k in range(1, count + 1)], length

    holding: Counter[tuple[tuple[str, ...], int]] = Counter()  # (n-gram, k) -> references that hold it k times or more
    reference_length = 0
    for grams, length in map(counted, sentences):
        reference_length += length
        holding.update(grams)

    def value(candidate: str) -> float:
        grams, length = counted(candidate)
        correct, total = [0] * ORDER, [len(sentences) * max(length - n, 0) for n in range(ORDER)]
        for gram, k in grams:
            correct[len(gram) - 1] += holding[gram, k]
        found = BLEU.compute_bleu(
            correct, total, len(sentences) * length, reference_length, smooth_method="exp", max_ngram_order=ORDER
        )
        return float(found.score)

    # Sorted, so that of two equally good sentences the same one is taken whatever the order of the corpus.
    return max(sorted(set(sentences)), key=value)
