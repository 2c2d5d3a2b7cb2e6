"""Where people (MediaPipe's 33 points: x, y, visibility) and hands (21 points) are: squares, boxes and distances."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.streams.pose import LEFT_SHOULDER, RIGHT_SHOULDER

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels

# Left and right wrist, first knuckle of the little and of the index finger; the head's points; MediaPipe's numbering.
WRISTS, LITTLE, INDEX = [15, 16], [17, 18], [19, 20]
HEAD = slice(0, 11)
NOSE, HIPS = 0, [23, 24]
TRUNK = [*range(13), *HIPS]
SHOULDERS = [LEFT_SHOULDER, RIGHT_SHOULDER]


def hand_places(body: Points) -> Points:
    """Return where the pose (33, >= 2) has the middles of left and right hand, (2, 2).

    Off by 0.1 to 0.3 of a hand's extent on six films; the prolonged forearm, by 0.2 to 0.4.
    """
    return np.asarray((body[LITTLE, :2] + 2 * body[INDEX, :2]) / 3)


def shoulder_width(person: Points) -> float:
    """Return the distance of the shoulders, the unit of all lengths; a person's points in pixels."""
    return float(np.linalg.norm(person[LEFT_SHOULDER, :2] - person[RIGHT_SHOULDER, :2]))


def middle(person: Points) -> Points:
    """Return the middle between the shoulders, (2,)."""
    return np.asarray(person[SHOULDERS, :2].mean(0))


def distance(one: Points, other: Points) -> float:
    return float(np.linalg.norm(middle(one) - middle(other)))


def in_pixels(person: Points, picture: Picture) -> Points:
    """Return a person (33, 3) in pixels of the picture, from shares of its width and height."""
    return person * (picture.shape[1], picture.shape[0], 1)


def extent(person: Points) -> Box:
    """Return the box around a person's head and trunk and all else that is visible, (33, 3) in pixels."""
    visible = person[:, 2] >= 0.5
    visible[TRUNK] = True
    low, high = person[visible, :2].min(0), person[visible, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def is_person(found: Points) -> bool:
    """Tell whether what MediaPipe takes for a person, (33, 3) in pixels, is built like one, and not a table with hands.

    Signers of six films: nose 0.4 to 0.8 shoulder widths above, trunk 0.7 to 1.8 long, 1.2 to 2.8 wide.
    """
    unit = shoulder_width(found)
    x0, _, x1, _ = extent(found)
    length = float(np.linalg.norm(found[HIPS, :2].mean(0) - middle(found)))
    return x1 - x0 <= 5 * unit and length <= 2.2 * unit and middle(found)[1] - found[NOSE, 1] >= 0.3 * unit


def trunk(person: Points) -> Box:
    """Return the box around a person's head, with its hair, and trunk, (33, 3) in pixels."""
    low, high = person[TRUNK, :2].min(0), person[TRUNK, :2].max(0)
    margin = 0.3 * shoulder_width(person)
    return float(low[0] - margin), float(low[1] - 2 * margin), float(high[0] + margin), float(high[1] + margin)


def shared(one: Box, other: Box) -> float:
    """Return the area that two boxes share as a share of the smaller one's, in [0, 1]."""
    return _both(one, other) / max(min(map(_area, (one, other))), 1e-9)


def overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share as a share of the area that they cover, in [0, 1]."""
    both = _both(one, other)
    return both / max(_area(one) + _area(other) - both, 1e-9)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _both(one: Box, other: Box) -> float:
    width, height = (min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) for axis in (0, 1))
    return max(width, 0.0) * max(height, 0.0)


def cut_box(box: Box, picture: Picture) -> tuple[int, int, int, int]:
    """Return the whole pixels x0, y0, x1, y1 of a box that lie in the picture (H, W, 3)."""
    height, width = picture.shape[:2]
    x0, y0 = max(round(box[0]), 0), max(round(box[1]), 0)
    x1, y1 = min(round(box[2]), width), min(round(box[3]), height)
    if x1 - x0 < 16 or y1 - y0 < 16:
        raise ValueError(
            f"the signer's box {tuple(box)} (x0, y0, x1, y1) has no 16x16 pixels in the picture, {width}x{height}"
        )
    return x0, y0, x1, y1


def cut_square(picture: Picture, square: Points) -> tuple[Picture, Points]:
    """Cut a square (centre x, y, side in pixels) out of (H, W, 3), black beyond the edge; return it and its corner."""
    side = max(round(float(square[2])), 1)
    x, y = (round(float(value) - side / 2) for value in square[:2])
    part = picture[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    if part.shape[:2] != (side, side):
        whole = np.zeros((side, side, 3), np.uint8)
        if part.size:
            top, left = max(-y, 0), max(-x, 0)
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        part = whole
    return part, np.array([x, y], float)


def hide_beyond(picture: Picture, here: Points, there: Points) -> Picture:
    """Black out all that is nearer to the place `there` than to `here`, x, y in pixels; return a copy (H, W, 3)."""
    apart = float(np.linalg.norm(there - here))
    if apart < 1:
        return picture
    along = (there - here) / apart
    across = np.array([-along[1], along[0]])
    half, far = (here + there) / 2, float(sum(picture.shape[:2])) + apart
    corners = [half - far * across, half + far * across, half + far * (across + along), half + far * (along - across)]
    out: Picture = picture.copy()
    cv2.fillConvexPoly(out, np.round(np.stack(corners)).astype(np.int32), (0, 0, 0))
    return out


def assign_hands(hands: dict[int, Points], wrists: Points, unit: float, most: float) -> dict[int, Points]:
    """Keep hands (21, 3), by side, within `most` shoulder widths (`unit` pixels) of their own wrist, (2, 2)."""
    apart = {side: float(np.linalg.norm(hand[0, :2] - wrists[side])) / unit for side, hand in hands.items()}
    given: dict[int, Points] = {}
    for side in sorted(hands, key=lambda one: apart[one]):
        gaps = [np.linalg.norm(hands[side][:, :2] - hand[:, :2], axis=1).mean() for hand in given.values()]
        # Two looks can find one hand: then it stays with the nearer wrist.
        if apart[side] <= most and all(gap >= 0.15 * unit for gap in gaps):
            given[side] = hands[side]
    return given
