"""A clip as the model saw it, in one picture: n frames of every stream, what was not seen left out.

T frames, R crop side, K landmarks, F feature width, H and W the picture's height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

CELL, TALL, GAP, MARGIN, LABEL, HEAT = 72, 84, 2, 6, 78, 30  # pixels
PAPER, INK, ABSENT, STRIPE = (250, 250, 248), (70, 74, 82), (226, 227, 230), (206, 208, 213)
FINE = 3  # a skeleton is drawn this much larger and then reduced: smooth lines

# MediaPipe's body (0-32), then the signer's left hand (33-53) and right hand (54-74).
HEAD = [(6, 5), (5, 4), (1, 2), (2, 3), (9, 10)]  # eyes and mouth; the outline is an ellipse over the ears
TRUNK = [(11, 12), (11, 23), (12, 24), (23, 24)]
ARMS = {"left": [(11, 13), (13, 15)], "right": [(12, 14), (14, 16)]}
PALMS = {"left": [(15, 17), (17, 19), (19, 15), (15, 21)], "right": [(16, 18), (18, 20), (20, 16), (16, 22)]}
FINGERS = [(0, 5), (5, 9), (9, 13), (13, 17), (17, 0)]
FINGERS += [(a, a + 1) for root in (1, 5, 9, 13, 17) for a in range(root, root + 3)] + [(0, 1)]
COLOURS = {"left": (0, 114, 178), "right": (213, 94, 0), "body": (96, 100, 110)}  # told apart by colour-blind eyes too
FIRST_LEFT, FIRST_RIGHT, WITH_HANDS = 33, 54, 75
EARS, BELOW = (8, 7), slice(23, 33)  # hips and legs tell nothing: they may leave the picture

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


def filmstrip(streams: Mapping[str, Any], seen: Mapping[str, Any], *, columns: int) -> Picture:
    """Draws evenly spaced frames of a clip, one row a stream.

    Args:
        streams: name -> crops uint8 (T, 3, R, R) or (T, R, R, 3) RGB; pose (T, K, 3) of x, y, confidence in
            MediaPipe's order, K of 25, 33 or 75; features (T, F). Arrays or CPU tensors, as in a `Sample`.
        seen: name -> bool (T,), True = seen. Other frames are hatched, points of confidence 0 are not drawn.
        columns: frames to show; a shorter clip shows all it has.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: no streams, no frames, streams of different length, or a shape that is none of the three.
    """
    arrays = {name: np.asarray(stream) for name, stream in streams.items()}
    present = {name: _seen(name, array, seen) for name, array in arrays.items()}
    frames = {len(array) for array in arrays.values()}
    if len(frames) != 1 or 0 in frames or columns < 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise ValueError(
            "filmstrip: expected streams of one length, 1 frame or more, and columns of 1 or more, "
            f"got {lengths or 'none'} and columns={columns}"
        )
    length = frames.pop()
    shown = np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int))
    rows = [_numbers(shown)]
    rows += [_labelled(name, _row(name, array, present[name], shown)) for name, array in arrays.items()]
    width = max(row.width for row in rows) + 2 * MARGIN
    strip = Image.new("RGB", (width, sum(row.height + GAP for row in rows) + 2 * MARGIN - GAP), PAPER)
    y = MARGIN
    for row in rows:
        strip.paste(row, (MARGIN, y))
        y += row.height + GAP
    return np.asarray(strip)


def _seen(name: str, array: Array, seen: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    found = np.asarray(seen[name]).astype(bool) if name in seen else np.ones(len(array), dtype=bool)
    if found.shape != (len(array),):
        raise ValueError(f"filmstrip: expected seen marks of {name} of shape ({len(array)},), got {found.shape}")
    return found


def _row(name: str, array: Array, seen: npt.NDArray[np.bool_], shown: npt.NDArray[np.int_]) -> Image.Image:
    if array.ndim == 2:
        return _heat(array, seen, len(shown))
    if array.ndim == 4 and 3 in (array.shape[1], array.shape[-1]):
        crops = array if array.shape[-1] == 3 else np.moveaxis(array, 1, -1)
        cells = [_crop(crops[t]) if seen[t] else _absent(CELL) for t in shown]
    elif array.ndim == 3 and array.shape[-1] == 3:
        window = _window(array, seen)
        cells = [_skeleton(array[t], window) if seen[t] else _absent(TALL) for t in shown]
    else:
        raise ValueError(
            f"filmstrip: expected {name} to be crops (T, 3, R, R), a pose (T, K, 3) or features (T, F), "
            f"got the shape {array.shape}"
        )
    return _side_by_side(cells)


def _side_by_side(cells: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (len(cells) * (CELL + GAP) - GAP, cells[0].height), PAPER)
    for i, cell in enumerate(cells):
        row.paste(cell, (i * (CELL + GAP), 0))
    return row


def _crop(frame: Array) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8)).resize((CELL, CELL), Image.Resampling.LANCZOS)


def _absent(height: int) -> Image.Image:
    cell = Image.new("RGB", (CELL, height), ABSENT)
    draw = ImageDraw.Draw(cell)
    for x in range(-height, CELL, 9):
        draw.line([(x, height), (x + height, 0)], fill=STRIPE, width=2)
    return cell


def _window(pose: Array, seen: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Centre x, centre y and pixels per unit of the clip's upper body and hands."""
    points = pose[seen].astype(float)
    points[:, BELOW, 2] = 0
    points = points[points[..., 2] > 0][:, :2]
    if not len(points):
        return 0.0, 0.0, 1.0
    # A few wild detections must not shrink the signer: 1 % on each side may fall outside.
    low, high = np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0)
    (x, y), (width, height) = (low + high) / 2, 1.15 * np.maximum(high - low, 1e-6)
    return float(x), float(y), float(min(CELL / width, TALL / height))


