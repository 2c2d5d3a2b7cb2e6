"""From a gloss head's scores to glosses: CTC's best path, and the best sequence by prefix beam search.

B clips, T' frames after downsampling, G gloss classes and the blank, W beam width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from slt.evaluation.gloss_model import END, GlossModel
from slt.evaluation.settings import GlossLM
from slt.training.objective import BLANK

Logs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Language:
    """What is added to a sequence's log probability: `weight` times the model's of it, `bonus` a gloss."""

    model: GlossModel
    weight: float
    bonus: float

    @classmethod
    def of(cls, given: GlossLM | None, sentences: Sequence[str], glosses: Sequence[str]) -> Language | None:
        """Of the glosses of training clips; `glosses` are those of classes 1 to G - 1. None of None."""
        if given is None or not glosses:
            return None
        place = {gloss: c for c, gloss in enumerate(glosses, start=BLANK + 1)}
        lines = [[place[gloss] for gloss in text.split() if gloss in place] for text in sentences]
        model = GlossModel(filter(None, lines), num_classes=len(glosses) + 1, order=given.order)
        return cls(model, given.weight, given.bonus)


def recognise(
    scores: Tensor, present: Tensor, glosses: Sequence[str], *, width: int | None, language: Language | None = None
) -> list[dict[str, str]]:
    """Glosses of a batch by the name of their score: `gloss_wer` of the best path, `gloss_wer_beam` with a `width` W.

    With a `language` beside it, `gloss_wer_lm` is that of the beam that asks it. `scores` (B, T', G) are the gloss
    head's, `present` (B, T'); `glosses` are those of classes 1 to G - 1.
    """
    found = []
    for logs, mask in zip(scores.float().log_softmax(dim=2).cpu(), present.cpu(), strict=True):
        clip = logs[mask].double().numpy()
        classes = {"gloss_wer": best_path(clip)}
        if width is not None:
            classes["gloss_wer_beam"] = prefix_beam(clip, width)
            if language is not None:
                classes["gloss_wer_lm"] = prefix_beam(clip, width, language)
        found.append({name: " ".join(glosses[c - BLANK - 1] for c in each) for name, each in classes.items()})
    return found


def best_path(logs: Logs) -> list[int]:
    """The most probable class of each frame of (T', G), repetitions and blanks taken out (Graves et al. 2006, 3.2)."""
    path = logs.argmax(axis=1)
    new = np.diff(path, prepend=BLANK) != 0
    return [int(c) for c in path[new & (path != BLANK)]]


def prefix_beam(logs: Logs, width: int, language: Language | None = None) -> list[int]:
    """The sequence whose paths in logs (T', G) are together most probable, among the W best prefixes after each frame.

    Exact where `width` is no bound (Graves 2012, Supervised Sequence Labelling, section 7.5.3). All extensions of all
    prefixes are one (W, G) array: a frame costs some microseconds, whatever the number of glosses. A `language` is
    asked whenever a prefix grows, and for the end of the sentence (Hannun et al. 2014, First-Pass Large Vocabulary
    Continuous Speech Recognition using Bi-Directional Recurrent DNNs, algorithm 1).
    """
    prefixes: list[tuple[int, ...]] = [()]
    blank, sign = np.zeros(1), np.full(1, -np.inf)  # (W,): of paths that end in a blank, and in the prefix's last sign
    told = np.zeros(1)  # (W,): what the language adds to the prefix
    for frame in logs:
        last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])
        rows = np.arange(len(prefixes))
        whole = np.logaddexp(blank, sign)
        grown = whole[:, None] + frame  # (W, G)
        grown[rows, last] = blank + frame[last]  # the same sign twice needs a blank between
        grown[:, BLANK] = -np.inf
        stays = sign + frame[last]
        place = {prefix: row for row, prefix in enumerate(prefixes)}
        for row, prefix in enumerate(prefixes):
            if prefix and (parent := place.get(prefix[:-1])) is not None:  # grown from another prefix of the beam
                stays[row] = np.logaddexp(stays[row], grown[parent, prefix[-1]])
                grown[parent, prefix[-1]] = -np.inf
        blanks = whole + frame[BLANK]
        all_of = np.concatenate([np.logaddexp(blanks, stays), grown.ravel()])
        further = _further(prefixes, told, language, len(frame))  # (W, G)
        said = np.concatenate([told, further.ravel()])
        kept = _highest(all_of + said, width)
        old = kept < len(prefixes)
        parents, signs = np.divmod(kept - len(prefixes), len(frame))
        prefixes = [
            prefixes[k] if o else (*prefixes[p], int(c)) for k, o, p, c in zip(kept, old, parents, signs, strict=True)
        ]
        at = np.where(old, kept, 0)
        blank = np.where(old, blanks[at], -np.inf)
        sign = np.where(old, stays[at], all_of[kept])
        told = said[kept]
    if language is not None:
        told = told + [language.weight * language.model(prefix)[END] for prefix in prefixes]
    return list(prefixes[int((np.logaddexp(blank, sign) + told).argmax())])


def _further(prefixes: Sequence[tuple[int, ...]], told: Logs, language: Language | None, classes: int) -> Logs:
    """What the language adds to each prefix of W, grown by each of G classes, (W, G)."""
    if language is None:
        return np.zeros((len(prefixes), classes))
    rows = np.stack([language.model(prefix) for prefix in prefixes])
    return told[:, None] + language.weight * rows + language.bonus


def _highest(values: Logs, count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` highest finite values; of equal ones the earlier."""
    if count < len(values):
        bound = np.partition(values, -count)[-count]
        places = np.flatnonzero((values >= bound) & (values > -np.inf))
        return places[np.argsort(-values[places], kind="stable")][:count]
    return np.flatnonzero(values > -np.inf)
