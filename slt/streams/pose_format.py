"""Key points as the signing community keeps them: `.pose` files to MediaPipe's points; T frames, K points."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.files import existing, needing
from slt.streams.arrays import PoseClip
from slt.streams.skeleton import MEDIAPIPE, Skeleton
from slt.streams.skeletons import place_components, take_points

UPPER = 13  # points of head and shoulders, the first of the body
# Key points are none of this picture where more than this share of those of head and shoulders is outside it, or where
# all of them span less than this share of its sides.
MOST_OUTSIDE, LEAST_SPAN = 0.5, 0.05
_DAMAGED = (ValueError, TypeError, IndexError, struct.error, OverflowError, MemoryError, NotImplementedError)


def read_pose_clip(path: Path, skeleton: Skeleton = MEDIAPIPE) -> PoseClip:
    """Read a `.pose` file as `slt.streams.arrays.read_pose` reads the suite's own: the points of a whole skeleton.

    Of body and hands a file may lack points, which are then not there in any frame. ValueError where it lacks one
    of the face that `skeleton`, which may be a subset, takes.
    """
    whole = skeleton.whole
    pixels, size, _, columns = read_pose_format(existing(path, "the key points of a clip"), whole)
    usual = {*MEDIAPIPE.points}
    lacks = [whole.points[place] for place in skeleton.places[columns[skeleton.places] < 0]]
    if faceless := [name for name in lacks if name not in usual]:
        raise ValueError(
            f"{path}: points={skeleton.name} takes {faceless[0]}, which this file does not have ({len(faceless)} such "
            "points); choose points without them"
        )
    return PoseClip(as_shares(pixels, size, str(path)), size, {}, whole.name)


def pose_format_length(path: Path) -> int:
    """Return the frames T of a `.pose` file, by its header where the format says it there."""
    with needing(".pose files need pose-format", extra="media"):
        from pose_format import Pose
        from pose_format.pose_body import EmptyPoseBody
    if not _check_version(path):
        return len(read_pose_format(path)[0])
    try:
        with path.open("rb") as file:
            length = len(Pose.read(file, EmptyPoseBody).body.data)
    except _DAMAGED:
        length = 0
    return length or len(read_pose_format(path)[0])  # which says what is wrong


def _check_version(path: Path) -> float:
    """Return the version of the format: the library takes any four bytes for one, and reads on."""
    with path.open("rb") as file:
        data = file.read(5)
    version: float = round(struct.unpack("<f", data[:4])[0], 3) if len(data) > 4 else -1.0
    if version not in (0, 0.1, 0.2):
        raise ValueError(f"{path}: not a .pose file (version {version:g}; 0, 0.1 or 0.2 expected)")
    return version


def read_pose_format(
    path: Path, skeleton: Skeleton = MEDIAPIPE
) -> tuple[NDArray[np.float32], tuple[int, int], float, NDArray[np.int64]]:
    """Return points float32 (T, K, 3) in pixels, the picture's size, the rate, and which columns the points were."""
    with needing(".pose files need pose-format", extra="media"):
        from pose_format import Pose
    _check_version(path)
    try:
        pose = Pose.read(path.read_bytes())
    except _DAMAGED as error:
        raise ValueError(f"{path}: not a .pose file that can be read ({error}); copy it again") from error
    if not len(pose.body.data):
        raise ValueError(f"{path}: a .pose file without frames; remove it or write it anew")
    size, fps = (pose.header.dimensions.width, pose.header.dimensions.height), float(pose.body.fps)
    if min(size) < 1 or not 0 < fps < math.inf:
        raise ValueError(f"{path}: a picture of {size[0]} x {size[1]} at {fps} frames/s; both must be above 0")
    if (people := pose.body.data.shape[1]) != 1:
        raise ValueError(f"{path}: one person expected, came {people}; which of them signs is not in a file")
    columns = place_components(pose.header.components, str(path), skeleton)
    places = take_points(np.ma.getdata(pose.body.data)[:, 0, :, :2], columns, np.nan)
    # Confidence is 0 where the library masks a point.
    sure = take_points(np.ma.getdata(pose.body.confidence)[:, 0, :, None], columns, 0)
    return np.concatenate([places, sure], axis=-1), size, fps, columns


def as_shares(pixels: NDArray[Any], size: tuple[int, int], where: str) -> NDArray[np.float32]:
    """Return float32 (T, K, 3) from x, y in pixels and confidence (T, K, 3), NaN where a point is missing."""
    places, there = pixels[..., :2], np.isfinite(pixels).all(-1)
    sure = np.where(there, pixels[..., 2], 0)
    if fault := range_fault(places, there & (sure > 0), size):
        raise ValueError(
            f"{where}: {fault}. Most likely the key points were normalised before they were saved: save pixels; if "
            "they are pixels, mend the size that the file or its key states"
        )
    shares = np.where(there[..., None], places, 0) / np.asarray(size, np.float64)
    inside = ((shares >= 0) & (shares <= 1)).all(-1)
    return np.concatenate([shares, np.where(inside, sure, 0).clip(0, 1)[..., None]], axis=-1).astype(np.float32)


def range_fault(places: NDArray[Any], there: NDArray[np.bool_], size: tuple[float, float]) -> str:
    """Return why points x, y (T, K, 2), where found (T, K), cannot be of a picture of this size; "" = they can.

    Whoever signs has head and shoulders in the picture, while legs and resting hands may well be below it.
    """
    found = places[there]
    if not len(found):
        return ""
    upper = places[:, :UPPER][there[:, :UPPER]] if there[:, :UPPER].any() else found
    outside = float(((upper < 0) | (upper > size)).any(-1).mean())
    span = float((np.ptp(found, axis=0) / size).max())
    if outside <= MOST_OUTSIDE and not 0 < span < LEAST_SPAN:
        return ""
    low, high = found.min(0), found.max(0)
    return (
        f"no places in a picture of {size[0]} x {size[1]}: x goes from {low[0]:.4g} to {high[0]:.4g}, y from "
        f"{low[1]:.4g} to {high[1]:.4g}; {outside:.0%} of the points of head and shoulders are outside it, and all "
        f"span {span:.1%} of it"
    )
