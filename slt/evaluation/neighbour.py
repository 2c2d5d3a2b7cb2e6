"""Beside the scores: what the sentence of the nearest training clip would score, without anything learned.

T frames, S steps that every clip is brought to, D numbers a step, N training clips, C candidates, M clips to score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.corpora.clips import Clips
from slt.evaluation.metrics import Score, gloss_wer, score
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.streams.pose import Landmarks

# On RWTH-BOSTON-104 (clips of 77 frames in the mean) 48 to 96 steps, and every frame, do equally well; 32 do worse.
STEPS = 64
BAND = 16  # steps by which two clips may run apart
CANDIDATES = 200  # training clips, the nearest by means over eighths of the clip, that are aligned in full
SPEED = 3.0  # weight of a step's change beside its position
ARMS = {"SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB"}  # of the body, on either side
# Weight of a hand's points about its wrist: small beside an arm's way, and what tells most signs apart.
HANDSHAPE = 3.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """The floor of the nearest neighbour: which streams told it, among how many clips of train, and its scores."""

    streams: tuple[str, ...]
    clips: int
    train: int
    scores: dict[str, Score]

    def __str__(self) -> str:
        among = f"{self.clips} training clips" if self.clips == self.train else f"{self.clips} of {self.train} of train"
        return f"the nearest of {among} by {', '.join(self.streams)}"


def neighbour_floor(
    clips: Clips,
    train: Clips,
    *,
    most: int,
    conventions: Conventions = AS_WRITTEN,
    **draws: Any,
) -> Neighbour | None:
    """Scores the sentence (and glosses) of the training clip nearest to each clip by dynamic time warping.

    Compared are key points where there are any (arms about the nose and hands about their wrists, in shoulder widths,
    and their change), else features, which weigh as whoever computed them has weighed them: were each brought to
    deviation 1, the noise of what hardly moves would count as much as a hand. At `most` so many training clips are
    looked at, evenly spread, without augmentation; in train itself a clip is not its own neighbour. The signers of
    `draws` are in the order of ids. None on a corpus of pictures alone, or without another clip to look at.
    """
    shapes = {name: x.ndim for name, x in train[0].streams.items()}
    streams = [name for name, ndim in shapes.items() if ndim == 3] or [name for name, n in shapes.items() if n == 2]
    looked = np.unique(np.linspace(0, len(train) - 1, min(most, len(train))).astype(int))
    asked = sorted(range(len(clips)), key=lambda i: clips.ids[i])
    place = {train.ids[int(i)]: row for row, i in enumerate(looked)}
    own = np.array([place.get(clips.ids[i], -1) for i in asked])
    if not streams or (len(looked) == 1 and (own == 0).any()):
        return None
    bank, queries = (
        np.stack([_described(split, int(i), streams) for i in places])
        for split, places in ((train, looked), (clips, asked))
    )
    found = looked[nearest(queries, bank, own)]
    said = [train.texts[int(i)] for i in found]
    scores = score(said, [clips.texts[i] for i in asked], conventions=conventions, **draws)
    if all("gloss" in split.columns for split in (clips, train)) and any(clips.columns["gloss"]):
        theirs, ours = train.columns["gloss"], clips.columns["gloss"]
        scores["gloss_wer"] = gloss_wer([theirs[int(i)] for i in found], [ours[i] for i in asked], **draws)
    return Neighbour(tuple(streams), len(looked), len(train), scores)


def nearest(queries: Floats, bank: Floats, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of the bank (N, S, D) that is nearest to each query (M, S, D), int64 (M,).

    `own` (M,) is the row of the bank that is the query itself; -1 = none.
    """
    coarse_q, coarse_b = (x.reshape(len(x), 8, STEPS // 8, -1).mean(2).reshape(len(x), -1) for x in (queries, bank))
    far = (coarse_b**2).sum(1) - 2 * coarse_q @ coarse_b.T  # (M, N), but for what is the same in a row
    far[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
    count = min(CANDIDATES, len(bank) - int((own >= 0).any()))
    near = np.argpartition(far, count - 1, axis=1)[:, :count]  # (M, C)
    found = [rows[warped(query, bank[rows]).argmin()] for query, rows in zip(queries, near, strict=True)]
    return np.array(found, np.int64)


def warped(query: Floats, candidates: Floats) -> Floats:
    """Cost (C,) of the best alignment of a query (S, D) with each candidate (C, S, D) (Sakoe and Chiba 1978)."""
    squares = (candidates**2).sum(2)[:, :, None] + (query**2).sum(1)  # (C, S, S)
    local = np.sqrt(np.maximum(squares - 2 * candidates @ query.T, 0)).transpose(1, 2, 0).copy()  # (S, S, C)
    steps, count = len(query), len(candidates)
    before = np.full((steps + 1, count), np.inf, np.float32)
    before[0] = 0
    for i in range(steps):
        row = np.full_like(before, np.inf)
        for j in range(max(0, i - BAND), min(steps, i + BAND + 1)):
            row[j + 1] = local[i, j] + np.minimum(np.minimum(before[j], before[j + 1]), row[j])
        before = row
    return before[-1]


def _described(clips: Clips, index: int, streams: list[str]) -> Floats:
    """A clip without augmentation as (S, D)."""
    parts = []
    for name in streams:
        array, seen = clips.read(index, name)
        key_points: Any = clips.streams[name] if array.ndim == 3 else None
        parts.append(_moves(array, seen, key_points) if key_points else _steps(_filled(array, seen)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _moves(pose: NDArray[Any], seen: NDArray[np.bool_], reader: Landmarks) -> NDArray[Any]:
    """Key points (T, K, 3), seen (T,) -> positions about the nose and their change, (S, D).

    Points with an origin of their own, as a hand's wrist, are taken about that; a skeleton without a nose has none.
    """
    skeleton = reader.skeleton
    there = seen[:, None] & (pose[..., 2] > 0)
    nose = np.zeros_like(pose[:, 0, :2])
    if "NOSE" in skeleton.points:
        k = skeleton.points.index("NOSE")
        nose = _filled(pose[:, k, :2], there[:, k])

    def placed(points: Sequence[int], about: NDArray[Any]) -> list[NDArray[Any]]:
        return [_filled(pose[:, k, :2], there[:, k]) - about if there[:, k].any() else 0 * nose for k in points]

    body = next(iter(skeleton.parts.values()))
    places = placed([k for k in body if skeleton.points[k].partition("_")[2] in ARMS], nose)
    for hand in (skeleton.parts.get(part, ()) for part in ("left_hand", "right_hand")):
        origin = nose * reader.together[[*hand[:1]]].all()  # a hand's own is its origin already
        for wrist in placed(hand[:1], origin):  # none in a skeleton without hands
            places += [wrist, *(HANDSHAPE * each for each in placed(hand[1:], origin + wrist))]
    steps = _steps(np.concatenate(places, axis=1))
    return np.concatenate([steps, SPEED * np.gradient(steps, axis=0)], axis=1)


def _filled(x: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[Any]:
    """(T, F) with what was not seen (T,) drawn in between what was; zero where nothing was."""
    if seen.all() or not seen.any():
        return x if seen.all() else np.zeros_like(x)
    return _at(x[seen], np.interp(np.arange(len(x)), np.flatnonzero(seen), np.arange(int(seen.sum()))))


def _steps(x: NDArray[Any]) -> NDArray[Any]:
    return _at(x, np.linspace(0, len(x) - 1, STEPS))


def _at(x: NDArray[Any], times: NDArray[Any]) -> NDArray[Any]:
    """Rows of (T, F) at fractional times, (n, F)."""
    low = np.floor(times).astype(int)
    share = (times - low)[:, None]
    return (1 - share) * x[low] + share * x[np.minimum(low + 1, len(x) - 1)]
