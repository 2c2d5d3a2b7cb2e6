"""Poses without film: LSA-T's key points, .pose files and OpenPose's to the pose stream, and the pose stream to .pose.

T frames, 75 points: 33 of the body, 21 of the left and 21 of the right hand, in MediaPipe's order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.openpose import is_clip, read_people
from slt.extraction.source import Source
from slt.extraction.video import END_ROOM
from slt.streams.pose import BODY, HAND, range_fault
from slt.streams.skeletons import BODY_NAMES, missing_points, place_components, take_points
from slt.text import plain_name

# In a row of LSA-T's keypoints.h5, each point with x, y, z and confidence. The right hand comes before the left.
FACE = 468
LSA_T_POINTS = BODY + FACE + 2 * HAND
LSA_T_SIZE = (1920, 1080)  # of the films from which they were taken
COMPONENTS = {"POSE_LANDMARKS": BODY, "LEFT_HAND_LANDMARKS": HAND, "RIGHT_HAND_LANDMARKS": HAND}


@dataclass(frozen=True)
class PoseOnly:
    """The pose of a clip whose film is not here.

    Attributes:
        points: float32 (T, 75, 3): x, y as shares of the picture's width and height, confidence in [0, 1]. A point
            outside the picture keeps its place and has confidence 0, as from a film; one that is missing is all 0.
        size: the picture's width and height in pixels.
        fps: frames a second.
        missing: names of the points that the file's skeleton does not have, as `missing_points` gives them.
        people: most people in a frame.
    """

    points: NDArray[np.float32]
    size: tuple[int, int]
    fps: float
    missing: Sequence[str] = ()
    people: int = 1


def read_keypoints(source: Source) -> PoseOnly:
    """Read the pose of a clip from LSA-T's keypoints.h5, a .pose file or OpenPose's .json files (`openpose`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, no such clip or signer in it, an unknown skeleton, several people in a .pose file,
            points that cannot be pixels of the picture, or a cut of no length or past the end.
        ModuleNotFoundError: h5py or pose-format is absent.
    """
    if is_clip(source.path):
        return _read_openpose(source)
    if not source.path.is_file():
        raise FileNotFoundError(f"{source.path}: no such file")
    if source.path.suffix.lower() in (".h5", ".hdf5"):
        return _read_h5(source)
    if source.path.suffix.lower() == ".pose":
        return _read_pose(source)
    raise ValueError(f"{source.path}: key points are read from .h5 and .pose files, and from OpenPose's .json")


# ---------------------------------------------------------------- LSA-T's keypoints.h5


def clip_names(path: Path | str) -> list[str]:
    """Return the ids of the clips in LSA-T's keypoints.h5, whose groups are named `<id>.mp4`."""
    with _h5(Path(path)) as file:
        return [name.removesuffix(".mp4") for name in file]


def _read_h5(source: Source) -> PoseOnly:
    with _h5(source.path) as file:
        where = f"{source.path}: {source.video_id}.mp4"
        clip = file.get(f"{source.video_id}.mp4")
        if clip is None:  # perhaps its name is spelled in another way
            clip = next((file[name] for name in file if plain_name(name) == f"{source.video_id}.mp4"), None)
        if clip is None:
            raise ValueError(f"{where}: no such clip among the {len(file)} in this file")
        signer = clip.get(f"signer_{source.person}")
        if signer is None or "keypoints" not in signer:
            raise ValueError(f"{where}: no key points of signer_{source.person}, only of {sorted(clip)}")
        rows = np.asarray(signer["keypoints"])
        size = int(clip.attrs.get("width", LSA_T_SIZE[0])), int(clip.attrs.get("height", LSA_T_SIZE[1]))
    if rows.ndim != 2 or rows.shape[1] != 4 * LSA_T_POINTS or not len(rows) or rows.dtype.kind != "f":
        raise ValueError(
            f"{where}/signer_{source.person}: key points must be (T, {4 * LSA_T_POINTS}) = 4 x ({BODY} of the body + "
            f"{FACE} of the face + 2 x {HAND} of the hands), came {rows.dtype} {rows.shape}"
        )
    if source.start is None or source.end is None or source.end <= source.start:
        raise ValueError(f"{where}: start and end of the clip are needed to know its rate, came {source.row}")
    values = rows.astype(np.float32).reshape(len(rows), LSA_T_POINTS, 4)
    right, left = slice(BODY + FACE, BODY + FACE + HAND), slice(BODY + FACE + HAND, LSA_T_POINTS)
    found = np.concatenate([values[:, :BODY], values[:, left], values[:, right]], axis=1)
    # Hands have no confidence of their own: they are there or they are not.
    confidence = found[..., 3]
    confidence[:, BODY:] = np.isfinite(found[:, BODY:, :2]).all(-1)
    points = _shares(found[..., :2], confidence, size, f"{where}/signer_{source.person}")
    return PoseOnly(points, size, len(rows) / (source.end - source.start))


@contextmanager
def _h5(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'reading {path.name} needs h5py: pip install "slt[media]" ({error})') from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file that can be read ({error}); copy it again") from error
    with file:
        try:
            yield file
        except (
            OSError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            MemoryError,
        ) as error:  # as h5py says damage
            raise ValueError(f"{path}: a damaged HDF5 file ({error}); copy it again") from error


def _shares(places: NDArray[Any], confidence: NDArray[Any], size: tuple[int, int], where: str) -> NDArray[np.float32]:
    """Return float32 (T, 75, 3) from pixels (T, 75, 2) and confidence (T, 75), NaN where a point is missing."""
    there = np.isfinite(places).all(-1) & np.isfinite(confidence)
    if fault := range_fault(places, there & (np.nan_to_num(confidence) > 0), size):
        raise ValueError(
            f"{where}: {fault}. Most likely the key points were normalised before they were saved: save them in "
            "pixels, without normalisation; if they are pixels, mend the size that the file or its key states"
        )
    shares = np.where(there[..., None], places, 0) / np.asarray(size, np.float64)
    inside = ((shares >= 0) & (shares <= 1)).all(-1)
    sure = np.where(there & inside, np.nan_to_num(confidence), 0).clip(0, 1)
    return np.concatenate([shares, sure[..., None]], axis=-1).astype(np.float32)


# ---------------------------------------------------------------- .pose


def _read_pose(source: Source) -> PoseOnly:
    pose = _load(source.path)
    header, body = pose.header, pose.body
    where = str(source.path)
    size, fps = (header.dimensions.width, header.dimensions.height), float(body.fps)
    if min(size) < 1 or not 0 < fps < math.inf:
        raise ValueError(f"{where}: a picture of {size[0]} x {size[1]} at {fps} frames/s; both must be above 0")
    if body.data.shape[1] != 1:
        raise ValueError(
            f"{where}: one person expected, came {body.data.shape[1]}; which of them signs is not in a file"
        )
    columns = place_components(header.components, where)
    places = take_points(np.ma.getdata(body.data)[:, 0, :, :2], columns, np.nan)
    # Confidence is 0 where the library masks a point.
    sure = take_points(np.ma.getdata(body.confidence)[:, 0, :, None], columns, 0)[..., 0]
    first, last = _frames_of(source, len(body.data), fps)
    points = _shares(places, sure, size, where)
    return PoseOnly(points[first:last], size, fps, missing_points(columns))


def _read_openpose(source: Source) -> PoseOnly:
    if source.size is None or source.fps is None:
        raise ValueError(f"{source.path}: OpenPose's .json files say neither the picture's size nor the frame rate")
    pixels, people, columns = read_people(source.path)
    first, last = _frames_of(source, len(pixels), source.fps)
    points = _shares(pixels[..., :2], pixels[..., 2], source.size, str(source.path))
    return PoseOnly(points[first:last], source.size, source.fps, missing_points(columns), people)


def _frames_of(source: Source, frames: int, fps: float) -> tuple[int, int]:
    """Return the first frame of a cut and the one after its last; a cut may end past the file's end by `END_ROOM`."""
    start, end = source.start or 0.0, frames / fps if source.end is None else source.end
    first, last = round(start * fps), min(round(end * fps), frames)
    if start < 0 or last <= first or end > frames / fps + max(END_ROOM, 0.5 / fps):
        raise ValueError(
            f"{source.path}: a cut from {start:g} s to {end:g} s in a pose of {frames / fps:.2f} s; mend its times"
        )
    return first, last


def _load(path: Path) -> Any:
    try:
        from pose_format import Pose
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'.pose files need pose-format: pip install "slt[media]" ({error})') from error
    data = path.read_bytes()
    # The library takes any four bytes for a version and any next two for a width, and reads on.
    version = struct.unpack("<f", data[:4])[0] if len(data) > 4 else -1
    if round(version, 3) not in (0, 0.1, 0.2):
        raise ValueError(f"{path}: not a .pose file (version {version:g}; 0, 0.1 or 0.2 expected)")
    try:
        pose = Pose.read(data)
    except (ValueError, TypeError, IndexError, struct.error, OverflowError, MemoryError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a .pose file that can be read ({error}); copy it again") from error
    if not len(pose.body.data):
        raise ValueError(f"{path}: a .pose file without frames; remove it or write it anew")
    return pose


def write_pose_format(
    path: Path | str,
    points: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    *,
    size: tuple[int, int],
    fps: float,
    frames: int | None = None,
) -> None:
    """Write a .pose file (version 0.2, one person) that viewers take for MediaPipe Holistic's body and hands.

    The header is the library's. The body is written here, for the library wants the clip whole and holds it several
    times, and a film of any length has to fit.

    Args:
        path: the file.
        points: float32 (T, 75, 3), x, y as shares of the picture, confidence; or blocks (n, 75, 3) of it in order.
        size: the picture's width and height in pixels.
        fps: frames a second.
        frames: T, where blocks are given.

    Raises:
        ValueError: another shape, or another number of frames than T.
        ModuleNotFoundError: pose-format is absent.
    """
    if isinstance(points, np.ndarray):
        points, frames = [points], len(points)
    if not frames:
        raise ValueError(f"{path}: a pose of no frames, or blocks without their number of `frames`; came {frames}")
    scale = np.asarray(size, np.float32)
    with Path(path).open("wb") as file:
        _header(size).write(file)
        file.write(struct.pack("<fIH", fps, frames, 1))
        start, done, count = file.tell(), 0, sum(COMPONENTS.values())
        for block in points:
            if block.shape[1:] != (count, 3):
                raise ValueError(f"{path}: blocks of (n, {count}, 3) expected, came {block.shape}")
            # All places come first and all confidences after them.
            file.seek(start + done * count * 2 * 4)
            file.write((block[..., :2] * scale).astype("<f4").tobytes())
            file.seek(start + (frames * 2 + done) * count * 4)
            file.write(block[..., 2].astype("<f4").tobytes())
            done += len(block)
        if done != frames:
            raise ValueError(f"{path}: {frames} frames expected, came {done}")


# fmt: off
BODY_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 23), (12, 24), (23, 24),
    *((point, point + 2) for point in (*range(11, 17), *range(23, 31))),
    (15, 19), (16, 20), (15, 21), (16, 22), (17, 19), (18, 20), (27, 31), (28, 32),
)
FINGERS = ("THUMB", "INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
# fmt: on


def _header(size: tuple[int, int]) -> Any:
    """Return a header with the names of points that MediaPipe Holistic has, and limbs and colours to draw it with.

    Spelled out here, for pose-format takes them from a part of MediaPipe that newer releases are without.
    """
    try:
        from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'.pose files need pose-format: pip install "slt[media]" ({error})') from error
    joints = dict.fromkeys(FINGERS, ("MCP", "PIP", "DIP", "TIP")) | {"THUMB": ("CMC", "MCP", "IP", "TIP")}
    names = ["WRIST", *(f"{finger}_{joint}" for finger in FINGERS for joint in joints[finger])]
    bones = [(point, point + 1) for first in range(1, HAND, 4) for point in range(first, first + 3)]
    palm = [(0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17)]
    fingers = [(192, 0, 0), (192, 192, 0), (0, 192, 0), (0, 192, 192), (0, 0, 192)]
    colours = [(128, 128, 128), *(colour for colour in fingers for _ in range(4))]
    components = [PoseHeaderComponent("POSE_LANDMARKS", list(BODY_NAMES), list(BODY_LIMBS), [(255, 0, 0)], "XYC")]
    for side in ("LEFT", "RIGHT"):
        components.append(PoseHeaderComponent(f"{side}_HAND_LANDMARKS", names, bones + palm, colours, "XYC"))
    return PoseHeader(0.2, PoseHeaderDimensions(*size), components)
