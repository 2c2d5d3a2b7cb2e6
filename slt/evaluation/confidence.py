"""At the end of training: what of a sentence's search is fitted to whether the sentence is good (N examples).

The event is a sentence score above a threshold, as Blatz et al. 2004 ("Confidence estimation for machine translation",
section 4) make it; theirs are of WER and NIST, ours of chrF2, which says more of a single sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slt.corpora.clips import Clips
from slt.evaluation.controls import Frozen
from slt.evaluation.prediction import Prediction
from slt.evaluation.translation import translate
from slt.models.confidence import PACE, Confidence, Weighed, standard
from slt.models.search import Search
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.streams.batch import Batching
from slt.training.batches import evaluation_batches
from slt.training.machine import Compute

Numbers = npt.NDArray[np.float64]

# Of 1, 10 and 30 on four models of the embedded corpus, fitted on one split and tried on another, the one of the lowest
# calibration error; 150 clips bear no less.
L2 = 10.0
# What clips of nobody and of a still person weigh beside those of the split, together: enough to know them (97.9 % of
# the still ones below 0.5 in place of 77.7 %), too little to move what is said of real ones.
CONTROLS = 0.1
STEPS = 3000


def learn_confidence(
    model: Model, clips: Clips, batching: Batching, compute: Compute, *, good_chrf: float
) -> Confidence:
    """Translates a split as it is, blank and frozen, and fits; several processes all come to the same."""
    tokenize = Tokenize(model.tokenizer, model.search.max_tokens)

    def run(shown: Any, label: str, drop: Collection[str] = ()) -> list[Prediction]:
        batches = evaluation_batches(shown, tokenize, batching, by_film=model.translator.reads_context)
        return translate(model, batches, model.search, compute, drop=drop, progress=f"confidence, {label}")[0]

    unseeing = run(clips, "blank", [*clips.streams]) + run(Frozen(clips), "frozen")
    return fit_confidence(run(clips, clips.split), unseeing, model.search, good_chrf=good_chrf)


def fit_confidence(
    predictions: Sequence[Prediction], unseeing: Sequence[Prediction], search: Search, *, good_chrf: float
) -> Confidence:
    """Fits a logistic map of the signals on a split that was not trained on.

    Weights are 0 or more, so that far from all examples too a worse signal never makes a sentence surer; targets are
    those of Platt 1999 ("Probabilistic outputs for support vector machines", section 2.2), which stay off 0 and 1
    where all sentences are good, or none.

    Args:
        predictions: of the split, with their `signals`.
        unseeing: of the same clips as controls show them, blank and frozen: examples of what no sentence is in, after
            Hendrycks et al. 2019 ("Deep anomaly detection with outlier exposure").
        search: that found them.
        good_chrf: from this sentence chrF2 on, in percent, a sentence is good.
    """
    names = [*predictions[0].signals]
    told, count = _table(predictions, names), len(predictions)
    scales = np.maximum(told.std(0), 1e-3)  # of a signal that never changes, such as `ahead` of a greedy search
    weighed = [
        Weighed(centre=float(np.median(x) if name == PACE else x.mean()), scale=float(scale), weight=0.0)
        for name, x, scale in zip(names, told.T, scales, strict=True)
    ]
    good = np.array([p.score >= good_chrf for p in predictions])
    targets = np.where(good, (good.sum() + 1) / (good.sum() + 2), 1 / ((~good).sum() + 2))
    more = np.array([float(p.score >= good_chrf) for p in unseeing])
    everything = np.vstack([told, _table(unseeing, names)])
    x = np.stack([standard(n, column, w) for n, column, w in zip(names, everything.T, weighed, strict=True)], axis=1)
    counted = np.concatenate([np.ones(count), np.full(len(more), CONTROLS * count / max(len(more), 1))])
    *weights, bias = _logistic(x, np.concatenate([targets, more]), counted).tolist()
    return Confidence(
        good_chrf=float(good_chrf), num_beams=search.num_beams, length_penalty=float(search.length_penalty), bias=bias,
        signals={name: Weighed(centre=each.centre, scale=each.scale, weight=weight)
                 for name, each, weight in zip(names, weighed, weights, strict=True)},
    )  # fmt: skip


def _table(predictions: Sequence[Prediction], names: Sequence[str]) -> Numbers:
    return np.array([[p.signals[name] for name in names] for p in predictions]).reshape(-1, len(names))


def _logistic(x: Numbers, targets: Numbers, counted: Numbers) -> Any:
    """The weights, 0 or more, and at last the bias of a logistic regression of (N, signals) with an L2 penalty.

    Accelerated projected gradient (Beck and Teboulle 2009, FISTA): some lines in place of a dependency.
    """
    x = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.full(x.shape[1], L2)
    penalty[-1] = 0
    step = 1 / (0.25 * np.linalg.eigvalsh((x * counted[:, None]).T @ x)[-1] + L2)
    found, ahead, momentum = np.zeros(x.shape[1]), np.zeros(x.shape[1]), 1.0
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(x @ ahead, -50, 50)))
        new = ahead - step * (x.T @ (counted * (chance - targets)) + penalty * ahead)
        new[:-1] = np.maximum(new[:-1], 0)
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        found, ahead, momentum = new, new + (momentum - 1) / later * (new - found), later
    return found
