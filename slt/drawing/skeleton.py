"""One pose on paper or over a film: which points are joined, in which colours, and the strokes.

K landmarks: MediaPipe's body (0-32), then the signer's left hand (33-53) and right hand (54-74).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from slt.streams.pose import BODY, HAND

HEAD = [(6, 5), (5, 4), (1, 2), (2, 3), (9, 10)]  # eyes and mouth; the outline is an ellipse over the ears
TRUNK = [(11, 12), (11, 23), (12, 24), (23, 24)]
ARMS = {"left": [(11, 13), (13, 15)], "right": [(12, 14), (14, 16)]}
PALMS = {"left": [(15, 17), (17, 19), (19, 15), (15, 21)], "right": [(16, 18), (18, 20), (20, 16), (16, 22)]}
FINGERS = [(0, 5), (5, 9), (9, 13), (13, 17), (17, 0), (0, 1)]
FINGERS += [(a, a + 1) for root in (1, 5, 9, 13, 17) for a in range(root, root + 3)]
FIRST = {"left": BODY, "right": BODY + HAND}
RIGHT_EAR, LEFT_EAR = 8, 7
COLOURS = {"left": (0, 114, 178), "right": (213, 94, 0), "body": (96, 100, 110)}  # told apart by colour-blind eyes too
Colour = tuple[int, int, int]
Array = npt.NDArray[Any]


class Part(NamedTuple):
    """Bones of a part of the body: `head`, `trunk`, `arm` or `hand`; its side is `left`, `right` or `body`."""

    name: str
    side: str
    bones: list[tuple[int, int]]


def parts(landmarks: int) -> list[Part]:
    """Bones among the first `landmarks` points, in the order of drawing; without points of hands palms stand in."""
    found = [Part("head", "body", HEAD), Part("trunk", "body", TRUNK)]
    for side, first in FIRST.items():
        hand = [(first + a, first + b) for a, b in FINGERS] if landmarks > BODY else PALMS[side]
        found += [Part("arm", side, ARMS[side]), Part("hand", side, hand)]
    return [part._replace(bones=[bone for bone in part.bones if max(bone) < landmarks]) for part in found]


def draw_skeleton(
    draw: ImageDraw.ImageDraw, places: Array, there: npt.NDArray[np.bool_], *, pixel: int, halo: Colour | None
) -> None:
    """Draws one pose.

    Args:
        draw: of the picture.
        places: (K, 2) in its pixels.
        there: bool (K,): the points that were detected; others and their bones are not drawn.
        pixel: width of the thinnest line; arms and trunk are twice as wide.
        halo: colour around each line, for a ground that is not white.
    """
    if there[[RIGHT_EAR, LEFT_EAR]].all():
        _draw_head(draw, places[RIGHT_EAR], places[LEFT_EAR], pixel, halo)
    strokes = [
        (tuple(places[a]), tuple(places[b]), COLOURS[part.side], pixel * (2 if part.name in ("trunk", "arm") else 1))
        for part in parts(len(places))
        for a, b in part.bones
        if there[a] and there[b]
    ]
    passes = [(halo, pixel)] if halo is not None else []
    for ground, more in [*passes, (None, 0)]:
        for a, b, colour, width in strokes:
            fill, thick = ground or colour, width + more
            draw.line([a, b], fill=fill, width=thick, joint="curve")
            for x, y in (a, b):
                draw.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=fill)


def _draw_head(draw: ImageDraw.ImageDraw, right: Array, left: Array, pixel: int, halo: Colour | None) -> None:
    """A head's outline, 1.3 times as high as it is wide from ear to ear."""
    half = float(np.linalg.norm(left - right)) / 2
    x, y = (left + right) / 2
    for colour, more in [*([(halo, pixel)] if halo is not None else []), (COLOURS["body"], 0)]:
        wide, high = half + more / 2, 1.3 * half + more / 2
        draw.ellipse([x - wide, y - high, x + wide, y + high], outline=colour, width=2 * pixel + more)
