"""Hands and faces of the invented signers, drawn shaded as the crops a detector would cut (T frames, R crop side).

Everything is drawn at twice the size with antialiased OpenCV primitives and averaged down. Geometry is computed for all
frames of a clip at once; only the strokes themselves are drawn frame by frame (about 0.1 ms a crop on one core).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.synthetic.phonology import BROWS, MOUTHS

Floats = NDArray[np.float64]
Pictures = NDArray[np.uint8]
Colour = tuple[float, float, float]

_OVER = 2  # drawn this much larger than asked for
_SHIFT = 3  # OpenCV's fractional bits: coordinates are in eighths of a pixel
_HAND_SPAN = 1.45  # side of a hand crop in hand lengths: an outstretched hand fits at every rotation
_FINGER = 0.105  # thickness of a finger in hand lengths
_CHAINS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_THICK = (1.2, 1.05, 1.08, 1.02, 0.88)
_PALM = (0, 1, 2, 5, 9, 13, 17)

# Mouth states: half width, opening, lift of the corners, teeth, cheeks.
_MOUTHS = {
    "closed": (0.155, 0.012, 0.0, 0.0, 0.0),
    "o": (0.07, 0.1, 0.0, 0.0, 0.0),
    "a": (0.135, 0.17, 0.0, 0.0, 0.0),
    "smile": (0.23, 0.06, 0.075, 1.0, 0.0),
    "down": (0.17, 0.014, -0.085, 0.0, 0.0),
    "puff": (0.075, 0.01, 0.0, 0.0, 1.0),
}
# Brow states: lift of the inner end, lift of the outer end, eye opening.
_BROWS = {"neutral": (0.0, 0.0, 1.0), "raised": (0.13, 0.11, 1.35), "furrowed": (-0.075, 0.05, 0.7)}
_MOUTH_TABLE = np.array([_MOUTHS[name] for name in MOUTHS])
_BROW_TABLE = np.array([_BROWS[name] for name in BROWS])

# RGB, from light to dark; a signer's skin lies somewhere between two neighbours.
_SKINS = np.array(
    [(244.0, 208, 178), (226, 180, 142), (205, 153, 113), (172, 120, 84), (130, 86, 58), (96, 64, 46)]
)  # fmt: skip
_HAIRS = np.array([(38.0, 28, 24), (66, 44, 30), (104, 70, 42), (168, 128, 76), (130, 124, 120)])
_CLOTHES = np.array([(40.0, 48, 66), (86, 40, 46), (52, 84, 66), (120, 118, 122), (30, 30, 32), (96, 84, 120)])


@dataclass(frozen=True)
class Look:
    """What a signer looks like: RGB colours (3,), hair style 0..2, proportions, and the light of the film (x, y)."""

    skin: Colour
    hair: Colour
    clothes: Colour
    wall: Colour
    lips: Colour
    style: int
    width: float
    brow: float
    fingers: float
    light: Floats

    @classmethod
    def draw(cls, signer: int, film: np.random.Generator) -> Look:
        """Draw the look of a signer (from their seed) in a film, which has its own clothes, wall and light."""
        rng = np.random.default_rng(signer)
        tone = rng.uniform(0, len(_SKINS) - 1)
        low = min(int(tone), len(_SKINS) - 2)
        skin = _SKINS[low] + (tone - low) * (_SKINS[low + 1] - _SKINS[low])
        hair = _HAIRS[rng.integers(len(_HAIRS) if tone < 2.5 else 2)]
        angle = film.uniform(-1.0, 1.0)
        skin = skin * film.uniform(0.93, 1.05)
        return cls(
            skin=_colour(skin),
            hair=_colour(hair),
            clothes=_colour(_CLOTHES[film.integers(len(_CLOTHES))] * film.uniform(0.85, 1.15)),
            wall=_colour(film.uniform(90, 200) * film.uniform(0.92, 1.08, 3)),
            lips=_colour(skin * (0.82, 0.6, 0.6)),
            style=int(rng.integers(3)),
            width=rng.uniform(0.94, 1.06),
            brow=rng.uniform(0.055, 0.075),
            fingers=rng.uniform(0.92, 1.1),
            light=np.array([np.sin(angle), -np.cos(angle)]),
        )


class Canvas:
    """A picture drawn at twice its size on a cloth or wall of one colour, a little brighter towards the light.

    Points are given in shares of its side.
    """

    def __init__(self, size: int, colour: Colour, light: Floats) -> None:
        self.size, self.side = size, size * _OVER
        self.picture: Pictures = np.zeros((self.side, self.side, 3), np.uint8)
        x, y = np.meshgrid(np.linspace(-1, 1, self.side), np.linspace(-1, 1, self.side))
        shade = 1 + 0.12 * (x * light[0] + y * light[1])
        self.backdrop = np.clip(shade[..., None] * np.array(colour), 0, 255).astype(np.uint8)

    def points(self, points: Floats) -> NDArray[np.int32]:
        """Return points (..., 2) in OpenCV's fixed-point pixels."""
        return np.round((points * self.side - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def thick(self, share: float) -> int:
        """Return a thickness in pixels."""
        return max(1, round(share * self.side))

    def fill(self, points: NDArray[np.int32], colour: Colour) -> None:
        """Fill a polygon (n, 2)."""
        cv2.fillPoly(self.picture, [points], colour, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: NDArray[np.int32], colour: Colour, thick: int) -> None:
        """Draw a polyline (n, 2) with round ends."""
        cv2.polylines(self.picture, [points], False, colour, thick, cv2.LINE_8, _SHIFT)

    def film(self, frames: int, draw: Callable[[int], None], grain: float, rng: np.random.Generator) -> Pictures:
        """Return frames (T, R, R, 3), with sensor noise of a standard deviation of about `grain` grey levels."""
        out = np.zeros((frames, self.size, self.size, 3), np.uint8)
        for t in range(frames):
            self.picture[:] = self.backdrop
            draw(t)
            out[t] = cv2.resize(self.picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        if grain <= 0:
            return out
        wide = grain * 3**0.5
        noise = rng.random((*out.shape[:3], 1), np.float32) * (2 * wide) - wide
        return np.asarray(np.clip(out + noise, 0, 255), np.uint8)


def _colour(values: Floats) -> Colour:
    red, green, blue = values.tolist()
    return (red, green, blue)


def _rgb(colour: Colour, shade: float = 1.0) -> Colour:
    """Return a colour made lighter or darker; plain numbers, since numpy would cost more here than the drawing."""
    red, green, blue = colour
    return (min(255.0, red * shade), min(255.0, green * shade), min(255.0, blue * shade))


def _tint(colour: Colour, by: Colour) -> Colour:
    return (colour[0] * by[0], colour[1] * by[1], colour[2] * by[2])


# ---------------------------------------------------------------- hands


def draw_hands(hands: Floats, look: Look, *, left: bool, size: int, grain: float, rng: np.random.Generator) -> Pictures:
    """Draw the crops of one hand (T, 21, 3) of `motion.Film.hands`, RGB uint8 (T, R, R, 3) with R = `size`.

    They are centred on the hand and of constant scale, so that they do not tell where it is. Grain is in grey levels.
    """
    frames = len(hands)
    # Centred on the knuckles, whatever the fingers do, as a detector's box roughly is.
    along = hands[:, 9] - hands[:, 0]
    middle = hands[:, 0] + 0.95 * along
    span = _HAND_SPAN * rng.uniform(0.96, 1.05, (frames, 1, 1))
    flat = (hands[..., :2] - middle[:, None, :2]) * (1, -1) / span + 0.5 + rng.normal(0, 0.012, (frames, 1, 2))
    # The forearm goes on in the hand's direction: its true one would tell where the hand is.
    stub = flat[:, :1] + (flat[:, :1] - flat[:, 9:10]) * np.array([0.1, 1.2])[:, None]
    flat = np.concatenate([flat, stub], 1)
    knuckles = hands[:, [5, 17]] - hands[:, :1]
    facing = np.cross(knuckles[:, 0], knuckles[:, 1])[:, 2] / (-0.14 if left else 0.14)  # 1 = palm, -1 = back
    depth = np.stack([hands[:, chain, 2].mean(1) for chain in _CHAINS], 1) - hands[:, _PALM, 2].mean(1, keepdims=True)
    outline, root = flat[:, _PALM], flat[:, 0]
    hollow = 0.55 * outline + 0.45 * outline.mean(1, keepdims=True) - 0.02 * look.light
    crease = np.stack([a * root + (1 - a) * flat[:, k] for a, k in ((0.25, 5), (0.45, 9), (0.5, 17))], 1)
    glint = flat[:, :21] + 0.22 * _FINGER / _HAND_SPAN * look.light
    canvas = Canvas(size, look.clothes, look.light)
    points = canvas.points(np.concatenate([flat, glint, hollow, crease], 1))
    return canvas.film(
        frames, lambda t: _draw_hand(canvas, points[t], depth[t].tolist(), float(facing[t]), look), grain, rng
    )


def _draw_hand(canvas: Canvas, points: NDArray[np.int32], depth: list[float], facing: float, look: Look) -> None:
    """Draw wrist, palm and fingers from far to near; `depth` says how far each finger stands before the palm.

    Points are (54, 2): the hand's 21, two of the forearm, the lit edges (21), hollow (7) and line (3) of the palm. With
    facing 1 the palm is to the camera, with -1 the back.
    """
    skin = _tint(look.skin, (1.06, 1.0, 0.99) if facing > 0 else (0.93, 0.93, 0.93))
    edge = canvas.thick(0.022)
    nail = (0.5 * look.skin[0] + 120, 0.5 * look.skin[1] + 112, 0.5 * look.skin[2] + 112)
    finger = _FINGER * look.fingers / _HAND_SPAN
    canvas.stroke(points[21:23], _rgb(look.skin, 0.5), canvas.thick(2.3 * finger) + 2 * edge)
    canvas.stroke(points[21:23], _rgb(skin, 0.86), canvas.thick(2.3 * finger))
    palm_drawn = False
    for chain in sorted(range(5), key=depth.__getitem__):
        if depth[chain] > 0 and not palm_drawn:
            _draw_palm(canvas, points, skin, facing, look)
            palm_drawn = True
        first = 1 + 4 * chain
        bones, thick = points[first : first + 4], canvas.thick(finger * _THICK[chain])
        shade = min(1.1, max(0.75, 0.96 + 0.45 * depth[chain]))
        canvas.stroke(bones, _rgb(look.skin, 0.42), thick + 2 * edge)
        canvas.stroke(bones, _rgb(skin, shade), thick)
        canvas.stroke(points[first + 23 : first + 27], _rgb(skin, 1.17 * shade), max(1, thick // 3))
        if facing < 0:  # nails
            canvas.stroke(bones[[3, 3]], nail, max(1, thick // 2))
    if not palm_drawn:
        _draw_palm(canvas, points, skin, facing, look)


def _draw_palm(canvas: Canvas, points: NDArray[np.int32], skin: Colour, facing: float, look: Look) -> None:
    closed = points[[*_PALM, _PALM[0]]]
    round_ = canvas.thick(0.075)
    canvas.stroke(closed, _rgb(look.skin, 0.42), round_ + 2 * canvas.thick(0.022))
    canvas.stroke(closed, _rgb(skin), round_)
    canvas.fill(closed, _rgb(skin))
    canvas.fill(points[44:51], _rgb(skin, 0.9))
    if facing > 0:
        canvas.stroke(points[51:54], _rgb(look.skin, 0.68), canvas.thick(0.015))


# ---------------------------------------------------------------- faces


def draw_faces(
    mouth: Floats, brows: Floats, look: Look, *, size: int, grain: float, rng: np.random.Generator
) -> Pictures:
    """Draw the crops of a face as `draw_hands` does; how far `mouth` (T, len(MOUTHS)) and `brows` are in each state."""
    canvas, form = Canvas(size, look.wall, look.light), mouth @ _MOUTH_TABLE
    parts = _place_head(_face_parts(form, brows @ _BROW_TABLE, look, rng), len(mouth), rng)
    placed = {name: canvas.points(points) for name, points in parts.items()}
    teeth, cheeks = form[:, 3].tolist(), form[:, 4].tolist()

    def draw(t: int) -> None:
        _draw_face(canvas, {name: points[t] for name, points in placed.items()}, cheeks[t], teeth[t], look)

    return canvas.film(len(mouth), draw, grain, rng)


def _oval(x: Any, y: Any, width: Any, height: Any, count: int = 20) -> Floats:
    """Return an ellipse (T, count, 2); centre and radii are numbers or (T,)."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x, y, width, height = (np.atleast_1d(value)[:, None] for value in (x, y, width, height))
    return np.stack(np.broadcast_arrays(x + width * np.cos(angle), y + height * np.sin(angle)), -1)


def _face_parts(mouth: Floats, brows: Floats, look: Look, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the outlines of a face, each (T or 1, n, 2), in half crops from the middle of the face."""
    half, opening, lift, _, cheeks = mouth.T
    inner, outer, eyes = brows.T
    blink = np.ones(len(mouth))
    start = int(rng.integers(0, 3 * len(mouth)))  # about one clip in three holds a blink
    blink[start : start + 2] = 0.15
    wide = 0.62 * look.width
    parts = {
        "neck": _oval(0, 1.0, 0.34, 0.5),
        "clothes": _oval(0, 1.45, 1.2, 0.5),
        "hair": _oval(0, -0.2, wide + 0.12, 0.78),
        "sides": _oval(0, 0.15, wide + 0.14, 0.75),
        "ear_l": _oval(wide, 0.02, 0.09, 0.16),
        "ear_r": _oval(-wide, 0.02, 0.09, 0.16),
        "head": _oval(0, 0.04, wide, 0.8, 28),
        "lit": _oval(0.12 * look.light[0], 0.02 + 0.08 * look.light[1], 0.86 * wide, 0.66, 28),
        "fringe": np.array([[[-wide, -0.2], [-0.78 * wide, -0.46], [-0.2, -0.6], [0.25, -0.58], [0.8 * wide, -0.44],
                             [wide, -0.2], [0.88 * wide, -0.66], [0.0, -0.95], [-0.88 * wide, -0.66]]]),
        "nose": np.array([[[0.03, -0.1], [0.085, 0.15], [0.0, 0.19], [-0.07, 0.16]]]),
        "bridge": np.array([[[-0.01, -0.1], [-0.015, 0.12]]]),
    }  # fmt: skip
    for name, side in (("l", 1), ("r", -1)):
        x = side * 0.26
        parts["eye_" + name] = _oval(x, -0.09, 0.125, 0.066 * eyes * blink, 14)
        parts["iris_" + name] = _oval(x + 0.01, -0.09, 0.05, 0.055 * np.minimum(eyes * blink, 1.1), 10)
        ends = [(0.11, -0.245 - inner), (0.26, -0.28 - 0.5 * (inner + outer)), (0.41, -0.23 - outer)]
        parts["brow_" + name] = np.stack([np.stack([np.full_like(y, side * at), y], -1) for at, y in ends], 1)
        parts["cheek_" + name] = _oval(side * (0.34 + 0.12 * cheeks), 0.34, 0.16 + 0.09 * cheeks, 0.17 + 0.06 * cheeks)
    course = np.linspace(-1, 1, 9)
    bow = lift[:, None] * (course**2 - 0.5)  # corners up, middle down
    x, y = half[:, None] * course, 0.45 - bow + 0 * course
    gap = opening[:, None] * np.sqrt(1 - 0.97 * course**2)
    upper, lower = np.stack([x, y - 0.8 * gap], -1), np.stack([x, y + gap], -1)
    parts["mouth"] = np.concatenate([upper, lower[:, ::-1]], 1)
    parts["teeth"] = np.concatenate([upper[:, 1:-1], np.stack([x, y], -1)[:, 1:-1][:, ::-1] + (0, 0.01)], 1)
    parts["chin"] = _oval(0, 0.66, 0.14, 0.06, 12)
    return parts


def _place_head(parts: dict[str, Floats], frames: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the parts (T, n, 2) in shares of the crop's side, each frame's head a little turned, moved and scaled."""
    times = np.arange(frames)
    phase, rate = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.1, 0.4, 3)
    angle, x, y = (np.sin(rate[i] * times + phase[i]) for i in range(3))
    angle = 0.06 * angle + rng.normal(0, 0.03)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    shift = 0.5 + np.stack([0.02 * x, 0.02 * y], -1)[:, None] + rng.normal(0, 0.01, (frames, 1, 2))
    scale = 0.5 * rng.uniform(0.95, 1.04)
    placed = {}
    for name, part in parts.items():
        turned = np.stack([part[..., 0] * cos - part[..., 1] * sin, part[..., 0] * sin + part[..., 1] * cos], -1)
        placed[name] = turned * scale + shift
    return placed


def _draw_face(canvas: Canvas, parts: dict[str, NDArray[np.int32]], cheeks: float, teeth: float, look: Look) -> None:
    skin, dark = look.skin, _rgb(look.skin, 0.5)
    brow = dark if sum(look.hair) * 0.8 > sum(dark) else _rgb(look.hair, 0.8)
    if look.style == 1:
        canvas.fill(parts["sides"], _rgb(look.hair, 0.9))
    canvas.fill(parts["neck"], _rgb(skin, 0.72))
    canvas.fill(parts["clothes"], _rgb(look.clothes))
    canvas.fill(parts["hair"], _rgb(look.hair))
    for ear in ("ear_l", "ear_r"):
        canvas.fill(parts[ear], _rgb(skin, 0.8))
    canvas.fill(parts["head"], _rgb(skin, 0.82))
    canvas.fill(parts["lit"], _rgb(skin))
    for side in ("l", "r"):
        canvas.fill(parts["cheek_" + side], _rgb(_tint(skin, (1.05, 0.97, 0.95)), 1 + 0.1 * cheeks))
    canvas.fill(parts["chin"], _rgb(skin, 1.06))
    canvas.fill(parts["nose"], _rgb(skin, 0.82))
    canvas.stroke(parts["bridge"], _rgb(skin, 1.12), canvas.thick(0.02))
    if look.style != 2:
        canvas.fill(parts["fringe"], _rgb(look.hair, 1.1))
    for side in ("l", "r"):
        canvas.fill(parts["eye_" + side], (236.0, 234.0, 230.0))
        canvas.fill(parts["iris_" + side], (50.0, 36.0, 28.0))
        canvas.stroke(parts["eye_" + side][7:], dark, canvas.thick(0.012))
        canvas.stroke(parts["brow_" + side], brow, canvas.thick(look.brow * 0.5))
    mouth = parts["mouth"]
    canvas.stroke(np.concatenate([mouth, mouth[:1]]), _rgb(look.lips), canvas.thick(0.032))
    canvas.fill(mouth, _rgb(look.lips, 0.35))
    if teeth > 0.4:
        canvas.fill(parts["teeth"], (238.0, 236.0, 228.0))
