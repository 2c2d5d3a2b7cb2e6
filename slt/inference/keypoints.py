"""Key points that came without a film, as the frames of one: T frames, K points of a skeleton."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.regions import STREAMS, Regions
from slt.streams.arrays import pose_faults
from slt.streams.pose import DETECTED, NOT_SEEN
from slt.streams.pose_format import as_shares, range_fault, read_pose_format
from slt.streams.sample import StreamSpec
from slt.streams.skeleton import MEDIAPIPE, Skeleton, find_skeleton
from slt.streams.skeletons import places_in, take_points

NAME = "key points"


def keypoint_frames(points: NDArray[Any], *, fps: float, skeleton: str | None, size: tuple[int, int]) -> list[Regions]:
    """Return the frames of an array of key points.

    Args:
        points: (T, K, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1], 0 = not seen.
        fps: frames a second.
        skeleton: the name of what the K points are.
        size: width and height of the picture, in any unit.

    Raises:
        ValueError: no such skeleton, another shape, or numbers that are no places in a picture.
    """
    if skeleton is None:
        raise ValueError(f"{NAME}: skeleton=NAME expected beside an array, as in skeleton={MEDIAPIPE.name!r}")
    known = find_skeleton(skeleton)
    if points.ndim != 3 or points.shape[1:] != (len(known), 3):
        raise ValueError(
            f"{NAME}: (T, {len(known)}, 3) expected of the skeleton {skeleton}, came {points.shape}; pictures are "
            "(T, H, W, 3)"
        )
    points = points.astype(np.float32)
    for fault in pose_faults(Path(NAME), {"pose": points.reshape(len(points), -1)}):
        raise ValueError(fault)
    if fault := range_fault(points[..., :2], points[..., 2] > 0, (1, 1)):
        raise ValueError(f"{NAME}: {fault}; expected shares of the picture: divide pixels by its width and height")
    return _frames(points, fps=fps, skeleton=known, size=size)


def read_keypoint_frames(path: Path, streams: Sequence[StreamSpec]) -> tuple[list[Regions], float]:
    """Return the frames of a `.pose` file with the points that a model's streams take, and its frames a second."""
    wholes = [find_skeleton(stream.points).whole for stream in streams if stream.points is not None]
    skeleton = max([MEDIAPIPE, *wholes], key=len)
    pixels, size, fps, _ = read_pose_format(path, skeleton)
    return _frames(as_shares(pixels, size, str(path)), fps=fps, skeleton=skeleton, size=size), fps


def _frames(points: NDArray[np.float32], *, fps: float, skeleton: Skeleton, size: tuple[int, int]) -> list[Regions]:
    """Return frames whose MediaPipe points, by which signing is told from rest, are those of the same place."""
    usual = points if skeleton.name == MEDIAPIPE.name else take_points(points, places_in(skeleton), 0)
    boxes = dict.fromkeys(STREAMS, np.full(3, np.nan))
    frames = []
    for n, (some, every) in enumerate(zip(usual, points, strict=True)):
        marks = {name: DETECTED if some[part, 2].any() else NOT_SEEN for name, part in STREAMS.items()}
        frames.append(Regions(n / fps, some, {}, marks, boxes, size, whole=every, skeleton=skeleton.name))
    return frames
