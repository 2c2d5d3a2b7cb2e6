"""Poses without film: LSA-T's key points, .pose files and OpenPose's to the pose stream, and that to .pose files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction import lsa_t
from slt.extraction.openpose import is_clip, read_people
from slt.extraction.source import Source
from slt.extraction.video import end_room
from slt.files import existing, needing
from slt.streams.pose_format import as_shares, read_pose_format
from slt.streams.skeleton import BODY, HAND, MEDIAPIPE, Skeleton
from slt.streams.skeletons import missing_points, places_in, take_points

POINTS = BODY + 2 * HAND


@dataclass(frozen=True)
class PoseOnly:
    """The pose of a clip whose film is not here.

    `points` is float32 (T, 75, 3): x, y as shares of the picture, confidence in [0, 1], 0 outside it; missing = all 0.
    """

    points: NDArray[np.float32]
    size: tuple[int, int]  # the picture's width and height in pixels
    fps: float  # frames a second
    missing: Sequence[str] = ()  # points that the file's skeleton does not have, as `missing_points` gives them
    people: int = 1  # most in a frame


def read_keypoints(source: Source) -> PoseOnly:
    """Read the pose of a clip from LSA-T's keypoints.h5, a .pose file or OpenPose's .json files."""
    path = source.path
    pixels: NDArray[Any]
    if is_clip(path):
        assert source.size is not None  # the files say neither; `clip_facts` has asked for them
        assert source.fps is not None
        pixels, people, columns = read_people(path)
        points = _cut(as_shares(pixels, source.size, str(path)), source, source.fps)
        return PoseOnly(points, source.size, source.fps, missing_points(columns), people)
    ending = existing(path, "key points").suffix.lower()
    if ending in (".h5", ".hdf5"):  # a clip's own points: there is nothing to cut
        pixels, size, fps = lsa_t.read_points(source)
        where = f"{path}: {source.video_id}.mp4/signer_{source.person}"
        return PoseOnly(as_shares(pixels, size, where), size, fps)
    if ending != ".pose":
        raise ValueError(f"{path}: key points are read from .h5 and .pose files, and from OpenPose's .json")
    pixels, size, fps, columns = read_pose_format(path)
    return PoseOnly(_cut(as_shares(pixels, size, str(path)), source, fps), size, fps, missing_points(columns))


def _cut(points: NDArray[np.float32], source: Source, fps: float) -> NDArray[np.float32]:
    """Return the frames of a cut, which may end past the file's end by `end_room`."""
    length = len(points) / fps
    start, end = source.start or 0.0, length if source.end is None else source.end
    first, last = round(start * fps), min(round(end * fps), len(points))
    if start < 0 or last <= first or end > length + end_room(fps):
        raise ValueError(
            f"{source.path}: a cut from {start:g} s to {end:g} s of a pose of {length:.2f} s; mend its times"
        )
    return points[first:last]


def write_pose_format(
    path: Path | str,
    blocks: Iterable[NDArray[np.float32]],
    *,
    size: tuple[int, int],
    fps: float,
    frames: int,
    skeleton: Skeleton = MEDIAPIPE,
) -> None:
    """Write a .pose file (version 0.2, one person) that viewers take for MediaPipe Holistic's.

    Blocks are float32 (n, K, 3) of the `skeleton`, `frames` in all, in shares of the picture. Of one that holds
    MediaPipe's body and hands all points are written, its face mesh too, of another those that stand for body and
    hands. The library's writer holds a clip whole.
    """
    whole = {*MEDIAPIPE.points} <= {*skeleton.points}
    shown = skeleton if whole else MEDIAPIPE
    columns = np.arange(len(skeleton)) if whole else places_in(skeleton)
    scale, points = np.asarray(size, np.float32), len(shown)
    with Path(path).open("wb") as file:
        _header(size, shown).write(file)
        file.write(struct.pack("<fIH", fps, frames, 1))
        start, done = file.tell(), 0
        for block in blocks:
            assert block.shape[1:] == (len(skeleton), 3), block.shape
            rows = take_points(block, columns, 0)
            # All places come first and all confidences after them.
            file.seek(start + done * points * 2 * 4)
            file.write((rows[..., :2] * scale).astype("<f4").tobytes())
            file.seek(start + (frames * 2 + done) * points * 4)
            file.write(rows[..., 2].astype("<f4").tobytes())
            done += len(block)
        assert done == frames > 0, (done, frames)


def _limbs(part: str, skeleton: Skeleton) -> list[tuple[int, int]]:
    first = skeleton.parts[part][0]
    groups = [bones for group, bones in skeleton.edges.items() if group.startswith(f"{part}.")]
    return sorted((min(bone) - first, max(bone) - first) for bones in groups for bone in bones)


def _header(size: tuple[int, int], skeleton: Skeleton) -> Any:
    """Return a header as MediaPipe Holistic's, which pose-format takes from a part that newer MediaPipe is without."""
    with needing(".pose files need pose-format", extra="media"):
        from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    fingers = [(192, 0, 0), (192, 192, 0), (0, 192, 0), (0, 192, 192), (0, 0, 192)]
    colours = [(128, 128, 128), *(colour for colour in fingers for _ in range(4))]
    shades = {"body": [(255, 0, 0)], "face": [(128, 0, 0)]}
    components = [
        PoseHeaderComponent(
            "POSE_LANDMARKS" if part == "body" else f"{part.upper()}_LANDMARKS",
            [skeleton.points[place].removeprefix(f"{part.upper()}_") for place in places],
            _limbs(part, skeleton), shades.get(part, colours), "XYC",
        )
        for part, places in skeleton.parts.items()
    ]  # fmt: skip
    return PoseHeader(0.2, PoseHeaderDimensions(*size), components)
