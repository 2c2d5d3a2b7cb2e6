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

from slt.drawing.skeleton import Array, draw_skeleton
from slt.streams.skeleton import Skeleton

CELL, TALL, GAP, MARGIN, LABEL, HEAT = 72, 84, 2, 6, 78, 30  # pixels
PAPER, INK, ABSENT, STRIPE = (250, 250, 248), (70, 74, 82), (226, 227, 230), (206, 208, 213)
FINE = 3  # a skeleton is drawn this much larger and then reduced: smooth lines
BELOW = {"HIP", "KNEE", "ANKLE", "HEEL", "FOOT"}  # they tell nothing and may leave the picture

Picture = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.bool_]


def filmstrip(
    streams: Mapping[str, Any],
    seen: Mapping[str, Any],
    *,
    columns: int,
    skeletons: Mapping[str, Skeleton] | None = None,
) -> Picture:
    """Draws evenly spaced frames of a clip, one row a stream: uint8 (H, W, 3) RGB.

    Args:
        streams: name -> crops uint8 (T, 3, R, R) or (T, R, R, 3) RGB; pose (T, K, 3) of x, y, confidence;
            features (T, F). Arrays or CPU tensors, as in a `Sample`.
        seen: name -> bool (T,), True = seen. Other frames are hatched, points of confidence 0 are not drawn.
        columns: frames to show; a shorter clip shows all it has.
        skeletons: name of a pose -> what its points are.
    """
    arrays = {name: np.asarray(stream) for name, stream in streams.items()}
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
    for name, array in arrays.items():
        marks = np.asarray(seen[name]).astype(bool) if name in seen else np.ones(length, dtype=bool)
        if marks.shape != (length,):
            raise ValueError(f"filmstrip: expected seen marks of {name} of shape ({length},), got {marks.shape}")
        rows.append(_labelled(name, _row(name, array, marks, shown, (skeletons or {}).get(name))))
    width, height = max(row.width for row in rows), sum(row.height + GAP for row in rows) - GAP
    strip = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    y = MARGIN
    for row in rows:
        strip.paste(row, (MARGIN, y))
        y += row.height + GAP
    return np.asarray(strip)


def hatched(width: int, height: int) -> Image.Image:
    """What stands where something was not seen."""
    cell = Image.new("RGB", (width, height), ABSENT)
    draw = ImageDraw.Draw(cell)
    for x in range(-height, width, 9):
        draw.line([(x, height), (x + height, 0)], fill=STRIPE, width=2)
    return cell


def _row(name: str, array: Array, seen: Marks, shown: npt.NDArray[np.int_], skeleton: Skeleton | None) -> Image.Image:
    if array.ndim == 2:
        return _heat(array, seen, len(shown))
    if array.ndim == 4 and 3 in (array.shape[1], array.shape[-1]):
        crops = array if array.shape[-1] == 3 else np.moveaxis(array, 1, -1)
        return _side_by_side([_crop(crops[t]) if seen[t] else hatched(CELL, CELL) for t in shown])
    if array.ndim == 3 and array.shape[-1] == 3 and skeleton is not None:
        window = _window(array, seen, skeleton)
        return _side_by_side([_pose(array[t], window, skeleton) if seen[t] else hatched(CELL, TALL) for t in shown])
    raise ValueError(
        f"filmstrip: expected {name} to be crops (T, 3, R, R), a pose (T, K, 3) or features (T, F), "
        f"and the skeleton of a pose in `skeletons`, got the shape {array.shape}"
    )


def _side_by_side(cells: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (len(cells) * (CELL + GAP) - GAP, cells[0].height), PAPER)
    for i, cell in enumerate(cells):
        row.paste(cell, (i * (CELL + GAP), 0))
    return row


def _crop(frame: Array) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8)).resize((CELL, CELL), Image.Resampling.LANCZOS)


def _window(pose: Array, seen: Marks, skeleton: Skeleton) -> tuple[float, float, float]:
    """Centre x, centre y and pixels per unit of the clip's upper body and hands."""
    points = pose[seen].astype(float)
    points[:, [bool(BELOW & {*name.split("_")}) for name in skeleton.points], 2] = 0
    points = points[points[..., 2] > 0][:, :2]
    if not len(points):
        return 0.0, 0.0, 1.0
    # A few wild detections must not shrink the signer: 1 % on each side may fall outside.
    low, high = np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0)
    (x, y), (width, height) = (low + high) / 2, 1.15 * np.maximum(high - low, 1e-6)
    return float(x), float(y), float(min(CELL / width, TALL / height))


def _pose(pose: Array, window: tuple[float, float, float], skeleton: Skeleton) -> Image.Image:
    x, y, scale = window
    places = (pose[:, :2].astype(float) - (x, y)) * scale * FINE + (CELL * FINE / 2, TALL * FINE / 2)
    cell = Image.new("RGB", (CELL * FINE, TALL * FINE), (255, 255, 255))
    draw_skeleton(ImageDraw.Draw(cell), places, pose[:, 2] > 0, pixel=FINE, halo=None, skeleton=skeleton)
    return cell.resize((CELL, TALL), Image.Resampling.LANCZOS)


def _heat(features: Array, seen: Marks, cells: int) -> Image.Image:
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
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(11)
    draw.text((LABEL - 8, 1), "frame", fill=INK, font=font, anchor="ra")
    for i, t in enumerate(shown):
        draw.text((LABEL + i * (CELL + GAP) + CELL // 2, 1), str(t), fill=INK, font=font, anchor="ma")
    return row


def _labelled(name: str, row: Image.Image) -> Image.Image:
    out = Image.new("RGB", (LABEL + row.width, row.height), PAPER)
    text = name.replace("_", " ")
    ImageDraw.Draw(out).text((LABEL - 8, row.height // 2), text, fill=INK, font=ImageFont.load_default(12), anchor="rm")
    out.paste(row, (LABEL, 0))
    return out
