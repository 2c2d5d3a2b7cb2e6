"""What one corpus score hides: whom it is about, how long the sentences, how much was seen, how alike the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np

from slt.evaluation.metrics import Score, gloss_wer, score
from slt.evaluation.prediction import Prediction
from slt.evaluation.settings import AS_WRITTEN, Conventions

FEW = 10  # clips: a smaller group is called the worst only where all are smaller
KINDS = {"corpus": "corpus", "signer": "signer", "length": "length of the sentence", "seen": "share of frames seen"}
SHOWN = ("bleu", "chrf")
SEEN = {"all frames": 1.0, "90 % or more": 0.9, "50 to 90 %": 0.5, "less than 50 %": 0.0}  # -> least share


@dataclass(frozen=True)
class Group:
    """Some clips of a split and their BLEU, chrF and, where there are glosses, gloss WER."""

    clips: int
    scores: dict[str, Score]


Groups = Mapping[str, Mapping[str, Group]]  # `corpus`, `signer`, `length`, `seen` -> name -> group


def by_group(
    predictions: Sequence[Prediction], *, conventions: Conventions = AS_WRITTEN, bootstrap: int, seed: int
) -> Groups:
    """Scores by signer (where the corpus names them), by words of the reference and by share of frames seen."""
    lengths = _lengths(conventions.prepare([p.reference for p in predictions]))
    names = {"length": lengths, "seen": [_seen(p.seen) for p in predictions]}
    if any(p.signer for p in predictions):
        names = {"signer": [p.signer or "not named" for p in predictions], **names}
    if any(p.corpus for p in predictions):
        names = {"corpus": [p.corpus for p in predictions], **names}
    orders: Any = {"corpus": str, "signer": str, "length": lambda name: int(name.split()[0]), "seen": [*SEEN].index}
    same: dict[str, Any] = {"conventions": conventions, "bootstrap": bootstrap, "seed": seed}
    found: dict[str, dict[str, Group]] = {}
    for kind, own in names.items():
        found[kind] = {}
        for name in sorted(set(own), key=orders[kind]):
            part = [p for p, its in zip(predictions, own, strict=True) if its == name]
            found[kind][name] = Group(len(part), scored(part, only=SHOWN, **same))
    return found


def worst(groups: Mapping[str, Group]) -> str:
    """The name of the group with the lowest BLEU, among those of ten clips or more where there are any."""
    large = [name for name, group in groups.items() if group.clips >= FEW] or [*groups]
    return min(large, key=lambda name: groups[name].scores["bleu"].value)


def scored(
    predictions: Sequence[Prediction],
    *,
    conventions: Conventions = AS_WRITTEN,
    only: Collection[str] | None = None,
    bootstrap: int,
    seed: int,
) -> dict[str, Score]:
    """The scores of translations (all, or `only` these) and of their glosses."""
    draws: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "signers": [p.signer for p in predictions]}
    hypotheses, references = [p.hypothesis for p in predictions], [p.reference for p in predictions]
    found = score(hypotheses, references, conventions=conventions, only=only, **draws)
    return found | gloss_scores(predictions, **draws)


def gloss_scores(predictions: Sequence[Prediction], **draws: Any) -> dict[str, Score]:
    """`gloss_wer`, `gloss_wer_beam` and `gloss_wer_lm`, where glosses were recognised and the clips have some."""
    names = next((p.recognised for p in predictions if p.gloss), {})
    return {
        name: gloss_wer([p.recognised.get(name, "") for p in predictions], [p.gloss for p in predictions], **draws)
        for name in names
    }


def _lengths(references: Sequence[str]) -> list[str]:
    """For each clip its third of the split by words of the reference, such as `4 to 6 words`."""
    words = np.array([len(text.split()) for text in references])
    place = np.searchsorted(np.unique(np.quantile(words, (1 / 3, 2 / 3), method="lower")), words)
    bounds = {third: (words[place == third].min(), words[place == third].max()) for third in np.unique(place)}
    names = {third: f"{low} to {high} words" if low < high else f"{low} words" for third, (low, high) in bounds.items()}
    return [names[third] for third in place]


def _seen(share: float) -> str:
    return next(name for name, least in SEEN.items() if share >= least)


@dataclass(frozen=True)
class Variety:
    """How alike the translations are: a model that has learned little says few sentences."""

    clips: int
    sentences: int  # different translations
    references: int  # different references
    most_frequent: float  # share of the clips, in percent, that have the most frequent translation
    sentence: str  # that translation

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Variety:
        said = Counter(p.hypothesis for p in predictions)
        sentence, times = max(sorted(said.items()), key=lambda pair: pair[1])
        references = len({p.reference for p in predictions})
        return cls(len(predictions), len(said), references, 100 * times / len(predictions), sentence)

    def __str__(self) -> str:
        return (
            f"{self.sentences} different sentences for {self.clips} clips ({self.references} different references), "
            f"the most frequent {self.most_frequent:.1f} %: {shorten(self.sentence, 80) or 'nothing'}"
        )
