"""Landmarks to what a model sees: the one normalisation of a pose, its point subsets and its mirror.

T frames, K landmarks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# MediaPipe's numbering: 33 points of the body, then, where there are 75, 21 of the left and 21 of the right hand.
BODY, HAND = 33, 21
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
# What extraction says of a stream in a frame: its part was found, or its crop followed the arm while it was missed.
NOT_SEEN, DETECTED, FOLLOWED = 0, 1, 2
UPPER = 13  # points of head and shoulders, the first of the body
# Key points are none of this picture where more than this share of those of head and shoulders is outside it, or where
# all of them span less than this share of its sides.
MOST_OUTSIDE, LEAST_SPAN = 0.5, 0.05
_BODY_PAIRS = ((1, 4), (2, 5), (3, 6), *((left, left + 1) for left in range(7, BODY, 2)))

POINTS = {
    "body": np.arange(BODY),
    "upper_body": np.arange(25),  # face, arms and hips: legs stand still in signing and are mostly out of the picture
    "body_hands": np.arange(BODY + 2 * HAND),
}


def check_points(points: str, landmarks: int, where: str) -> None:
    """Raise ValueError unless a pose of `landmarks` points is in MediaPipe's numbering and has the subset `points`."""
    if points not in POINTS:
        raise ValueError(f"{where}: points must be one of {', '.join(POINTS)}, came {points!r}")
    if landmarks not in (BODY, BODY + 2 * HAND):
        raise ValueError(
            f"{where}: a pose has {BODY} landmarks (MediaPipe's body) or {BODY + 2 * HAND} (body, left hand, right "
            f"hand), came {landmarks}; convert it to MediaPipe's numbering"
        )
    if len(POINTS[points]) > landmarks:
        raise ValueError(
            f"{where}: points={points} takes {len(POINTS[points])} landmarks, came {landmarks}; use points=body"
        )


def mirror_order(landmarks: int) -> NDArray[np.int64]:
    """Return for each of the `landmarks` (25, 33 or 75) the one on the other side of the body, int64 (K,)."""
    order = np.arange(landmarks)
    for left, right in _BODY_PAIRS:
        if right < landmarks:
            order[[left, right]] = right, left
    if landmarks > BODY:
        order[BODY:] = np.roll(order[BODY:], HAND)
    return order


def centre_on_shoulders(pose: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Put the signer's mid-shoulder at 0 and make one shoulder width the unit.

    The centre and the width are medians over the frames in which both shoulders were seen, so that one bad frame moves
    nothing and leaning, nodding and shrugging stay visible. Both axes are scaled alike (x grows to the picture's right,
    y downwards). A point that was not seen, and every point of a frame whose shoulders were not seen, becomes
    x = y = confidence = 0.

    Args:
        pose: float32 (T, K, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1].
        size: the picture's width and height, in pixels or any other unit.

    Returns:
        float32 (T, K, 3): x, y in shoulder widths, confidence unchanged.
    """
    seen = shoulders_seen(pose)
    out = np.zeros_like(pose)
    if not seen.any():
        return out
    places = pose[..., :2] * np.asarray(size, np.float32)
    left, right = places[seen, LEFT_SHOULDER], places[seen, RIGHT_SHOULDER]
    width = float(np.median(np.linalg.norm(left - right, axis=1)))
    if width > 0:  # both shoulders at one spot is no pose: stays zero
        centre = np.median((left + right) / 2, axis=0)
        there = seen[:, None] & (pose[..., 2] > 0)
        out[..., :2] = np.where(there[..., None], (places - centre) / width, 0)
        out[..., 2] = np.where(there, pose[..., 2], 0)
    return out


def shoulders_seen(pose: NDArray[Any]) -> NDArray[np.bool_]:
    """Return bool (T,): the frames of (T, K, 3) in which both shoulders have a confidence above 0."""
    return np.asarray((pose[:, LEFT_SHOULDER, 2] > 0) & (pose[:, RIGHT_SHOULDER, 2] > 0))


def range_fault(places: NDArray[Any], there: NDArray[np.bool_], size: tuple[float, float]) -> str:
    """Return why key points cannot be places in a picture of this size, as after normalising them; "" = they can.

    Whoever signs has head and shoulders in the picture, while legs and resting hands may well be below it.

    Args:
        places: x, y (T, K, 2).
        there: bool (T, K), which of them were found.
        size: the picture's width and height in the same unit.
    """
    found = places[there]
    if not len(found):
        return ""
    upper = places[:, :UPPER][there[:, :UPPER]] if there[:, :UPPER].any() else found
    outside = float(((upper < 0) | (upper > size)).any(-1).mean())
    span = float((np.ptp(found, axis=0) / size).max())
    if outside <= MOST_OUTSIDE and not 0 < span < LEAST_SPAN:
        return ""
    low, high = found.min(0), found.max(0)
    return (
        f"no places in a picture of {size[0]} x {size[1]}: x goes from {low[0]:.4g} to {high[0]:.4g}, y from "
        f"{low[1]:.4g} to {high[1]:.4g}; {outside:.0%} of the points of head and shoulders are outside it, and all "
        f"span {span:.1%} of it"
    )
