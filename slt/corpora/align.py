"""Captions that follow the sound, moved to the signing they translate: a monotone assignment (N captions, M spans).

Interpreters sign seconds after what they hear, by a delay that changes from sentence to sentence. Bull et al. 2021
("Aligning Subtitles in Sign Language Videos") learn where each subtitle is signed and then order the answers by
dynamic programming; here the signing segments themselves, which need no text, are what the subtitles are ordered onto.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Span = tuple[float, float]
Floats = NDArray[np.float64]
STEP = 0.1  # seconds, of the common delay that is looked for


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How far captions may be moved: keys of conf/align.yaml, in seconds."""

    search_seconds: float  # the delay common to a film is looked for within so much, both ways
    reach_seconds: float  # beyond it, each end of a caption may be moved by so much
    most_segments: int  # of one caption
    most_captions: int  # of one segment, which they then share by their lengths
    lost: float  # what a caption costs that gets no segment, in seconds of moving
    idle: float  # what a second of signing costs that gets no caption


def common_delay(captions: Sequence[Span], segments: Sequence[Span], settings: Alignment) -> float:
    """Return by how many seconds all captions are best moved: so that most time is both captioned and signed.

    Of moves that are as good the smallest. (Albanie et al. 2021, BOBSL, move all subtitles by one number, too.)
    """
    ticks = int(np.ceil(max(end for _, end in (*captions, *segments)) / STEP)) + 1
    shown, signed = (_active(spans, ticks) for spans in (captions, segments))
    most = min(round(settings.search_seconds / STEP), ticks - 1)
    moves = sorted(range(-most, most + 1), key=abs)
    both = [
        float((shown[max(-m, 0) : ticks - max(m, 0)] * signed[max(m, 0) : ticks - max(-m, 0)]).sum()) for m in moves
    ]
    return moves[int(np.argmax(both))] * STEP


def _active(spans: Sequence[Span], ticks: int) -> Floats:
    """Return +1 where a span is and -1 elsewhere, (ticks,): what is in neither counts as agreement, too."""
    out = np.full(ticks, -1.0)
    for start, end in spans:
        out[round(start / STEP) : max(round(end / STEP), round(start / STEP) + 1)] = 1.0
    return out


def align(captions: Sequence[Span], segments: Sequence[Span], settings: Alignment) -> list[Span | None]:
    """Return where each of N captions is signed, among M segments, both in the order of time; None = nobody knows.

    The whole costs least of all monotone assignments: a caption to up to `most_segments` neighbouring segments, up to
    `most_captions` of them to one. Moving a caption costs the mean of how far its ends go, from where the common delay
    put it.
    """
    if not captions or not segments:
        return [None] * len(captions)
    delay = common_delay(captions, segments, settings)
    starts, ends = (np.array(each) for each in zip(*segments, strict=True))
    moved = np.array(captions) + delay
    idle = np.concatenate([[0.0], np.cumsum(settings.idle * (ends - starts))])  # of the first m segments
    best = [idle.copy(), *(np.full(len(segments) + 1, np.inf) for _ in captions)]  # n captions with the first m
    came: list[list[tuple[int, int]]] = [[(0, 0)] * (len(segments) + 1) for _ in range(len(captions) + 1)]

    def offer(n: int, m: int, cost: float, taken: tuple[int, int]) -> None:
        if cost < best[n][m] - 1e-9:
            best[n][m], came[n][m] = cost, taken

    for n in range(len(captions) + 1):
        for m in range(1, len(segments) + 1):  # segment m - 1 has no caption
            offer(n, m, best[n][m - 1] + idle[m] - idle[m - 1], (0, 1))
        if n == len(captions):
            break
        for m in range(len(segments) + 1):
            offer(n + 1, m, best[n][m] + settings.lost, (1, 0))
        near = np.flatnonzero((starts < moved[n, 1] + settings.reach_seconds)
                              & (ends > moved[n, 0] - settings.reach_seconds))  # fmt: skip
        for m in near.tolist():
            for taken in _choices(n, m, len(captions), len(segments), settings):
                cost = _cost(moved[n : n + taken[0]], starts[m], ends[m + taken[1] - 1], settings.reach_seconds)
                offer(n + taken[0], m + taken[1], best[n][m] + cost, taken)
    return _followed(captions, segments, came)


def _choices(n: int, m: int, captions: int, segments: int, settings: Alignment) -> list[tuple[int, int]]:
    """Return how many captions from n on may get how many segments from m on."""
    one = [(1, k) for k in range(1, min(settings.most_segments, segments - m) + 1)]
    return one + [(k, 1) for k in range(2, min(settings.most_captions, captions - n) + 1)]


def _shared(captions: Floats | Sequence[Span], start: float, end: float) -> list[Span]:
    """Return the parts of a stretch that neighbouring captions get, by their lengths."""
    lengths = np.array([max(b - a, 1e-3) for a, b in captions])
    edges = start + (end - start) * np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
    return list(pairwise(edges.tolist()))


def _cost(captions: Floats, start: float, end: float, reach: float) -> float:
    """Return the seconds by which captions are moved to share a stretch; infinite beyond the reach."""
    away = np.abs(np.array(_shared(captions, start, end)) - captions)
    return float("inf") if away.max() > reach else float(away.mean(1).sum())


def _followed(
    captions: Sequence[Span], segments: Sequence[Span], came: Sequence[Sequence[tuple[int, int]]]
) -> list[Span | None]:
    out: list[Span | None] = [None] * len(captions)
    n, m = len(captions), len(segments)
    while n or m:
        k, j = came[n][m]
        if (k, j) == (0, 0):  # what is left over are segments before the first caption
            break
        if k and j:
            out[n - k : n] = _shared(captions[n - k : n], segments[m - j][0], segments[m - 1][1])
        n, m = n - k, m - j
    return out


def filled(captions: Sequence[Span], found: Sequence[Span | None]) -> list[Span]:
    """Return times for all captions: one without a segment is moved as its nearest neighbours are, and gives way."""
    known = [n for n, span in enumerate(found) if span is not None]
    middles = [(a + b) / 2 for a, b in captions]
    shifts = [sum(found[n]) / 2 - middles[n] for n in known]  # type: ignore[arg-type]
    out: list[Span] = []
    for n, (start, end) in enumerate(captions):
        span = found[n]
        if span is None:
            shift = float(np.interp(n, known, shifts)) if known else 0.0
            low = max(out[-1][1] if out else 0.0, start + shift, 0.0)
            after = next((found[k][0] for k in known if k > n), np.inf)  # type: ignore[index]
            span = (low, max(min(low + end - start, after), low + 0.1))
        out.append(span)
    return out
