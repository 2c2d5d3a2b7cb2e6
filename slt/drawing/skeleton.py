"""One pose on paper or over a film: which points are joined, in which colours, and the strokes (K landmarks)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from slt.streams.skeleton import Skeleton

COLOURS = {"left": (0, 114, 178), "right": (213, 94, 0), "body": (96, 100, 110)}  # told apart by colour-blind eyes too
Colour = tuple[int, int, int]
Array = npt.NDArray[Any]


class Part(NamedTuple):
    """Bones of a part of the body: `head`, `face`, `trunk`, `arm` or `hand`; its side is `left`, `right` or `body`."""

    name: str
    side: str
    bones: list[tuple[int, int]]


def parts(skeleton: Skeleton) -> list[Part]:
    """Bones in the order of drawing, without nose and legs; a hand without points of its own is the body's palm."""
    groups = [("head", "body", "body.head"), ("trunk", "body", "body.trunk")]
    groups += [
        ("face", "body", group) for group, bones in skeleton.edges.items() if group.startswith("face.") and bones
    ]
    for side in ("left", "right"):
        hand = f"{side}_hand"
        groups.append(("arm", side, f"body.{side}_arm"))
        drawn = ("palm", "fingers") if hand in skeleton.parts else ()
        groups += [("hand", side, f"{hand}.{group}") for group in drawn] or [("hand", side, f"body.{side}_palm")]
    return [Part(name, side, [*skeleton.edges.get(group, ())]) for name, side, group in groups]


def draw_skeleton(
    draw: ImageDraw.ImageDraw,
    places: Array,
    there: npt.NDArray[np.bool_],
    *,
    pixel: int,
    halo: Colour | None,
    skeleton: Skeleton,
) -> None:
    """Draws one pose, places (K, 2) in pixels, but for points that are not `there`, bool (K,), and their bones.

    `pixel` is the width of the thinnest line (arms and trunk are twice as wide), `halo` a colour around each line, for
    a ground that is not white.
    """
    ears = [skeleton.points.index(name) for name in ("RIGHT_EAR", "LEFT_EAR") if name in skeleton.points]
    if len(ears) == 2 and there[ears].all() and not skeleton.edges.get("face.contour"):
        _draw_head(draw, places[ears[0]], places[ears[1]], pixel, halo)
    strokes = [
        (tuple(places[a]), tuple(places[b]), COLOURS[part.side], pixel * (2 if part.name in ("trunk", "arm") else 1))
        for part in parts(skeleton)
        for a, b in part.bones
        if there[a] and there[b]
    ]
    for ground, more in [(halo, pixel), (None, 0)] if halo is not None else [(None, 0)]:
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
