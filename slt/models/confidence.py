"""How sure a sentence is: what its search tells beside it, mapped to the probability that it is good.

It needs no second model, no torch, and nothing that the exported folder does not have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from slt.models.search import Found, Search
from slt.text import loop

PACE = "pace"
SIGNALS = ("log_prob", "least", "ahead", "agreement", PACE, "seen")


def signals(found: Sequence[Found], *, seen: float, frames: int) -> dict[str, float]:
    """What is known of a clip's best sentence without its reference; but for `pace`, more is surer.

    - `log_prob`: mean log-probability of its tokens; `least`: that of its least likely one.
    - `ahead`: log of its share of the probability of all sentences that the beam found.
    - `agreement`: F1 of its tokens and those of another of these, the mean over them.
    - `pace`: log of its tokens a frame; the farther from what is usual, the less sure.
    - `seen`: share of the frames in which its streams were seen, the mean over streams.

    Args:
        found: all that the search found, best first.
        seen: the last of the above.
        frames: of the clip, as the encoder was given it.
    """
    best, *others = found
    totals = [sum(one.log_probs) for one in found]
    top = max(totals)  # a shorter sentence may be far likelier as a whole
    return {
        "log_prob": totals[0] / len(best.ids),
        "least": min(best.log_probs),
        "ahead": totals[0] - top - math.log(sum(math.exp(total - top) for total in totals)),
        "agreement": sum(_shared(best.ids, one.ids) for one in others) / len(others) if others else 1.0,
        PACE: math.log(len(best.ids) / max(frames, 1)),
        "seen": seen,
    }


def _shared(ours: Sequence[int], theirs: Sequence[int]) -> float:
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A signal, standardised by a centre and a scale, and its weight."""

    centre: float
    scale: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """A logistic map of signals to the probability that a sentence is good; `slt.evaluation.confidence` fits it.

    Attributes:
        good_chrf: a sentence of this sentence chrF2 or more, in percent, is good.
        num_beams, length_penalty: of the search that it was fitted on; the signals of another are others.
        bias: log-odds of a sentence whose signals are at their centres.
        signals: name -> how it is weighed.
    """

    good_chrf: float
    num_beams: int
    length_penalty: float
    bias: float
    signals: dict[str, Weighed]

    def __post_init__(self) -> None:
        numbers = [self.bias, *(x for each in self.signals.values() for x in (each.centre, each.scale, each.weight))]
        if not np.isfinite(numbers).all() or any(each.scale <= 0 for each in self.signals.values()):
            raise ValueError("confidence: expected finite numbers and scales above 0")
        if strange := set(self.signals) - set(SIGNALS):
            raise ValueError(f"confidence: expected signals of {', '.join(SIGNALS)}, came {', '.join(strange)}")

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Confidence | None:
        """Return what a checkpoint keeps as plain values; None of those of before, which keep none."""
        if values is None:
            return None
        if set(values) != {part.name for part in fields(cls)}:
            raise ValueError(f"confidence: not as slt.train writes it, came {', '.join(map(str, values))}")
        weighed = {str(name): Weighed(**each) for name, each in values["signals"].items()}
        return cls(**{**values, "signals": weighed})

    @property
    def event(self) -> str:
        """What it is the probability of."""
        return f"sentence chrF2 of {self.good_chrf:g} or more"

    def fits(self, search: Search) -> bool:
        """Whether it knows the sentences of a search."""
        return (search.num_beams, search.length_penalty) == (self.num_beams, self.length_penalty)

    def __call__(self, told: Mapping[str, float], text: str) -> float:
        """The probability, in [0, 1], that a sentence with these signals is good; 0 of one that loops."""
        if loop(text) is not None:
            return 0.0
        odds = self.bias + sum(each.weight * standard(name, told[name], each) for name, each in self.signals.items())
        return float(1 / (1 + math.exp(-max(-50.0, min(odds, 50.0)))))


def refuse_abstaining(abstain: float | None, confidence: Confidence | None, search: Search) -> None:
    """Raise ValueError where sentences are to be refused by a confidence that nobody knows."""
    if abstain is None:
        return
    if confidence is None:
        raise ValueError(
            f"abstain={abstain}: this model does not say how sure it is: it was trained before one did, or with "
            "good_chrf=null. `python -m slt.train resume=RUN` fits it at its end, and slt.export takes it along; "
            "abstain=null shows all sentences"
        )
    if not confidence.fits(search):
        raise ValueError(
            f"abstain={abstain}: the confidence is that of num_beams={confidence.num_beams} and length_penalty="
            f"{confidence.length_penalty:g}, came {search.num_beams} and {search.length_penalty:g}; search as the run "
            "was evaluated, or set abstain=null"
        )


def standard(name: str, value: Any, weighed: Weighed) -> Any:
    """A signal in standard deviations, more being surer."""
    away = (value - weighed.centre) / weighed.scale
    return -abs(away) if name == PACE else away
