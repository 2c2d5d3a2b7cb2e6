"""What is done to a clip's frames before a model sees them, in numpy: files and a live camera both go through here.

T frames of a clip, n of them taken, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.streams.pose import POINTS, centre_on_shoulders, shoulders_seen


class Seen(NamedTuple):
    """Frames of a stream: `array` (n, ...) and `seen` bool (n,)."""

    array: NDArray[Any]
    seen: NDArray[np.bool_]


def frame_step(clip_fps: float, fps: float | None) -> float:
    """Return how many frames of a clip at `clip_fps` lie from one taken to the next; a slower clip keeps all (1)."""
    return 1.0 if fps is None else max(1.0, clip_fps / fps)


def frame_index(frames: int, step: float, max_frames: int | None) -> NDArray[np.int64]:
    """Return which of `frames` to take at one every `step`, thinned evenly to `max_frames`: int64 (n,), n > 0."""
    count = max(1, int(np.ceil(frames / step - 1e-6)))
    index = np.floor(np.arange(count) * step + 1e-6).astype(np.int64)
    if max_frames is not None and count > max_frames:
        index = index[((np.arange(max_frames) + 0.5) * count / max_frames).astype(np.int64)]
    return np.asarray(np.minimum(index, frames - 1))


def resize_crops(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return RGB crops (n, R, R, 3) with the side `size`, by area; as they are where they have it."""
    if crops.shape[1] == size:
        return crops
    return np.stack([cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in crops]).astype(np.uint8)


def finish_crops(array: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return crops (n, R, R, 3) as a model takes them: (n, 3, R, R), black where not seen (n,)."""
    out = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    out[~seen] = 0
    return out


def choose_pose(pose: NDArray[np.float32], size: tuple[int, int], points: str, index: NDArray[np.int64]) -> Seen:
    """Return the frames `index` (n,) of a clip's pose, in shoulder widths: float32 (n, K, 3), and seen (n,).

    Args:
        pose: float32 (T, 33 or 75, 3) of the whole clip: x, y in [0, 1] of the picture, confidence.
        size: the picture's width and height.
        points: which landmarks (`slt.streams.pose.POINTS`).
        index: int64 (n,).
    """
    # centred over the whole clip, so that the same frame looks the same whatever other frames were chosen
    return Seen(centre_on_shoulders(pose, size)[index][:, POINTS[points]], shoulders_seen(pose)[index])


def finish_pose(array: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the pose (n, K, 3), zero for every point and frame (n,) that was not seen."""
    there = seen[:, None] & (array[..., 2] > 0)
    return np.where(there[..., None], array, np.float32(0))


def finish_features(array: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return features (n, F) as float32, zero where not seen (n,); what came where it is that already."""
    if not seen.all():
        array = np.where(seen[:, None], array, np.zeros((), array.dtype))
    return array.astype(np.float32, copy=False)
