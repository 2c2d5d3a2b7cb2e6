"""The streams of a clip, one reader a folder: crops, landmarks and features from disk to arrays.

T frames, n of them chosen, R crop side, K landmarks, F feature width.

A reader knows a folder and its form and holds no clips, so that one serves every split. A new kind of stream is one
more class with the methods of `Stream` and its name in YAML.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slt.streams.arrays import open_features, pose_shape, read_marks, read_pose
from slt.streams.frames import Seen, choose_pose, finish_crops, finish_features, finish_pose, resize_crops
from slt.streams.packed import PackedCrops, decode_jpeg, frame_path, parse_frame_name
from slt.streams.pose import POINTS, check_points, mirror_order

# DataLoader workers are the parallelism here: OpenCV's own threads only get in their way (and do not survive a fork).
cv2.setNumThreads(0)
LOOKED = 16  # pictures of a clip that are decoded to say in what share of its frames a stream is seen


class Stream(Protocol):
    """What the dataset asks of a stream; n frames are chosen of a clip's T by an index array (n,)."""

    folder: str
    mirror: str | None

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the frames of each clip, int64 (N,), from one listing of the folder; raise if a clip has no file."""

    def length(self, root: Path, video_id: str) -> int:
        """Return the frames T of one clip from a header or a directory."""

    def files(self, root: Path, video_id: str) -> list[Path]:
        """Return the files that hold the clip."""

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return the frames of `index` (n,) in its order."""

    def flip(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return (n, ...) as a signer of the other handedness would have it."""

    def augment(self, array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return (n, ...) changed at random, one draw for the whole clip."""

    def finish(self, array: NDArray[Any], seen: NDArray[np.bool_]) -> Tensor:
        """Return (n, ...) as the tensor of a `Sample`, zero where `seen` (n,) is False, so that it cannot matter."""


class Crops:
    """RGB squares, packed or one JPEG a frame, whichever the folder holds.

    Args:
        folder: under the dataset's root: `face`, `hand_l`, `hand_r`.
        size: crop side R that is given out; crops stored at another size are resized by area.
        jitter: greatest random shift and zoom, as a share of the side; 0 = none.
        colour: greatest random change of brightness, contrast and each channel's gain, as a share; 0 = none.
        mirror: the stream that this one becomes in a mirrored signer (`right_hand` for `left_hand`); None = itself.
    """

    def __init__(self, *, folder: str, size: int, jitter: float, colour: float, mirror: str | None = None) -> None:
        if size < 1 or not 0 <= jitter < 1 or not 0 <= colour < 1:
            raise ValueError(
                f"crops of {folder!r}: size must be at least 1, jitter and colour in [0, 1), came size={size}, "
                f"jitter={jitter}, colour={colour}"
            )
        self.folder, self.size, self.jitter, self.colour, self.mirror = folder, size, jitter, colour, mirror
        self._packed: dict[str, bool] = {}  # by root: the form is found out once, not guessed clip by clip

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """See `Stream`; raises ValueError for a gap in the frame numbers or both forms in one folder."""
        folder, wanted = _listed(root, self.folder), set(ids)
        packed: set[str] = set()
        last: dict[str, int] = {}
        count: dict[str, int] = {}
        for file in _names(folder):
            if file.endswith(".safetensors"):
                packed.add(file.removesuffix(".safetensors"))
            elif (frame := parse_frame_name(file)) and frame[0] in wanted:
                name, t = frame
                count[name] = count.get(name, 0) + 1
                last[name] = max(last.get(name, 0), t)
        if packed and count:
            raise ValueError(
                f"{folder}: holds packed clips ({min(packed)}.safetensors) and single frames "
                f"({min(count)}_f000000.jpg); "
                "keep one form in a folder"
            )
        _check_present(folder, ids, packed or count.keys(), "{0}.safetensors or {0}_f000000.jpg ...")
        self._packed[str(root)] = bool(packed)
        if packed:
            return np.array([PackedCrops(folder / f"{name}.safetensors").length for name in ids], np.int64)
        for name in ids:
            if last[name] + 1 != count[name]:
                self._raise_gap(folder, name, last[name])
        return np.array([count[name] for name in ids], np.int64)

    @staticmethod
    def _raise_gap(folder: Path, name: str, last: int) -> None:
        missing = [t for t in range(last) if not frame_path(folder, name, t).exists()]
        raise ValueError(
            f"{frame_path(folder, name, missing[0])}: no such frame, but the clip goes on to frame {last} "
            f"({len(missing)} missing); frames are consecutive from zero: extract the clip anew, and write a crop that "
            "was not seen black"
        )

    def is_packed(self, root: Path) -> bool:
        """Return whether the folder holds packed clips, found out at the first call for this root."""
        if str(root) not in self._packed:
            names = list(_names(_listed(root, self.folder)))
            self._packed[str(root)] = any(name.endswith(".safetensors") for name in names)
        return self._packed[str(root)]

    def length(self, root: Path, video_id: str) -> int:
        """See `Stream`."""
        if self.is_packed(root):
            return PackedCrops(root / self.folder / f"{video_id}.safetensors").length
        return int(self.lengths(root, [video_id])[0])

    def files(self, root: Path, video_id: str) -> list[Path]:
        """See `Stream`."""
        folder = root / self.folder
        if self.is_packed(root):
            return [folder / f"{video_id}.safetensors"]
        return [frame_path(folder, video_id, t) for t in range(self.length(root, video_id))]

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return RGB uint8 (n, R, R, 3) and seen (n,); raises ValueError for a picture that is none or cut short."""
        if self.is_packed(root):
            clip = PackedCrops(root / self.folder / f"{video_id}.safetensors")
            return Seen(resize_crops(clip.frames(index), self.size), clip.seen[index])
        frames = np.zeros((len(index), self.size, self.size, 3), np.uint8)
        for place, t in enumerate(index):
            path = frame_path(root / self.folder, video_id, int(t))
            frames[place] = resize_crops(decode_jpeg(path.read_bytes(), str(path), None)[None], self.size)[0]
        seen = self._marks(root, video_id, index)
        return Seen(frames, np.asarray(frames.any((1, 2, 3))) if seen is None else seen)

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return seen (n,) without a picture; of single JPEGs without marks `LOOKED` are decoded, evenly spread."""
        if self.is_packed(root):
            return np.asarray(PackedCrops(root / self.folder / f"{video_id}.safetensors").seen[index])
        seen = self._marks(root, video_id, index)
        return self.read(root, video_id, index[:: -(-len(index) // LOOKED)]).seen if seen is None else seen

    def _marks(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the marks (n,) that a pose file holds for single JPEGs; None where it holds none."""
        seen = read_marks(root / "pose" / f"{video_id}.npz", self.folder)
        if seen is None:
            return None
        if len(seen) <= index.max():
            raise ValueError(
                f"{root / 'pose' / video_id}.npz: {len(seen)} marks `seen_{self.folder}`, but the clip has frame "
                f"{index.max()} in {self.folder}/; extract it anew"
            )
        return np.asarray(seen[index])

    def flip(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (n, R, R, 3) with left and right exchanged."""
        tall = np.ascontiguousarray(array).reshape(
            -1, self.size, 3
        )  # one call for the clip: 20 times faster than numpy
        return np.asarray(cv2.flip(tall, 1), np.uint8).reshape(array.shape)

    def augment(self, array: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Shift and zoom, then brightness, contrast and channel gains: one draw a clip, (n, R, R, 3) -> the same."""
        shift, zoom, gain, brightness = (
            rng.uniform(-1, 1, 2),
            rng.uniform(-1, 1),
            rng.uniform(-1, 1, 4),
            rng.uniform(-1, 1),
        )
        if self.jitter:
            scale = 1 + self.jitter * zoom
            middle = (self.size - 1) / 2
            offset = middle * (1 - scale) + self.jitter * self.size * shift
            matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
            moved = np.empty_like(array)
            for frame, out in zip(array, moved, strict=True):
                cv2.warpAffine(frame, matrix, (self.size, self.size), dst=out, borderMode=cv2.BORDER_REPLICATE)
            array = moved
        if self.colour:
            contrast = (1 + self.colour * gain[3]) * (1 + self.colour * gain[:3])
            levels = (np.arange(256)[:, None] - 128) * contrast + 128 + 128 * self.colour * brightness
            table = levels.clip(0, 255).astype(np.uint8).reshape(1, 256, 3)
            array = np.asarray(cv2.LUT(array.reshape(-1, self.size, 3), table), np.uint8).reshape(array.shape)
        return array

    def finish(self, array: NDArray[np.uint8], seen: NDArray[np.bool_]) -> Tensor:
        """Return uint8 (n, 3, R, R); normalisation is the backbone's."""
        return torch.from_numpy(finish_crops(array, seen))


class Landmarks:
    """The pose, centred on the shoulders and scaled by their width (`slt.streams.pose.centre_on_shoulders`).

    A frame is seen when both shoulders are; a point that was not detected is x = y = confidence = 0.

    Args:
        folder: under the dataset's root: `pose`.
        points: `body` (33), `upper_body` (25) or `body_hands` (75).
        jitter: greatest random zoom (share), turn (radians) and shift (shoulder widths); 0 = none.
        noise: standard deviation of the noise on each point, in shoulder widths; 0 = none.
        mirror: as in `Crops`.
    """

    def __init__(self, *, folder: str, points: str, jitter: float, noise: float, mirror: str | None = None) -> None:
        if points not in POINTS:
            raise ValueError(f"landmarks of {folder!r}: points must be one of {', '.join(POINTS)}, came {points!r}")
        if not 0 <= jitter < 1 or noise < 0:
            raise ValueError(f"landmarks of {folder!r}: 0 <= jitter < 1 and noise >= 0, came {jitter} and {noise}")
        self.folder, self.points, self.jitter, self.noise, self.mirror = folder, points, jitter, noise, mirror

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """See `Stream`."""
        folder = _listed(root, self.folder)
        _check_present(folder, ids, _stems(folder, ".npz"), "{0}.npz")
        return np.array([self.length(root, name) for name in ids], np.int64)

    def length(self, root: Path, video_id: str) -> int:
        """See `Stream`; checks the number of landmarks too."""
        path = root / self.folder / f"{video_id}.npz"
        frames, landmarks = pose_shape(path)
        check_points(self.points, landmarks, str(path))
        return frames

    def files(self, root: Path, video_id: str) -> list[Path]:
        """See `Stream`."""
        return [root / self.folder / f"{video_id}.npz"]

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return float32 (n, K, 3) in shoulder widths, and seen (n,)."""
        path = root / self.folder / f"{video_id}.npz"
        clip = read_pose(path)
        check_points(self.points, clip.points.shape[1], str(path))
        return choose_pose(clip.points, clip.size, self.points, index)

    def flip(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, K, 3) with x negated and the sides of the body exchanged."""
        out = array[:, mirror_order(array.shape[1])]
        out[..., 0] *= -1
        return out

    def augment(self, array: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Zoom, turn and shift the clip, and move each point a little: (n, K, 3) -> the same."""
        zoom, turn, shift = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(-1, 1, 2)
        out = array.copy()
        if self.jitter:
            angle = self.jitter * turn
            matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
            out[..., :2] = out[..., :2] @ (matrix * np.float32(1 + self.jitter * zoom))
            out[..., :2] += (self.jitter * shift).astype(np.float32)
        if self.noise:
            out[..., :2] += np.float32(self.noise) * rng.standard_normal(out[..., :2].shape, np.float32)
        return out

    def finish(self, array: NDArray[np.float32], seen: NDArray[np.bool_]) -> Tensor:
        """Return float32 (n, K, 3), zero for every point and frame that was not seen."""
        return torch.from_numpy(finish_pose(array, seen))


class Features:
    """Features that somebody computed before: `<folder>/<id>.npy` of (T, F), mapped and not copied.

    Args:
        folder: under the dataset's root.
    """

    mirror = None

    def __init__(self, *, folder: str) -> None:
        self.folder = folder

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """See `Stream`; raises ValueError where clips differ in F."""
        folder = _listed(root, self.folder)
        _check_present(folder, ids, _stems(folder, ".npy"), "{0}.npy")
        shapes = np.array([open_features(folder / f"{name}.npy").shape for name in ids], np.int64)
        other = np.flatnonzero(shapes[:, 1] != shapes[0, 1])
        if len(other):
            raise ValueError(
                f"{folder / ids[other[0]]}.npy: {shapes[other[0], 1]} features a frame, but {ids[0]}.npy has "
                f"{shapes[0, 1]}; all clips of a stream have the same F"
            )
        return shapes[:, 0]

    def length(self, root: Path, video_id: str) -> int:
        """See `Stream`."""
        return len(open_features(root / self.folder / f"{video_id}.npy"))

    def files(self, root: Path, video_id: str) -> list[Path]:
        """See `Stream`."""
        return [root / self.folder / f"{video_id}.npy"]

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return (n, F) in the stored type and seen (n,); a row of NaN is not seen, half a row of NaN is an error."""
        path = root / self.folder / f"{video_id}.npy"
        features = open_features(path)
        whole = len(index) == len(features) and np.array_equal(index, np.arange(len(features)))
        array = features if whole else features[index]
        finite = np.isfinite(array)
        seen = finite.any(1)
        if (broken := np.flatnonzero(seen & ~finite.all(1))).size:
            raise ValueError(
                f"{path}: NaN or infinity in part of frame {index[broken[0]]}; "
                "a frame that was not seen is NaN as a whole"
            )
        return Seen(array, seen)

    def flip(self, array: NDArray[Any]) -> NDArray[Any]:
        """Raise ValueError: what features would be of a mirrored signer cannot be known."""
        raise ValueError(f"features of {self.folder!r} cannot be mirrored; set augment.mirror=0")

    def augment(self, array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return (n, F) as it is."""
        return array

    def finish(self, array: NDArray[Any], seen: NDArray[np.bool_]) -> Tensor:
        """Return float32 (n, F); the mapped file itself where it is float32 and all was seen."""
        return torch.from_numpy(finish_features(array, seen))


def read_seen(reader: Stream, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return in which frames of `index` (n,) a stream is seen, (n,), without decoding pictures where marks say it."""
    if isinstance(reader, Crops):
        return reader.read_seen(root, video_id, index)
    return reader.read(root, video_id, index).seen


def _listed(root: Path, folder: str) -> Path:
    if not (root / folder).is_dir():
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        raise FileNotFoundError(f"{root / folder}: no such folder of a stream; {root} holds the folders {there}")
    return root / folder


def _stems(folder: Path, suffix: str) -> set[str]:
    return {name.removesuffix(suffix) for name in _names(folder) if name.endswith(suffix)}


def _names(folder: Path) -> Iterator[str]:
    """Yield the names in a folder one by one: a corpus of single frames has millions."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _check_present(folder: Path, ids: Sequence[str], present: Any, names: str) -> None:
    missing = [name for name in ids if name not in present]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of the {len(ids)} clips of the split have no file here, the first is "
            f"{missing[0]!r}; expected {names.format(missing[0])}; extract it or take it out of the index"
        )
