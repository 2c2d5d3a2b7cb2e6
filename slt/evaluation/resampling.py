"""What scores are known by: resamples of the sentences, intervals, and paired tests of systems on the same resamples.

N sentences or clips, B resamples, C counts of a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A corpus score in percent; `low` and `high` bound the 95 % bootstrap interval, None without resampling."""

    value: float
    low: float | None
    high: float | None
    signature: str

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Difference:
    """A score less another's on the same sentences, with its 95 % interval and the chance of it being none."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Counted:
    """A metric whose corpus score follows from the sum of its sentences' counts (N, C)."""

    counts: Counts
    from_sum: Callable[[list[Any]], float]
    signature: str


def interval(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


class Resamples:
    """How often each of B resamples drew each of N clips, (B, N): the same ones for every metric and system."""

    def __init__(self, clips: int, bootstrap: int, seed: int, signers: Sequence[str] | None = None) -> None:
        if bootstrap < 0:
            raise ValueError(f"bootstrap: expected a number of resamples, 0 or more, got {bootstrap}")
        if signers is not None and len(signers) != clips:
            raise ValueError(f"scores: expected the signer of each of {clips} clips, got {len(signers)} signers")
        named = signers is not None and all(signers) and len(set(signers)) > 1
        generator = np.random.default_rng(seed)
        draw = _two_stages(list(signers or ()), generator) if named else lambda: generator.integers(clips, size=clips)
        self.drawn: Counts = np.zeros((bootstrap, clips))
        for row in self.drawn:
            row[:] = np.bincount(draw(), minlength=clips)
        self.about = f"|bs:{'signers,' if named else ''}clips:{bootstrap}|seed:{seed}" if bootstrap else ""

    def score(self, metric: Counted) -> Score:
        """The metric's corpus score with its interval."""
        value, *resampled = self.values(metric)
        low, high = interval(resampled) if resampled else (None, None)
        return Score(value, low, high, metric.signature + self.about)

    def values(self, metric: Counted) -> list[float]:
        """The metric's corpus score, then those of the resamples."""
        sums = np.vstack([metric.counts.sum(0), self.drawn @ metric.counts])
        return [metric.from_sum(total) for total in sums.tolist()]


def _two_stages(signers: list[str], generator: np.random.Generator) -> Callable[[], npt.NDArray[np.int64]]:
    """Draws as many signers as there are, then of each one drawn as many clips as that one has."""
    place = np.unique(signers, return_inverse=True)[1]
    clips, sizes = np.argsort(place, kind="stable"), np.bincount(place)  # clips signer by signer
    begins = np.cumsum(sizes) - sizes

    def draw() -> npt.NDArray[np.int64]:
        who = generator.integers(len(sizes), size=len(sizes))
        each = np.repeat(who, sizes[who])
        return np.asarray(clips[begins[each] + generator.integers(sizes[each])])

    return draw


class Paired:
    """Scores of several systems on the same sentences and the same resamples of them, for any two to be compared.

    `scores` is name -> (1 + B): the system's score, then those of the resamples.
    """

    def __init__(self, scores: Mapping[str, Sequence[float] | Counts]) -> None:
        self.scores: dict[str, Counts] = {name: np.asarray(values, np.float64) for name, values in scores.items()}

    def score(self, name: str, signature: str) -> Score:
        """A system's score with its interval."""
        value, *resampled = self.scores[name].tolist()
        return Score(value, *interval(resampled), signature)

    def difference(self, name: str, baseline: str) -> Difference:
        """Paired bootstrap (Koehn 2004, section 4): a system less another.

        The interval and p are of the sentences (and signers). p is sacreBLEU's, but that of two equal systems is 1:
        the share of resamples whose difference lies farther above their mean than the one found.
        """
        real, *resampled = (self.scores[name] - self.scores[baseline]).tolist()
        sizes = np.abs(resampled)
        farther = sizes - sizes.mean() >= abs(real)
        return Difference(real, *interval(resampled), float(farther.sum() + 1) / (len(resampled) + 1))

    def places(self, level: float) -> dict[str, int]:
        """Each system's place: one more than there are better ones that the test tells from it (p < `level`).

        Each pair is tested by itself, as for the rank ranges in WMT's findings (Kocmi et al. 2023): several may hold
        one place, and the first is held by all that no other system is told to be better than.
        """
        return {
            name: 1 + sum(
                1
                for other in self.scores
                if self.scores[other][0] > self.scores[name][0] and self.difference(other, name).p < level
            )
            for name in self.scores
        }  # fmt: skip
