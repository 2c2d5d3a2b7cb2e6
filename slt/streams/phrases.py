"""What a learned segmenter reads of a pose and is taught: features and tags of each frame (T frames, K points).

Features are of MediaPipe's 33 body points, which every extractor's 75 begin with, and of both hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.streams.skeleton import BODY, HAND, MEDIAPIPE

Floats = NDArray[np.float32]
# The tags of a frame: outside any sentence, at its beginning, inside (BIO, as in Moryossef et al. 2023, "Linguistically
# Motivated Sign Language Segmentation"). Without B, two sentences in a row would be one.
OUTSIDE, BEGINNING, INSIDE = range(3)
BORDER = 0.2  # seconds of a sentence that are its beginning

SHOULDERS = list(MEDIAPIPE.centre)
NOSE, ELBOWS, WRISTS = 0, [13, 14], [15, 16]
PLACES = [NOSE, *ELBOWS, *WRISTS]
HANDS = [slice(BODY, BODY + HAND), slice(BODY + HAND, BODY + 2 * HAND)]
KNUCKLE, TIPS = 9, [4, 8, 12, 16, 20]
_SURE = 0.3  # confidence below which a point is a guess
# A place and whether it was seen, of each of PLACES; how far the fingers are stretched and whether it is seen, of each
# hand; then what all of that differs by from the frame before.
WIDTH = 2 * (3 * len(PLACES) + (len(TIPS) + 1) * len(HANDS))


def features(points: NDArray[np.floating], size: tuple[int, int], before: Floats | None) -> Floats:
    """Return (T, WIDTH) of frames' points (T, 75, 3), shares of a picture `size` wide and high, and their confidence.

    Places are from the middle of the shoulders in their widths. `before` (WIDTH,) is what came of the frame before in
    the same shot, None where the first frame is its first.
    """
    places = points[..., :2] * size
    shoulders = places[:, SHOULDERS]
    unit = np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)
    known = (unit >= 1e-6) & (points[:, SHOULDERS, 2] > 0).all(1)
    there = points[:, PLACES, 2] >= _SURE
    at = (places[:, PLACES] - shoulders.mean(1, keepdims=True)) / np.where(known, unit, 1)[:, None, None]
    parts: list[Any] = [np.where(there[..., None], at, 0).clip(-4, 4).reshape(len(points), -1), there]
    for hand in HANDS:
        own, seen = places[:, hand], (points[:, hand, 2] > 0).all(1, keepdims=True)
        palm = np.linalg.norm(own[:, KNUCKLE] - own[:, 0], axis=1, keepdims=True)
        stretched = np.linalg.norm(own[:, TIPS] - own[:, :1], axis=2) / np.maximum(palm, 1e-6)
        parts += [np.where(seen, stretched.clip(0, 4), 0), seen]
    half = (np.concatenate(parts, 1) * known[:, None]).astype(np.float32)
    first = half[:1] if before is None else before[None, : half.shape[1]]
    return np.concatenate([half, half - np.concatenate([first, half[:-1]])], 1)


def film_tags(spans: Sequence[tuple[float, float]], frames: int, fps: float) -> NDArray[np.int64]:
    """Return the tag (T,) of each frame of a film with these sentences, (start, end) in seconds."""
    times = (np.arange(frames) + 0.5) / fps
    tags = np.full(frames, OUTSIDE, np.int64)
    for start, end in sorted(spans):
        tags[(times >= start) & (times < end)] = INSIDE
        tags[(times >= start) & (times < min(start + BORDER, end))] = BEGINNING
    return tags
