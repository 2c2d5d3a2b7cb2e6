"""Whether a model knows what it does not know: its confidence held against what its sentences are worth (N clips).

Risk is the share of sentences that are not good, coverage that of the clips whose sentences are shown, the surest first
(El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slt.evaluation.breakdown import SHOWN, scored
from slt.evaluation.metrics import Score, averaged, summed
from slt.evaluation.prediction import Prediction
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.models.confidence import Confidence

Numbers = npt.NDArray[np.float64]

BINS, STEPS = 10, 100
COVERAGES = (90, 70, 50)  # percent
NOBODY, STILL, FOREIGN = "nobody signing", "a still person", "another corpus"


@dataclass(frozen=True)
class Left:
    """What is left of a split where sentences below a threshold of confidence are refused; shares in percent."""

    threshold: float
    coverage: float  # of the clips
    good: float  # of what is left
    scores: dict[str, Score]  # of what is left
    refused: dict[str, float]  # `NOBODY`, `STILL`, `FOREIGN` -> of the clips that show it


@dataclass(frozen=True)
class Trust:
    """How much a number for each sentence can be trusted, in percent; lower is better."""

    # Expected calibration error: the distance of mean and truth in ten bins of as many clips each (Nixon et al. 2019,
    # "Measuring calibration in deep learning"), averaged over clips.
    ece: Score
    # Under risk against coverage, the mean risk (Geifman et al. 2019, "Bias-reduced uncertainty estimation").
    area: Score


@dataclass(frozen=True)
class Calibration:
    """The confidence of a split's sentences beside the truth; shares in percent."""

    event: str  # what makes a sentence good
    good: Score
    confidence: Trust
    probability: Trust  # of the model's own, e to the mean log-probability of the tokens: before calibration
    least_area: float  # under the last of the curves below
    bins: list[tuple[float, float, int]]  # mean confidence, share good, clips
    curve: list[tuple[float, float]]  # coverage, risk
    least_curve: list[tuple[float, float]]  # the same of an order with all good sentences first
    left: dict[str, Left]  # `90 %` and so on of the clips, and `abstain`

    def lines(self) -> list[str]:
        """What the terminal shows."""
        ours, bare = self.confidence, self.probability
        found = [
            f"confidence ({self.event}: {self.good} % of the clips)",
            f"  calibration error {ours.ece}, of the bare probability {bare.ece.value:.2f}",
            f"  area under risk and coverage {ours.area}, of the bare probability {bare.area.value:.2f}, "
            f"{self.least_area:.2f} at least",
        ]
        for name, left in self.left.items():
            refused = ", ".join(f"{what} {share:.0f} %" for what, share in left.refused.items())
            said = ", ".join(f"{key} {score.value:.2f}" for key, score in left.scores.items())
            found += [
                f"  {name}: from confidence {left.threshold:.2f} on {left.coverage:.0f} % are left, {left.good:.1f} % "
                f"good{', ' if said else ''}{said}{'; refused: ' if refused else ''}{refused}"
            ]
        return found


def calibration(
    predictions: Sequence[Prediction],
    unlike: Mapping[str, Sequence[Prediction]],
    confidence: Confidence,
    *,
    conventions: Conventions = AS_WRITTEN,
    abstain: float | None,
    **draws: Any,
) -> Calibration:
    """Holds the confidence of predictions against their references.

    `unlike` are those of clips that should be refused, by what they show; `abstain` is a threshold to look at beside
    those of the coverages; `draws` are `bootstrap` and `seed` of the intervals.
    """
    sure, good = _sure(predictions), np.array([p.score >= confidence.good_chrf for p in predictions], np.float64)
    bare = np.exp([p.signals["log_prob"] for p in predictions])
    every = draws | {"signers": [p.signer for p in predictions]}
    event = f"event:chrf2>={confidence.good_chrf:g}"
    ranked = np.sort(sure)[::-1]
    thresholds = {f"{share} %": float(ranked[math.ceil(share * len(sure) / 100) - 1]) for share in COVERAGES}
    if abstain is not None:
        thresholds["abstain"] = abstain
    beyond = {name: _sure(each) for name, each in unlike.items() if each}

    def left(threshold: float) -> Left:
        kept = [p for p, its in zip(predictions, sure, strict=True) if its >= threshold]
        rules: Any = {"conventions": conventions, "only": SHOWN, **draws}
        return Left(
            threshold, 100 * len(kept) / len(sure), 100 * float(good[sure >= threshold].mean()) if kept else 0.0,
            scores=scored(kept, **rules) if kept else {},
            refused={name: 100 * float((each < threshold).mean()) for name, each in beyond.items()},
        )  # fmt: skip

    return Calibration(
        confidence.event,
        averaged((100 * good).tolist(), event, **every),
        confidence=_trust(sure, good, event, every), probability=_trust(bare, good, event, every),
        least_area=float(np.mean([risk for _, risk in _curve(good, good)])),
        bins=[(float(sure[own].mean()), 100 * float(good[own].mean()), len(own)) for own in _bins(sure, BINS)],
        curve=_curve(sure, good), least_curve=_curve(good, good),
        left={name: left(threshold) for name, threshold in thresholds.items()},
    )  # fmt: skip


def _sure(predictions: Sequence[Prediction]) -> Numbers:
    return np.array([p.confidence for p in predictions], np.float64)


def _bins(sure: Numbers, most: int) -> list[npt.NDArray[np.int64]]:
    """The clips in groups of equal size, the surest first."""
    return np.array_split(np.argsort(-sure, kind="stable"), min(most, len(sure)))


def _trust(sure: Numbers, good: Numbers, event: str, draws: Mapping[str, Any]) -> Trust:
    away = np.zeros((len(sure), BINS + 1))
    for place, own in enumerate(_bins(sure, BINS)):
        away[own, place] = sure[own] - good[own]
    away[:, BINS] = 1
    groups = _bins(sure, STEPS)
    counts = np.zeros((len(sure), 2, len(groups)))
    for place, own in enumerate(groups):
        counts[own, 0, place], counts[own, 1, place] = 1 - good[own], 1

    def area(total: Sequence[float]) -> float:
        return 100 * float(_cumulated(np.reshape(total, (2, -1)))[1].mean())

    return Trust(
        summed(away, lambda t: 100 * float(np.abs(t[:-1]).sum()) / max(t[-1], 1), f"{event}|bins:{BINS}", **draws),
        summed(counts.reshape(len(sure), -1), area, f"{event}|steps:{STEPS}", **draws),
    )


def _curve(sure: Numbers, good: Numbers) -> list[tuple[float, float]]:
    """Coverage and risk in percent at up to a hundred steps of coverage."""
    groups = _bins(sure, STEPS)
    found = _cumulated(np.array([[(1 - good[own]).sum() for own in groups], [len(own) for own in groups]]))
    return [(100 * x, 100 * y) for x, y in np.stack(found, axis=1).tolist()]


def _cumulated(bad_and_all: Numbers) -> tuple[Numbers, Numbers]:
    bad, count = bad_and_all.cumsum(1)
    return count / max(count[-1], 1), bad / np.maximum(count, 1)
