"""Segments of a film beside the true ones: F1, intersection over union, and which sentence belongs to which.

A span is (start, end) in seconds; N spans found, M true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Span = tuple[float, float]
# A span found is a true one where they share so much of what they cover together (Moryossef et al. 2023 give F1 of
# frames and the mean IoU; segments at this IoU are what detection counts).
SAME = 0.5


@dataclass(frozen=True)
class SegmentScores:
    """How well segments are found."""

    f1: float  # percent, of segments at an IoU of `SAME`
    precision: float
    recall: float
    iou: float  # percent, the mean over true segments of the best segment's
    found: int
    true: int

    def __str__(self) -> str:
        return (
            f"segments F1 {self.f1:.1f} at IoU {SAME:g} (precision {self.precision:.1f}, recall {self.recall:.1f}), "
            f"mean IoU {self.iou:.1f}; {self.found} found, {self.true} true"
        )


def overlaps(found: Sequence[Span], true: Sequence[Span]) -> NDArray[np.float64]:
    """Return how long each of N spans and each of M is the other too, (N, M) seconds."""
    a, b = (np.array(each, float).reshape(-1, 2) for each in (found, true))
    both = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    return np.asarray(both.clip(0))


def score_segments(films: Sequence[tuple[Sequence[Span], Sequence[Span]]]) -> SegmentScores:
    """Score the segments (found, true) of films together; ValueError where no film has a true one."""
    hits = spans = truths = 0
    best: list[float] = []
    for found, true in films:
        both = overlaps(found, true)
        lengths = [np.array([end - start for start, end in each]) for each in (found, true)]
        iou = both / np.maximum(lengths[0][:, None] + lengths[1][None] - both, 1e-9)
        # Above a half no span can be that of two others; at a half exactly, it counts once.
        hits += int(min((iou >= SAME).any(0).sum(), (iou >= SAME).any(1).sum()))
        spans, truths = spans + len(found), truths + len(true)
        best += iou.max(0, initial=0.0).tolist()
    if not truths:
        raise ValueError("no true segment in these films; expected captions with times")
    precision, recall = hits / max(spans, 1), hits / truths
    f1 = 2 * hits / (spans + truths)
    return SegmentScores(100 * f1, 100 * precision, 100 * recall, 100 * float(np.mean(best)), spans, truths)


def paired(found: Sequence[tuple[float, float, str]], true: Sequence[tuple[float, float, str]]) -> list[str]:
    """Return a hypothesis for each of M true sentences of a film, so that BLEU can be taken over all of it.

    A caption belongs to the sentence with which it shares most time, or that is nearest; several are joined in their
    order. A sentence without a caption has an empty hypothesis.
    """
    said: list[list[str]] = [[] for _ in true]
    a, b = (np.array([each[:2] for each in lines], float).reshape(-1, 2) for lines in (found, true))
    gaps = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])  # below 0 they are apart
    for (_, _, text), row in zip(found, gaps, strict=True):
        said[int(row.argmax())].append(text)
    return [" ".join(each) for each in said]
