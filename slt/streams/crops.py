"""The stream of RGB squares: a face or a hand, packed or one JPEG a frame, whichever its folder holds.

T frames, n of them chosen, R crop side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from slt.streams.arrays import check_marks, read_marks
from slt.streams.packed import PackedCrops, decode_jpeg, frame_path
from slt.streams.sample import Array, Seen, StreamSpec
from slt.streams.stream import Found, Marks, Say, Stored, list_clips, some

# DataLoader workers are the parallelism here: OpenCV's own threads only get in their way (and do not survive a fork).
cv2.setNumThreads(0)
LOOKED = 16  # pictures of a clip that are decoded to say in what share of its frames a stream is seen
BLACK = 8  # brightest value of a black picture: what a lossy encoder may make of 0


@dataclass(frozen=True, kw_only=True)
class Crops:
    """A reader of RGB squares.

    Args:
        folder: under the dataset's root: `face`, `hand_l`, `hand_r`.
        size: crop side R that is given out; crops stored at another size are resized by area.
        jitter: greatest random shift and zoom, as a share of the side; 0 = none.
        colour: greatest random change of brightness, contrast and each channel's gain, as a share; 0 = none.
        mirror: the stream that this one becomes in a mirrored signer (`right_hand` for `left_hand`); None = itself.
    """

    folder: str
    size: int
    jitter: float
    colour: float
    mirror: str | None = None

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.jitter < 1 or not 0 <= self.colour < 1:
            raise ValueError(
                f"crops of {self.folder!r}: size must be at least 1, jitter and colour in [0, 1), came "
                f"size={self.size}, jitter={self.jitter}, colour={self.colour}"
            )

    def spec(self, name: str, shape: Sequence[int]) -> StreamSpec:
        """Return what a model reads: uint8 (3, R, R)."""
        return StreamSpec(
            name=name, kind="crops", dtype="uint8", shape=tuple(shape), folder=self.folder, points=None, size=shape[-1]
        )

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the frames of each clip (N,); raises for a gap in the frame numbers or both forms in one folder."""
        stored = list_clips(root, self.folder, ids, ("packed", "frames"))
        packed = stored.form == "packed"
        return np.array([PackedCrops(stored.file(n)).length if packed else stored.files[n] for n in ids], np.int64)

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return RGB uint8 (n, R, R, 3) and seen (n,); raises ValueError for a picture that is none or cut short."""
        if clip := self._packed(root, video_id):
            return Seen(resize_crops(clip.frames(index), self.size), clip.seen[index])
        frames = np.zeros((len(index), self.size, self.size, 3), np.uint8)
        for place, t in enumerate(index):
            path = frame_path(root / self.folder, video_id, int(t))
            frames[place] = resize_crops(decode_jpeg(path.read_bytes(), str(path), None)[None], self.size)[0]
        seen = self._marks(root, video_id, index)
        return Seen(frames, np.asarray(frames.any((1, 2, 3))) if seen is None else seen)

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return seen (n,) without a picture; of single JPEGs without marks `LOOKED` are decoded, evenly spread."""
        if clip := self._packed(root, video_id):
            return np.asarray(clip.seen[index])
        seen = self._marks(root, video_id, index)
        return self.read(root, video_id, index[:: -(-len(index) // LOOKED)]).seen if seen is None else seen

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        """Return RGB uint8 (n, R, R, 3) and seen (n,) of the frames of a camera or film."""
        if name not in regions[0].crops:
            raise ValueError(
                f"stream {name!r} (crops): not made from pictures; of a film or camera there are the crops "
                f"{', '.join(regions[0].crops)} and a pose"
            )
        taken = [regions[t] for t in index]  # no others: all crops of a long clip would be copied for nothing
        crops = resize_crops(np.stack([one.crops[name] for one in taken]), self.size)
        return Seen(crops, np.array([one.marks[name] for one in taken]) > 0)

    def flip(self, array: Array) -> Array:
        """Return (n, R, R, 3) with left and right exchanged."""
        tall = np.ascontiguousarray(array).reshape(-1, self.size, 3)  # one call a clip: 20 times faster than numpy
        return np.asarray(cv2.flip(tall, 1), np.uint8).reshape(array.shape)

    def augment(self, array: Array, rng: np.random.Generator) -> Array:
        """Shift and zoom, then brightness, contrast and channel gains: one draw a clip, (n, R, R, 3) -> the same."""
        shift, zoom = rng.uniform(-1, 1, 2), rng.uniform(-1, 1)
        gain, brightness = rng.uniform(-1, 1, 4), rng.uniform(-1, 1)
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

    def finish(self, array: Array, seen: NDArray[np.bool_]) -> Array:
        """Return uint8 (n, 3, R, R), black where not seen; normalisation is the backbone's."""
        out = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        out[~seen] = 0
        return out

    def _packed(self, root: Path, video_id: str) -> PackedCrops | None:
        path = root / self.folder / f"{video_id}.safetensors"
        return PackedCrops(path) if path.is_file() else None

    def _marks(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the marks (n,) that a pose file holds for single JPEGs; None where it holds none."""
        seen = read_marks(root / "pose" / f"{video_id}.npz", self.folder)
        if seen is not None and len(seen) <= index.max():
            raise ValueError(
                f"{root / 'pose' / video_id}.npz: {len(seen)} marks `seen_{self.folder}`, but the clip has frame "
                f"{index.max()} in {self.folder}/; extract it anew"
            )
        return None if seen is None else np.asarray(seen[index])

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
        """Decode a clip whole and say every fault in it; `marks` are those of its pose file."""
        beside = marks.get(self.folder)
        if stored.form == "packed":
            return _examine_packed(stored.file(video_id), beside, fingerprint, say)
        return _examine_frames(stored, video_id, beside, say)


def resize_crops(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return RGB crops (n, R, R, 3) with the side `size`, by area; as they are where they have it."""
    if crops.shape[1] == size:
        return crops
    return np.stack([cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in crops]).astype(np.uint8)


def _examine_packed(path: Path, beside: Array | None, fingerprint: str, say: Say) -> Found:
    clip = PackedCrops(path)
    check_marks(path, "seen", clip.marks, say)
    if beside is not None and len(beside) == clip.length and (beside != clip.marks).any():
        t = int(np.flatnonzero(beside != clip.marks)[0])
        where = f"pose/{path.stem}.npz {beside[t]}"
        say("marks", f"{path}: `seen` says {clip.marks[t]} of frame {t}, {where}; extract it anew")
    if clip.extractor and fingerprint and clip.extractor != fingerprint:
        stated = f"made by extractor {clip.extractor}, metadata.jsonl says {fingerprint}"
        say("extractor", f"{path}: {stated}; extract it anew")
    pictured = []
    for t in range(clip.length):
        try:
            frame = clip.frames(np.array([t]))[0]
        except (ValueError, IndexError, SafetensorError) as error:
            told = isinstance(error, ValueError)
            say("unreadable", str(error) if told else f"{path} frame {t}: {error}; write it anew")
            continue
        if not clip.seen[t] and frame.max() > BLACK:
            pictured.append(t)
    _say_pictured(path, pictured, say)
    return Found(clip.length, int(clip.seen.sum()), clip.size)


def _examine_frames(stored: Stored, video_id: str, seen: Array | None, say: Say) -> Found:
    first, length = frame_path(stored.path, video_id, 0), stored.last[video_id] + 1
    if seen is not None and len(seen) < length:
        say("marks", f"{first}: {length} frames, but pose/{video_id}.npz has {len(seen)} marks; extract it anew")
        seen = None
    if fault := stored.gap(video_id):
        say("gaps", fault)
    sides: dict[int, int] = {}
    brightest = np.zeros(length, int)
    for t in range(length):
        path = frame_path(stored.path, video_id, t)
        if not path.exists():
            continue
        try:
            frame = decode_jpeg(path.read_bytes(), str(path), None)
        except (ValueError, OSError) as error:
            say("unreadable", str(error))
            continue
        sides[t], brightest[t] = len(frame), frame.max()
        if sides[t] != (side := next(iter(sides.values()))):
            say("size", f"{path}: crop side {sides[t]}, earlier frames of the clip have {side}; extract it anew")
    nearly = np.flatnonzero((brightest > 0) & (brightest <= BLACK)).tolist()
    if seen is None and nearly:
        say(
            "nearly black",
            f"{first}: {some(nearly)} nearly black, which counts as seen; write 0, or give "
            f"`seen_{stored.path.name}` in pose/{video_id}.npz",
        )
    marks = brightest > 0 if seen is None else seen[:length] > 0
    _say_pictured(first, np.flatnonzero(~marks & (brightest > BLACK)).tolist(), say)
    return Found(length, int(marks.sum()), next(iter(sides.values()), 0))


def _say_pictured(path: Path, pictured: list[int], say: Say) -> None:
    if pictured:
        say(
            "not black",
            f"{path}: marked as not seen, but there is a picture in {some(pictured)}; expected black: are the marks "
            "the wrong way round?",
        )
