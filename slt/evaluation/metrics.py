"""The last stage: hypotheses beside references -> corpus scores in percent, each with a signature and an interval.

N sentences, B resamples, C counts of a sentence. TER, CER and WER are errors: lower is better, and they may pass 100.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from slt.evaluation.resampling import Counted, Counts, Difference, Paired, Resamples, Score
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.text import clean

LOWER_IS_BETTER = frozenset({"ter", "cer", "wer", "gloss_wer", "gloss_wer_beam", "gloss_wer_lm"})


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    conventions: Conventions = AS_WRITTEN,
    only: Collection[str] | None = None,
    **draws: Any,
) -> dict[str, Score]:
    """Scores N hypotheses against one reference each; `only` names the scores to compute, None = all.

    All but the two named otherwise follow the `conventions` of the corpus, and their signatures say them.

    - `bleu`: sacreBLEU's, by default with its 13a tokenizer. `bleu1` to `bleu4`: cumulative up to that n, so that
      `bleu4` is `bleu`.
    - `bleu_13a`: where there are conventions, what `bleu` would be without: of the texts as written.
    - `bleu_intl`: the same with the tokenizer that parts `¿` and `¡` from their word, as 13a does not.
    - `chrf`: chrF2 (Popovic 2015); `chrf++`: with words and word pairs (Popovic 2017). `ter`: TERCOM's (Snover 2006).
    - `cer`, `wer`: all edits over the length of all references, in characters (blanks too) and in words as written
      (parted at blanks, marks glued on), after NFC.
    - `rouge_l`: F1 of the longest common subsequence of lower-cased Unicode words, averaged over sentences.

    The interval is the 2.5th to 97.5th percentile over `bootstrap` resamples of the sentences (Koehn 2004, section 3);
    two calls with one seed, N and signers see the same ones and may be compared pair by pair. Where `signers` are
    known, a resample draws signers and then clips of each one drawn (the two-stage bootstrap of Davison and Hinkley
    1997, section 3.8): clips of one person are not independent. The signature says which.
    """
    _check(hypotheses, references)
    drawn = Resamples(len(references), **draws)
    counted = _counted(list(hypotheses), list(references), conventions)
    return {name: drawn.score(count()) for name, count in counted.items() if only is None or name in only}


def averaged(values: Sequence[float], signature: str, **draws: Any) -> Score:
    """The mean of a score of each of N sentences that something else computed, on the resamples of `score`."""
    counts = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    return summed(counts, lambda total: total[0] / max(total[1], 1), signature, **draws)


def summed(counts: Counts, from_sum: Callable[[list[Any]], float], signature: str, **draws: Any) -> Score:
    """A score that follows from the sum of counts (N, C) of each of N sentences, on the resamples of `score`."""
    return Resamples(len(counts), **draws).score(Counted(counts, from_sum, signature))


def gloss_wer(recognised: Sequence[str], references: Sequence[str], **draws: Any) -> Score:
    """Word error rate of recognised glosses, on the resamples of `score`; clips without any do not count."""
    if len(recognised) != len(references) or not any(reference.split() for reference in references):
        raise ValueError(f"gloss WER: expected glosses of {len(recognised)} clips, got {len(references)} references")
    ours, theirs = _words(recognised), _words(references)
    counted = _edits("gloss", [mine if its else [] for mine, its in zip(ours, theirs, strict=True)], theirs)
    return Resamples(len(references), **draws).score(counted)


def bleu(hypotheses: Sequence[str], references: Sequence[str], conventions: Conventions = AS_WRITTEN) -> float:
    """Corpus BLEU, for validation during training."""
    return float(bleu_terms(hypotheses, references, conventions).score)


def bleu_terms(hypotheses: Sequence[str], references: Sequence[str], conventions: Conventions) -> BLEUScore:
    """Corpus BLEU with what it is made of: `precisions` of 1- to 4-grams in percent, `bp`, `sys_len`, `ref_len`."""
    _check(hypotheses, references)
    return bleu_metric(conventions).corpus_score(conventions.prepare(hypotheses), [conventions.prepare(references)])


def bleu_metric(conventions: Conventions) -> BLEU:
    """BLEU as sacreBLEU has it, of texts that are prepared."""
    # `force`: or it prints, at each corpus score, that sentences which end in " ." look tokenized.
    return BLEU(tokenize=conventions.tokenize, lowercase=conventions.lowercase, force=True)


def chrf(hypotheses: Sequence[str], references: Sequence[str], conventions: Conventions = AS_WRITTEN) -> float:
    """Corpus chrF2, for validation during training."""
    _check(hypotheses, references)
    return float(CHRF().corpus_score(conventions.prepare(hypotheses), [conventions.prepare(references)]).score)


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF2 of one sentence; BLEU says little about a single one."""
    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def paired(
    systems: Mapping[str, Sequence[Sequence[str]]],
    references: Sequence[str],
    *,
    conventions: Conventions = AS_WRITTEN,
    metric: str = "bleu",
    **draws: Any,
) -> Paired:
    """A score of `score` of several systems on one draw.

    `systems` is name -> hypotheses (N) of each of its runs; a score is the mean over these, in each resample too. What
    another seed of a run would change the tests do not say.
    """
    for hypotheses in (hypotheses for runs in systems.values() for hypotheses in runs):
        _check(hypotheses, references)
    drawn = Resamples(len(references), **draws)
    return Paired({
        name: np.mean(
            [drawn.values(_counted(list(each), list(references), conventions)[metric]()) for each in runs], axis=0
        )
        for name, runs in systems.items()
    })  # fmt: skip


