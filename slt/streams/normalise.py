"""How a pose is normalised, on its way from a file to a stream: T frames, K points, x and y in shares of the picture.

Each is a function of the points that a stream takes, float32 (T, K, 3) of x, y and confidence, of the picture's size
(width, height) and of their skeleton, to float32 (T, K, 3), in which what was not seen is zero, its confidence too.
All mirror the signer by the sign of x, and see a clip whole, so that a frame looks the same whatever others are chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slt.streams.sample import Array
from slt.streams.skeleton import MEDIAPIPE, Skeleton
from slt.text import near

SURE = 0.3  # confidence up to which Uni-Sign takes a point for not seen
SIGN_SPACE = 1.5  # shoulder widths
PADDING = 0.2  # of a part's longer side, on each side


def centre_on_shoulders(pose: Array, size: tuple[int, int], skeleton: Skeleton = MEDIAPIPE) -> Array:
    """`shoulders`: put the signer's mid-shoulder at 0 and make one shoulder width the unit.

    Centre and width are medians over the frames in which both shoulders were seen, so that one bad frame moves nothing
    and leaning, nodding and shrugging stay visible. A point that was not seen, and every point of a frame whose
    shoulders were not seen, becomes x = y = confidence = 0.

    Args:
        pose: float32 (T, K, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1].
        size: the picture's width and height, in pixels or any other unit.
        skeleton: of the points, whose centre the shoulders are.
    """
    seen = shoulders_seen(pose, skeleton)
    out = np.zeros_like(pose)
    if not seen.any():
        return out
    places = pose[..., :2] * np.asarray(size, np.float32)
    left, right = (places[seen, shoulder] for shoulder in skeleton.centre)
    width = float(np.median(np.linalg.norm(left - right, axis=1)))
    if width > 0:  # both shoulders at one spot is no pose: stays zero
        centre = np.median((left + right) / 2, axis=0)
        out[..., :2] = (places - centre) / width
        out[..., 2] = pose[..., 2]
    return _kept(out, seen[:, None] & (pose[..., 2] > 0))


def box_each_part(pose: Array, size: tuple[int, int], skeleton: Skeleton) -> Array:
    """`parts`, as Uni-Sign does (Li et al., ICLR 2025): the body in its box, the rest about an origin of its own.

    The box is the smallest square, over the whole clip, around the body's points of a confidence above `SURE`; x and y
    of the body go from -1 to 1 in it. Hands are relative to their wrist and the face to the tip of the nose, in sides
    of that box, and cut off at -1 and 1. All in shares of the picture, as there, so that a wide picture is squeezed.
    Points of a confidence up to `SURE` are zero, and so are those of a part whose origin was not found at all.
    """
    there, out = pose[..., 2] > SURE, pose.astype(np.float32)
    apart = np.zeros(len(skeleton), bool)
    apart[[place for places in skeleton.apart for place in places]] = True
    found = pose[:, ~apart, :2][there[:, ~apart]]
    side = float(np.ptp(found, axis=0).max()) if len(found) >= 4 else 0.0  # fewer are no body to Uni-Sign
    if not side:
        return np.zeros_like(out)
    out[:, ~apart, :2] = (pose[:, ~apart, :2] - (found.min(0) + found.max(0)) / 2) / (side / 2)
    for origin, places in zip(origins(skeleton), skeleton.apart, strict=True):
        out[:, places, :2] = (pose[:, places, :2] - pose[:, [origin], :2]) / side
        there[:, places] &= pose[:, [origin], 2] > 0
    out[..., :2] = out[..., :2].clip(-1, 1)
    return _kept(out, there & shoulders_seen(pose, skeleton)[:, None])


def sign_space(pose: Array, size: tuple[int, int], skeleton: Skeleton) -> Array:
    """`sign_space`, as JSALT 2024's pose estimation does for its T5: each frame by itself.

    The body is centred between its shoulders, in units of `SIGN_SPACE` shoulder widths. Each hand and the face lie in a
    square of their own, the smallest around them with `PADDING` on each side, from -1 to 1. There a part that was not
    found is all -1, and squares are moved by whole pixels; here it is zero, and they are not.
    """
    there = (pose[..., 2] > 0) & shoulders_seen(pose, skeleton)[:, None]
    places = pose[..., :2] * np.asarray(size, np.float32)
    left, right = (places[:, [shoulder]] for shoulder in skeleton.centre)
    out = np.array(pose, np.float32)
    out[..., :2] = _ratio(
        places - (left + right) / 2, SIGN_SPACE * np.linalg.norm(left - right, axis=-1, keepdims=True)
    )
    for part in map(list, skeleton.apart):
        shown = there[:, part, None]
        low = np.where(shown, places[:, part], np.inf).min(1, keepdims=True)
        high = np.where(shown, places[:, part], -np.inf).max(1, keepdims=True)
        low, high = (np.where(np.isfinite(end), end, 0) for end in (low, high))
        side = (high - low).max(-1, keepdims=True) * (1 + 2 * PADDING)
        out[:, part, :2] = _ratio(places[:, part] - (low + high) / 2, side / 2)
    return _kept(out, there)


def fit_unit_box(pose: Array, size: tuple[int, int], skeleton: Skeleton) -> Array:
    """`unit`: the whole clip in one box, as for YouTube-ASL's baseline (Uthus et al., NeurIPS 2023, section 4.1).

    The longer side of the smallest box around all points of all frames is the unit, and its middle is 0.
    """
    there = (pose[..., 2] > 0) & shoulders_seen(pose, skeleton)[:, None]
    out = np.array(pose, np.float32)
    if there.any():
        places = pose[..., :2] * np.asarray(size, np.float32)
        low, high = places[there].min(0), places[there].max(0)
        out[..., :2] = _ratio(places - (low + high) / 2, np.full_like(places[:1, :1, :1], (high - low).max()))
    return _kept(out, there)


def share_of_picture(pose: Array, size: tuple[int, int], skeleton: Skeleton) -> Array:
    """`picture`, as MSKA does (Guan et al., Pattern Recognition 2025): -1 to 1 over the picture, y upwards.

    Neither where the signer stands nor how wide the picture is is taken out. There a point that was not found stays
    where the estimator put it; here it is zero.
    """
    out = np.array(pose, np.float32)
    out[..., 0] = 2 * pose[..., 0] - 1
    out[..., 1] = 1 - 2 * pose[..., 1]
    return _kept(out, (pose[..., 2] > 0) & shoulders_seen(pose, skeleton)[:, None])


NORMALISATIONS: dict[str, Callable[[Array, tuple[int, int], Skeleton], Array]] = {
    "shoulders": centre_on_shoulders,
    "parts": box_each_part,
    "sign_space": sign_space,
    "unit": fit_unit_box,
    "picture": share_of_picture,
}
WHOLE = {"shoulders", "unit", "picture"}  # of one origin for all points


def moved_together(name: str, skeleton: Skeleton) -> NDArray[np.bool_]:
    """Return which points (K,) share one origin under a normalisation, so that a shift of the signer moves them.

    ValueError for a name that is none, and for `parts` of a skeleton without the point that a part is centred on.
    """
    if name not in NORMALISATIONS:
        raise ValueError(
            f"normalise must be one of {', '.join(NORMALISATIONS)}, came {name!r}{near(name, NORMALISATIONS)}"
        )
    together = np.ones(len(skeleton), bool)
    if name not in WHOLE:
        together[[place for places in skeleton.apart for place in places]] = False
    if name == "parts":
        origins(skeleton)
    return together


def origins(skeleton: Skeleton) -> list[int]:
    """Return the place of the point on which each of `skeleton.apart` is centred; ValueError where it has none."""
    names = dict.fromkeys(name for name in map(skeleton.own_origin, skeleton.parts) if name is not None)
    if lacks := [name for name in names if name not in skeleton.points]:
        raise ValueError(
            f"normalise=parts centres a part on {lacks[0]}, which points={skeleton.name} does not have; add it"
        )
    return [skeleton.points.index(name) for name in names]


def shoulders_seen(pose: Array, skeleton: Skeleton = MEDIAPIPE) -> NDArray[np.bool_]:
    """Return in which frames of (T, K, 3) both shoulders have a confidence above 0, (T,)."""
    left, right = skeleton.centre
    return np.asarray((pose[:, left, 2] > 0) & (pose[:, right, 2] > 0))


def _kept(pose: Array, there: NDArray[np.bool_]) -> Array:
    return np.where(there[..., None], pose, np.float32(0))


def _ratio(a: Array, b: Array) -> Array:
    """A / b, zero where b is."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
