"""The hand of the invented signers: handshapes as joint angles, joint angles as MediaPipe's 21 points (T frames)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Fingers index to pinky: flexion of the first joint and of the other two (degrees), spread (degrees, + = towards the
# thumb). Thumb: angle in the plane of the palm (0 = along the fingers, 90 = away from them) and out of it, of its first
# and of its last two bones.
_STRAIGHT, _CURLED, _HOOKED, _LOOSE = (0, 0), (88, 82), (12, 72), (28, 30)
_ACROSS, _BESIDE, _AWAY, _TOUCH = (20, 62, -72, 18), (24, 5, 2, 0), (62, 5, 58, 0), (62, 40, 8, 35)
_SHAPES: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, ...], tuple[int, ...]]] = {
    "fist": ((_CURLED, _CURLED, _CURLED, _CURLED), (0, 0, 0, 0), _ACROSS),
    "flat": ((_STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT), (-1, 0, 1, 3), _BESIDE),
    "spread": ((_STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT), (17, 5, -9, -24), _AWAY),
    "index": ((_STRAIGHT, _CURLED, _CURLED, _CURLED), (0, 0, 0, 0), _ACROSS),
    "vee": ((_STRAIGHT, _STRAIGHT, _CURLED, _CURLED), (14, -12, 0, 0), _ACROSS),
    "three": ((_STRAIGHT, _STRAIGHT, _STRAIGHT, _CURLED), (14, 0, -14, 0), _ACROSS),
    "ell": ((_STRAIGHT, _CURLED, _CURLED, _CURLED), (0, 0, 0, 0), (80, 0, 82, 0)),
    "wye": ((_CURLED, _CURLED, _CURLED, _STRAIGHT), (0, 0, 0, -22), (66, 0, 66, 0)),
    "horns": ((_STRAIGHT, _CURLED, _CURLED, _STRAIGHT), (8, 0, 0, -10), _ACROSS),
    "thumb": ((_CURLED, _CURLED, _CURLED, _CURLED), (0, 0, 0, 0), (50, 0, 42, 0)),
    "claw": ((_HOOKED, _HOOKED, _HOOKED, _HOOKED), (20, 6, -10, -28), (70, 15, 20, 35)),
    "ring": (((62, 58), _STRAIGHT, _STRAIGHT, _STRAIGHT), (16, -4, -18, -34), _TOUCH),
    "rest": ((_LOOSE, _LOOSE, _LOOSE, _LOOSE), (0, 0, 0, 0), _BESIDE),
}
# Of a right hand, palm to the camera, in hand lengths, y up: knuckles and bone lengths, index to pinky, then the thumb.
_KNUCKLES = np.array([[0.155, 0.47], [0.05, 0.5], [-0.055, 0.48], [-0.15, 0.43]])
_BONES = np.array([[0.23, 0.14, 0.11], [0.25, 0.16, 0.11], [0.23, 0.15, 0.11], [0.18, 0.11, 0.1]])
_THUMB_ROOT, _THUMB_BONES = np.array([0.1, 0.12]), (0.19, 0.17, 0.14)


def handshape_angles(name: str) -> Floats:
    """Return the (16,) joint angles of a handshape, degrees: 4 x (first flexion, other flexion), 4 spreads, 4 thumb."""
    flexion, spread, thumb = _SHAPES[name]
    return np.array([angle for finger in flexion for angle in finger] + [*spread, *thumb], float)


def hand_points(angles: Floats, picture: Floats, roll: Floats) -> Floats:
    """Return the 21 points of a right hand in MediaPipe's order, (T, 21, 3) in hand lengths.

    The wrist is at the origin, x right, y up, z towards the camera. `angles` (T, 16) are degrees as of
    `handshape_angles`; `picture` (T,) rotates in the picture, positive = towards the signer's left, `roll` (T,) about
    the hand's length, 0 = palm to the camera.
    """
    angles = np.deg2rad(angles)
    frames = len(angles)
    points = np.zeros((frames, 21, 3))
    for finger in range(4):
        first, other, spread = angles[:, 2 * finger], angles[:, 2 * finger + 1], angles[:, 8 + finger]
        place = np.broadcast_to([*_KNUCKLES[finger], 0.0], (frames, 3)).copy()
        points[:, 5 + 4 * finger] = place
        for bone, bend in enumerate((first, first + other, first + 1.7 * other)):
            flat = np.cos(bend)  # the share of the bone that lies in the plane of the palm
            step = np.stack([np.sin(spread) * flat, np.cos(spread) * flat, np.sin(bend)], 1)
            place = place + _BONES[finger][bone] * step
            points[:, 6 + 4 * finger + bone] = place
    place = np.broadcast_to([*_THUMB_ROOT, 0.03], (frames, 3)).copy()
    points[:, 1] = place
    for bone, (side, lift) in enumerate(((12, 13), (14, 15), (14, 15))):
        aside, inside = angles[:, side], np.cos(angles[:, lift])
        step = np.stack([np.sin(aside) * inside, np.cos(aside) * inside, np.sin(angles[:, lift])], 1)
        place = place + _THUMB_BONES[bone] * step
        points[:, 2 + bone] = place
    rolled = _rotate(points, (0, 2), np.deg2rad(roll))
    return _rotate(rolled, (0, 1), np.deg2rad(picture))


def _rotate(points: Floats, plane: tuple[int, int], angle: Floats) -> Floats:
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out, (a, b) = points.copy(), plane
    out[..., a] = points[..., a] * cos + points[..., b] * sin
    out[..., b] = points[..., b] * cos - points[..., a] * sin
    return out
