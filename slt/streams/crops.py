"""The stream of RGB squares: a face or a hand, packed or one JPEG a frame, whichever its folder holds.

T frames, n of them chosen, R crop side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.streams.arrays import check_marks, read_marks
from slt.streams.packed import PackedCrops, decode_jpeg, frame_path
from slt.streams.sample import Array, Seen, StreamSpec
from slt.streams.stream import Found, Marks, Say, Stored, list_clips, not_pictured, some

# DataLoader workers are the parallelism here: OpenCV's own threads only get in their way (and do not survive a fork).
cv2.setNumThreads(0)
LOOKED = 16  # pictures of a clip that are decoded to say in what share of its frames a stream is seen
BLACK = 8  # brightest value of a black picture: what a lossy encoder may make of 0


@dataclass(frozen=True, kw_only=True)
class Crops:
    """A reader of RGB squares.

    Args:
        folder: of the corpus: `face`, `hand_l`, `hand_r`.
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
        side = shape[-1]
        return StreamSpec(name=name, kind="crops", dtype="uint8", shape=tuple(shape), folder=self.folder, size=side)

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        stored = list_clips(root, self.folder, ids, ("packed", "frames"))
        packed = stored.form == "packed"
        return np.array([PackedCrops(stored.file(n)).length if packed else stored.files[n] for n in ids], np.int64)

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return RGB uint8 (n, R, R, 3), and seen (n,)."""
        if clip := self._packed(root, video_id):
            return Seen(resize_crops(clip.frames(index), self.size), clip.seen[index])
        frames = np.zeros((len(index), self.size, self.size, 3), np.uint8)
        for place, t in enumerate(index):
            path = frame_path(root / self.folder, video_id, int(t))
            frames[place] = resize_crops(decode_jpeg(path.read_bytes(), str(path), None)[None], self.size)[0]
        seen = self._marks(root, video_id, index)
        return Seen(frames, np.asarray(frames.any((1, 2, 3))) if seen is None else seen)

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return seen (n,); of single JPEGs without marks `LOOKED` are decoded, evenly spread."""
        if clip := self._packed(root, video_id):
            return np.asarray(clip.seen[index])
        seen = self._marks(root, video_id, index)
        return self.read(root, video_id, index[:: -(-len(index) // LOOKED)]).seen if seen is None else seen

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        if name not in regions[0].crops:
            raise not_pictured(name, "crops", regions)
        taken = [regions[t] for t in index]  # no others: all crops of a long clip would be copied for nothing
        crops = resize_crops(np.stack([one.crops[name] for one in taken]), self.size)
        return Seen(crops, np.array([one.marks[name] for one in taken]) > 0)

    def flip(self, array: Array) -> Array:
        tall = np.ascontiguousarray(array).reshape(-1, self.size, 3)  # one call a clip: 20 times faster than numpy
        return np.asarray(cv2.flip(tall, 1), np.uint8).reshape(array.shape)

    def augment(self, array: Array, rng: np.random.Generator) -> Array:
        """Shift and zoom, then change brightness, contrast and channel gains of (n, R, R, 3)."""
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
        """Return uint8 (n, 3, R, R); normalisation is the backbone's."""
        out = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        out[~seen] = 0
        return out

    def _packed(self, root: Path, video_id: str) -> PackedCrops | None:
        path = root / self.folder / f"{video_id}.safetensors"
        return PackedCrops(path) if path.is_file() else None

    def _marks(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the marks (n,) that a pose file holds for single JPEGs; None where it holds none."""
        path = root / "pose" / f"{video_id}.npz"
        seen = read_marks(path, self.folder)
        if seen is not None and len(seen) <= index.max():
            stated = f"{len(seen)} marks `seen_{self.folder}`, but the clip has frame {index.max()} in {self.folder}/"
            raise ValueError(f"{path}: {stated}; extract it anew")
        return None if seen is None else np.asarray(seen[index])

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
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
    brightest = np.zeros(clip.length, int)
    _look(lambda t: clip.frames(np.array([t]))[0], range(clip.length), brightest, say)
    _say_pictured(path, ~clip.seen & (brightest > BLACK), say)
    return Found(clip.length, int(clip.seen.sum()), clip.size)


def _examine_frames(stored: Stored, video_id: str, seen: Array | None, say: Say) -> Found:
    files = [frame_path(stored.path, video_id, t) for t in range(stored.last[video_id] + 1)]
    length = len(files)
    if seen is not None and len(seen) < length:
        say("marks", f"{files[0]}: {length} frames, but pose/{video_id}.npz has {len(seen)} marks; extract it anew")
        seen = None
    if fault := stored.gap(video_id):
        say("gaps", fault)
    there = [t for t, path in enumerate(files) if path.exists()]
    brightest = np.zeros(length, int)
    sides = _look(lambda t: decode_jpeg(files[t].read_bytes(), str(files[t]), None), there, brightest, say)
    side = next(iter(sides.values()), 0)
    for t in sides:
        if sides[t] != side:
            say("size", f"{files[t]}: crop side {sides[t]}, earlier frames of the clip have {side}; extract it anew")
    nearly = np.flatnonzero((brightest > 0) & (brightest <= BLACK)).tolist()
    if seen is None and nearly:
        say(
            "nearly black",
            f"{files[0]}: {some(nearly)} nearly black, which counts as seen; write 0, or give "
            f"`seen_{stored.path.name}` in pose/{video_id}.npz",
        )
    marks = brightest > 0 if seen is None else seen[:length] > 0
    _say_pictured(files[0], ~marks & (brightest > BLACK), say)
    return Found(length, int(marks.sum()), side)


def _look(
    read: Callable[[int], Array], frames: Iterable[int], brightest: NDArray[np.int64], say: Say
) -> dict[int, int]:
    """Write the brightest value of each frame that can be read into `brightest` (T,), and return the side of each."""
    sides = {}
    for t in frames:
        try:
            frame = read(t)
        except (ValueError, OSError) as error:
            say("unreadable", str(error))
            continue
        sides[t], brightest[t] = len(frame), frame.max()
    return sides


def _say_pictured(path: Path, pictured: NDArray[np.bool_], say: Say) -> None:
    if pictured.any():
        say(
            "not black",
            f"{path}: marked as not seen, but there is a picture in {some(np.flatnonzero(pictured).tolist())}; "
            "expected black: are the marks the wrong way round?",
        )
