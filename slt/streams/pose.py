"""The stream of landmarks, read from its files and normalised: T frames, n of them chosen, K landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.streams.arrays import PoseClip, check_marks, pose_arrays, pose_faults, pose_shape, read_pose
from slt.streams.normalise import NORMALISATIONS, moved_together, shoulders_seen
from slt.streams.pose_format import pose_format_length, range_fault, read_pose_clip
from slt.streams.sample import Array, Seen, StreamSpec
from slt.streams.skeleton import MEDIAPIPE, Skeleton, file_skeleton, find_skeleton, spell_out
from slt.streams.stream import Found, Marks, Say, Stored, list_clips

LEFT_SHOULDER, RIGHT_SHOULDER = MEDIAPIPE.centre
# What extraction says of a stream in a frame: its part was found, or its crop followed the arm while it was missed.
NOT_SEEN, DETECTED, FOLLOWED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """A reader of poses; a frame is seen when both shoulders are.

    Args:
        folder: of the corpus: `pose`.
        points: the name of a skeleton or subset, that of its file in a folder `skeleton` (body, upper_body, ...), or
            what such a file holds.
        normalise: shoulders, parts, sign_space, unit or picture, see `slt.streams.normalise`.
        jitter: greatest random zoom (share), turn (radians) and shift (in the normalised pose's unit: shoulder widths);
            0 = none.
        noise: standard deviation of the noise on each point, in that unit; 0 = none.
        mirror: as in `Crops`.
    """

    folder: str
    points: str | Mapping[str, Any]
    normalise: str
    jitter: float
    noise: float
    mirror: str | None = None

    def __post_init__(self) -> None:
        try:
            self.together  # noqa: B018  a fault is said before any file is read
        except ValueError as error:
            raise ValueError(f"landmarks of {self.folder!r}: {error}") from error
        if not 0 <= self.jitter < 1 or self.noise < 0:
            raise ValueError(
                f"landmarks of {self.folder!r}: 0 <= jitter < 1 and noise >= 0, came {self.jitter} and {self.noise}"
            )

    @cached_property
    def skeleton(self) -> Skeleton:
        return find_skeleton(self.points)

    @cached_property
    def together(self) -> NDArray[np.bool_]:
        """Which points (K,) have the origin of the pose, and not one of their own."""
        return moved_together(self.normalise, self.skeleton)

    def spec(self, name: str, shape: Sequence[int]) -> StreamSpec:
        points = spell_out(self.points)
        return StreamSpec(
            name=name, kind="pose", dtype="float32", shape=tuple(shape), folder=self.folder, points=points,
            normalise=self.normalise,
        )  # fmt: skip

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        stored = list_clips(root, self.folder, ids, ("pose", "pose_format"))
        frames = []
        for path in map(stored.file, ids):
            if stored.form == "pose_format":
                frames.append(pose_format_length(path))
                continue
            shape = pose_shape(path)
            self.skeleton.columns(file_skeleton(shape.skeleton, shape.landmarks, str(path)), str(path))
            frames.append(shape.frames)
        return np.array(frames, np.int64)

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return float32 (n, K, 3), normalised, and seen (n,)."""
        path = root / self.folder / f"{video_id}.npz"
        if not path.is_file() and (other := path.with_name(f"{path.name.removesuffix('.npz')}.pose")).is_file():
            path = other
        clip = read_pose_clip(path, self.skeleton) if path.suffix == ".pose" else read_pose(path)
        return self._choose(clip, index, str(path))

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.read(root, video_id, index).seen

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        clip = PoseClip(np.stack([one.pose for one in regions]), regions[0].size, {}, regions[0].skeleton)
        return self._choose(clip, index, f"stream {name!r}")

    def _choose(self, clip: PoseClip, index: NDArray[np.int64], where: str) -> Seen:
        file = file_skeleton(clip.skeleton, clip.points.shape[1], where)
        pose = clip.points[:, self.skeleton.columns(file, where)]
        # over the whole clip, so that the same frame looks the same whatever other frames were chosen
        normalised = NORMALISATIONS[self.normalise](pose, clip.size, self.skeleton)
        return Seen(normalised[index], shoulders_seen(pose, self.skeleton)[index])

    def flip(self, array: Array) -> Array:
        out = array[:, self.skeleton.mirror_order]
        out[..., 0] *= -1
        return out

    def augment(self, array: Array, rng: np.random.Generator) -> Array:
        """Zoom, turn and shift the clip (n, K, 3), and move each point a little."""
        zoom, turn, shift = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(-1, 1, 2)
        out = array.copy()
        if self.jitter:
            angle = self.jitter * turn
            matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
            out[..., :2] = out[..., :2] @ (matrix * np.float32(1 + self.jitter * zoom))
            out[:, self.together, :2] += (self.jitter * shift).astype(np.float32)
        if self.noise:
            out[..., :2] += np.float32(self.noise) * rng.standard_normal(out[..., :2].shape, np.float32)
        return out

    def finish(self, array: Array, seen: NDArray[np.bool_]) -> Array:
        there = seen[:, None] & (array[..., 2] > 0)
        return np.where(there[..., None], array, np.float32(0))

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
        path = stored.file(video_id)
        arrays = pose_arrays(path)
        for fault in pose_faults(path, arrays):
            say("pose", fault)
        for key, values in arrays.items():
            if key.startswith("seen_") and np.ndim(values) == 1:
                check_marks(path, key, values, say)
                marks[key.removeprefix("seen_")] = values
        length, landmarks, stated = pose_shape(path)
        seen = 0
        try:
            file = file_skeleton(stated, landmarks, str(path))
            self.skeleton.columns(file, str(path))
        except ValueError as error:
            say("landmarks", str(error))
        else:
            points = arrays["pose"].reshape(length, landmarks, 3)
            seen = int(shoulders_seen(points, file).sum())
            if fault := range_fault(points[..., :2], np.isfinite(points).all(-1) & (points[..., 2] > 0), (1, 1)):
                say("range", f"{path}: {fault}; expected shares of the picture: divide pixels by its width and height")
        return Found(length, seen, landmarks)