def _skeleton(pose: Array, window: tuple[float, float, float]) -> Image.Image:
    """One pose (K, 3) in a cell."""
    x, y, scale = window
    places = (pose[:, :2].astype(float) - (x, y)) * scale * FINE + (CELL * FINE / 2, TALL * FINE / 2)
    there = pose[:, 2] > 0
    cell = Image.new("RGB", (CELL * FINE, TALL * FINE), (255, 255, 255))
    draw_skeleton(ImageDraw.Draw(cell), places, there, pixel=FINE, halo=None)
    return cell.resize((CELL, TALL), Image.Resampling.LANCZOS)


def draw_skeleton(
    draw: ImageDraw.ImageDraw,
    places: Array,
    there: npt.NDArray[np.bool_],
    *,
    pixel: int,
    halo: tuple[int, int, int] | None,
) -> None:
    """Draws one pose.

    Args:
        draw: of the picture.
        places: (K, 2) in its pixels.
        there: bool (K,): the points that were detected; others and their bones are not drawn.
        pixel: width of the thinnest line; arms and trunk are twice as wide.
        halo: colour around each line, for a ground that is not white.
    """
    if there[list(EARS)].all():
        _head(draw, places[EARS[0]], places[EARS[1]], pixel, halo)
    strokes = [
        (tuple(places[a]), tuple(places[b]), colour, width * pixel)
        for bones, colour, width in _bones(len(places))
        for a, b in bones
        if there[a] and there[b]
    ]
    passes = [(halo, pixel)] if halo is not None else []
    for ground, more in [*passes, (None, 0)]:
        for a, b, colour, width in strokes:
            fill, thick = ground or colour, width + more
            draw.line([a, b], fill=fill, width=thick, joint="curve")
            for px, py in (a, b):
                draw.ellipse([px - thick / 2, py - thick / 2, px + thick / 2, py + thick / 2], fill=fill)


def _head(draw: ImageDraw.ImageDraw, right: Array, left: Array, pixel: int, halo: tuple[int, int, int] | None) -> None:
    """A head's outline, 1.3 times as high as it is wide from ear to ear."""
    half = float(np.linalg.norm(left - right)) / 2
    x, y = (left + right) / 2
    for colour, more in [*([(halo, pixel)] if halo is not None else []), (COLOURS["body"], 0)]:
        wide, high = half + more / 2, 1.3 * half + more / 2
        draw.ellipse([x - wide, y - high, x + wide, y + high], outline=colour, width=2 * pixel + more)


def _bones(landmarks: int) -> list[tuple[list[tuple[int, int]], tuple[int, int, int], int]]:
    """(pairs of points, colour, width) in the order of drawing; without hand points the body's palms stand in."""
    bones = [(HEAD, COLOURS["body"], 1), (TRUNK, COLOURS["body"], 2)]
    for side, first in (("left", FIRST_LEFT), ("right", FIRST_RIGHT)):
        bones.append((ARMS[side], COLOURS[side], 2))
        hand = [(first + a, first + b) for a, b in FINGERS] if landmarks == WITH_HANDS else PALMS[side]
        bones.append((hand, COLOURS[side], 1))
    return [([pair for pair in pairs if max(pair) < landmarks], colour, width) for pairs, colour, width in bones]


def _heat(features: Array, seen: npt.NDArray[np.bool_], cells: int) -> Image.Image:
    """Features (T, F) over all frames, each feature against its own range in the clip; features downwards."""
    values = features.astype(float)
    seen = seen & np.isfinite(values).all(axis=1)
    heat = np.broadcast_to(np.array(ABSENT, dtype=np.uint8), (len(values), values.shape[1], 3)).copy()
    if seen.any():
        low, high = np.percentile(values[seen], 2, axis=0), np.percentile(values[seen], 98, axis=0)
        scaled = (values[seen] - low) / np.where(high > low, high - low, 1.0)
        heat[seen] = (colormaps["viridis"](scaled.clip(0, 1))[..., :3] * 255).astype(np.uint8)
    size = (cells * (CELL + GAP) - GAP, HEAT)
    return Image.fromarray(heat.swapaxes(0, 1).copy()).resize(size, Image.Resampling.BOX)


def _numbers(shown: npt.NDArray[np.int_]) -> Image.Image:
    """The frame number above each column."""
    row = Image.new("RGB", (LABEL + len(shown) * (CELL + GAP) - GAP, 14), PAPER)
    draw = ImageDraw.Draw(row)
    draw.text((LABEL - 8, 1), "frame", fill=INK, font=ImageFont.load_default(11), anchor="ra")
    for i, t in enumerate(shown):
        place = (LABEL + i * (CELL + GAP) + CELL // 2, 1)
        draw.text(place, str(t), fill=INK, font=ImageFont.load_default(11), anchor="ma")
    return row


def _labelled(name: str, row: Image.Image) -> Image.Image:
    out = Image.new("RGB", (LABEL + row.width, row.height), PAPER)
    text = name.replace("_", " ")
    ImageDraw.Draw(out).text((LABEL - 8, row.height // 2), text, fill=INK, font=ImageFont.load_default(12), anchor="rm")
    out.paste(row, (LABEL, 0))
    return out
