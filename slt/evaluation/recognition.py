"""From a gloss head's scores to glosses: CTC's best path, and the most probable sequence by prefix beam search.

B clips, T' frames after downsampling, G gloss classes and the blank, W beam width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from slt.training.objective import BLANK

Logs = npt.NDArray[np.float64]


def recognise(scores: Tensor, present: Tensor, glosses: Sequence[str], *, width: int | None) -> list[dict[str, str]]:
    """Glosses of a batch by the name of their score: `gloss_wer` of the best path, `gloss_wer_beam` with a `width` W.

    `scores` (B, T', G) are the gloss head's, `present` (B, T'); `glosses` are those of classes 1 to G - 1.
    """
    found = []
    for logs, mask in zip(scores.float().log_softmax(dim=2).cpu(), present.cpu(), strict=True):
        clip = logs[mask].double().numpy()
        classes = {"gloss_wer": best_path(clip)}
        if width is not None:
            classes["gloss_wer_beam"] = prefix_beam(clip, width)
        found.append({name: " ".join(glosses[c - BLANK - 1] for c in each) for name, each in classes.items()})
    return found


def best_path(logs: Logs) -> list[int]:
    """The most probable class of each frame of (T', G), repetitions and blanks taken out (Graves et al. 2006, 3.2)."""
    path = logs.argmax(axis=1)
    new = np.diff(path, prepend=BLANK) != 0
    return [int(c) for c in path[new & (path != BLANK)]]


def prefix_beam(logs: Logs, width: int) -> list[int]:
    """The sequence whose paths in logs (T', G) are together most probable, among the W best prefixes after each frame.

    Exact where `width` is no bound (Graves 2012, Supervised Sequence Labelling, section 7.5.3). All extensions of all
    prefixes are one (W, G) array: a frame costs some microseconds, whatever the number of glosses.
    """
    prefixes: list[tuple[int, ...]] = [()]
    blank, sign = np.zeros(1), np.full(1, -np.inf)  # (W,): of paths that end in a blank, and in the prefix's last sign
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
        kept = _highest(all_of, width)
        old = kept < len(prefixes)
        parents, signs = np.divmod(kept - len(prefixes), len(frame))
        prefixes = [
            prefixes[k] if o else (*prefixes[p], int(c)) for k, o, p, c in zip(kept, old, parents, signs, strict=True)
        ]
        at = np.where(old, kept, 0)
        blank = np.where(old, blanks[at], -np.inf)
        sign = np.where(old, stays[at], all_of[kept])
    return list(prefixes[int(np.logaddexp(blank, sign).argmax())])


def _highest(values: Logs, count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` highest finite values; of equal ones the earlier."""
    if count < len(values):
        bound = np.partition(values, -count)[-count]
        places = np.flatnonzero((values >= bound) & (values > -np.inf))
        return places[np.argsort(-values[places], kind="stable")][:count]
    return np.flatnonzero(values > -np.inf)