def compare(
    systems: Mapping[str, Sequence[Sequence[str]]], references: Sequence[str], *, baseline: str, **how: Any
) -> dict[str, Difference]:
    """Each system's difference to the baseline by the paired bootstrap; `how` is what `paired` takes."""
    found = paired(systems, references, **how)
    return {name: found.difference(name, baseline) for name in systems if name != baseline}


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("scores: expected lists of sentences, got a single string; its letters would be scored")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"scores: expected one hypothesis a reference, got {len(hypotheses)} hypotheses "
            f"and {len(references)} references"
        )
    if len(references) == 0:
        raise ValueError("scores: expected sentences, got none; is the split empty?")
    empty = [i for i, reference in enumerate(references) if not reference.strip()]
    if empty:
        raise ValueError(f"scores: expected references with text, reference {empty[0]} (from 0) is empty; leave it out")


def _counted(
    hypotheses: list[str], references: list[str], conventions: Conventions
) -> dict[str, Callable[[], Counted]]:
    written = hypotheses, references
    ours, theirs = pair = conventions.prepare(hypotheses), conventions.prepare(references)
    case, beside = conventions.lowercase, conventions.signature
    usual = cache(lambda: _sacre(bleu_metric(conventions), pair, beside))
    plain = {} if conventions == AS_WRITTEN else {"bleu_13a": lambda: _sacre(bleu_metric(AS_WRITTEN), written)}
    counted: dict[str, Callable[[], Counted]] = {
        "bleu": usual,
        **{f"bleu{n}": partial(lambda n: _up_to(n, usual()), n) for n in (1, 2, 3, 4)},
        **plain,
        "bleu_intl": lambda: _sacre(bleu_metric(Conventions(tokenize="intl")), written),
        "chrf": lambda: _sacre(CHRF(lowercase=case), pair, beside),
        "chrf++": lambda: _sacre(CHRF(lowercase=case, word_order=2), pair, beside),
        "ter": lambda: _sacre(TER(), pair, beside),
        "cer": lambda: _edits("char", _letters(ours, conventions), _letters(theirs, conventions), conventions),
        "wer": lambda: _edits("word", _words(ours), _words(theirs), conventions),
        "rouge_l": lambda: _rouge_l(ours, theirs, beside),
    }
    return counted


def _sacre(metric: BLEU | CHRF | TER, pair: tuple[list[str], list[str]], beside: str = "") -> Counted:
    """Counts of each sentence and the score of their sum, both sacreBLEU's own, as its bootstrap does."""
    hypotheses, references = pair
    counts = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)
    # Recomputed from sums, a resample costs some microseconds: the n-grams are counted once.
    return Counted(
        counts, lambda total: float(metric._compute_score_from_stats(total).score), f"{metric.get_signature()}{beside}"
    )


def _up_to(n: int, four: Counted) -> Counted:
    """BLEU-n out of BLEU-4's counts: lengths of hypothesis and reference, 4 matches, 4 totals."""

    def from_sum(total: list[Any]) -> float:
        found = BLEU.compute_bleu(
            total[2 : 2 + n], total[6 : 6 + n], int(total[0]), int(total[1]), smooth_method="exp", max_ngram_order=n
        )
        return float(found.score)

    # The order is ours to add: sacreBLEU's signature does not tell BLEU-2 from BLEU-4.
    return Counted(four.counts, from_sum, f"{four.signature}|order:{n}")


def _words(texts: Sequence[str]) -> list[list[str]]:
    return [clean(text).split() for text in texts]


def _letters(texts: Sequence[str], conventions: Conventions) -> list[str]:
    return [clean(text).replace(" ", "") if conventions.characters else clean(text) for text in texts]


def _edits(
    unit: str,
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    conventions: Conventions = AS_WRITTEN,
) -> Counted:
    counts = [
        (Levenshtein.distance(hypothesis, reference), len(reference))
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    case = "lc" if conventions.lowercase else "mixed"
    signature = f"nrefs:1|case:{case}|unit:{unit}|norm:nfc|avg:corpus|rapidfuzz:{version('rapidfuzz')}"
    return Counted(
        np.array(counts, dtype=np.float64),
        lambda total: 100 * total[0] / max(total[1], 1),  # a resample may hold no clip that has glosses
        signature + conventions.signature,
    )


class UnicodeWords:
    """Lower-cased words of any alphabet: `rouge_score`'s own tokenizer cuts `mañana` into `ma` and `ana`."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", clean(text).lower())


def _rouge_l(hypotheses: list[str], references: list[str], beside: str) -> Counted:
    scorer = RougeScorer(["rougeL"], tokenizer=UnicodeWords())
    counts = [
        (scorer.score(reference, hypothesis)["rougeL"].fmeasure, 1.0)
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    signature = f"nrefs:1|case:lc|tok:unicode-words|f:1|avg:sentence|rouge_score:{version('rouge_score')}{beside}"
    return Counted(np.array(counts), lambda total: 100 * total[0] / total[1], signature)
