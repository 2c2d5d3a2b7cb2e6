"""A clip's regions become files in the LSA-T layout, frame by frame: nothing in memory grows with a picture a frame."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.poses import PoseOnly, write_pose_format
from slt.extraction.records import writing
from slt.extraction.regions import STREAMS, Regions
from slt.streams.arrays import pose_faults, write_pose, write_pose_blocks
from slt.streams.normalise import shoulders_seen
from slt.streams.packed import encode_jpeg, frame_path, parse_frame_name, write_packed_blocks
from slt.streams.pose import FOLLOWED
from slt.streams.skeleton import Skeleton, find_skeleton

# `points` -> the skeleton of the pose stream, as its files state it.
SKELETONS = {
    "body": "body",
    "body_hands": "mediapipe_75",
    "holistic": "mediapipe_543",
    "wholebody": "coco_wholebody_133",
}
POSE_FORMAT = "pose_format"  # the folder of .pose files
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class ClipWriter:
    """Writes clips in the LSA-T layout."""

    out: Path  # the corpus folder
    folders: Mapping[str, str]  # stream -> its folder
    packed: bool  # one file a clip and stream; else one JPEG a frame
    encoding: str  # of packed streams, "jpeg" or "raw"
    quality: int  # of JPEG, 1..100
    points: str  # of the pose: "body" (33), "body_hands" (75), "holistic" (543) or "wholebody" (133)
    pose_format: bool  # also write `pose_format/<id>.pose`, which other tools' viewers open

    def __post_init__(self) -> None:
        streams = {*STREAMS, "pose"}
        names = [*self.folders.values(), POSE_FORMAT, "index"]
        if set(self.folders) != streams or len(set(names)) != len(names):
            raise ValueError(f"folders: one folder for each of {sorted(streams)} expected, came {dict(self.folders)}")

    @property
    def skeleton(self) -> Skeleton:
        """Of the points that the extractor finds; a body is the first of them."""
        return find_skeleton(SKELETONS["body_hands" if self.points == "body" else self.points])

    @property
    def landmarks(self) -> int:
        """How many of them are written."""
        return len(find_skeleton(SKELETONS[self.points]))

    def refuse_other_points(self, found: str) -> None:
        """Refuse to write points of another skeleton than that of the points which an extractor finds."""
        if found != self.skeleton.name:
            fitting = [points for points, skeleton in SKELETONS.items() if skeleton == found]
            raise ValueError(
                f"points={self.points}: the extractor finds {found}; leave points out, or set it to {fitting[0]}"
            )

    @contextmanager
    def clip(self, video_id: str, *, fps: float, scratch: Path, fingerprint: str) -> Iterator[OpenClip]:
        """Take a clip's regions in `scratch`, and put all its files in place where the block ends without an error."""
        with _emptied(scratch / video_id) as folder:
            clip = OpenClip(self, video_id, fps, folder, fingerprint)
            try:
                yield clip
            finally:
                clip.close()
            with writing(self.out):
                clip.finish()
                self._move(folder / "ready")

    def write_pose(self, video_id: str, pose: PoseOnly, *, scratch: Path) -> None:
        """Write a clip of which there is a pose and no film, (T, 75, 3)."""
        with _emptied(scratch / video_id) as folder, writing(self.out):
            path = folder / "ready" / self.folders["pose"] / f"{video_id}.npz"
            kept = pose.points[:, : self.landmarks]
            write_pose(path, kept, size=pose.size, seen=None, skeleton=SKELETONS[self.points])
            if self.pose_format:
                path = folder / "ready" / POSE_FORMAT / f"{video_id}.pose"
                path.parent.mkdir()
                write_pose_format(path, [pose.points], size=pose.size, fps=pose.fps, frames=len(pose.points))
            self._move(folder / "ready")

    def _move(self, ready: Path) -> None:
        for folder in sorted(ready.iterdir()):
            (self.out / folder.name).mkdir(exist_ok=True)
            for path in sorted(folder.iterdir()):
                path.replace(self.out / folder.name / path.name)

    def _files(self, video_id: str, *, crops: bool) -> list[Path]:
        """Return the files of a clip, without single JPEGs."""
        paths = [self.out / self.folders["pose"] / f"{video_id}.npz"]
        if self.pose_format:
            paths.append(self.out / POSE_FORMAT / f"{video_id}.pose")
        if crops and self.packed:
            paths += [self.out / self.folders[stream] / f"{video_id}.safetensors" for stream in STREAMS]
        return paths

    def holds(self, video_id: str, frames: int, *, crops: bool) -> bool:
        """Tell whether the files of a clip are there; of single JPEGs the first and the last."""
        paths = self._files(video_id, crops=crops)
        if crops and not self.packed:
            folders = [self.out / self.folders[stream] for stream in STREAMS]
            paths += [frame_path(folder, video_id, t) for folder in folders for t in {0, frames - 1}]
        return all(path.is_file() for path in paths)

    def discard(self, video_id: str) -> None:
        """Remove what an earlier, killed attempt at a clip put in place, now that the clip cannot be extracted."""
        paths = self._files(video_id, crops=True)
        for stream in () if self.packed else STREAMS:
            single = (self.out / self.folders[stream]).glob("*.jpg")
            paths += [path for path in single if (parse_frame_name(path.name) or ("",))[0] == video_id]
        for path in paths:
            path.unlink(missing_ok=True)


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(eq=False)
class OpenClip:
    """A clip that is being written: pictures and poses in scratch files, marks and boxes (63 bytes a frame) here."""

    writer: ClipWriter
    video_id: str
    fps: float
    folder: Path
    fingerprint: str
    frames: int = 0  # so far
    size: tuple[int, int] | None = None  # width and height of the pictures

    def __post_init__(self) -> None:
        self._crop_size = 0
        self._persons = 0  # frames in which anything of a person is found
        self._shoulders = 0
        self._marks = {stream: bytearray() for stream in STREAMS}
        self._boxes = {stream: array("f") for stream in STREAMS}
        self._offsets = {stream: array("q", [0]) for stream in STREAMS}
        self._parts: dict[str, IO[bytes]] = {}
        self._black = b""
        with writing(self.folder):
            (self.folder / "ready").mkdir(parents=True)
            for stream in ("pose", *(STREAMS if self.writer.packed else ())):
                self._parts[stream] = (self.folder / f"{stream}.part").open("wb")
            for name in self.writer.folders.values():
                (self.folder / "ready" / name).mkdir()

    def add(self, regions: Regions) -> None:
        if self.size is None:
            self.size = regions.size
        elif self.size != regions.size:
            raise ValueError(
                f"{self.video_id}: pictures of one size expected, came {regions.size} after {self.size} at "
                f"{regions.seconds:.2f} s; cut the film there"
            )
        row = np.ascontiguousarray(regions.pose, np.float32).reshape(1, -1)
        for fault in pose_faults(Path(f"{self.video_id} at {regions.seconds:.2f} s"), {"pose": row}):
            raise ValueError(fault)
        self._persons += bool((regions.points[:, 2] > 0).any())
        with writing(self.folder):
            self._parts["pose"].write(row.data)
            for stream in STREAMS:
                mark = regions.marks[stream]
                self._marks[stream].append(mark)
                self._boxes[stream].extend(np.where(mark, regions.boxes[stream], 0).astype(np.float32).tolist())
                self._add_crop(stream, regions.crops[stream], mark)
        self.frames += 1
        self._shoulders += int(shoulders_seen(regions.points[None])[0])

    def _add_crop(self, stream: str, crop: NDArray[np.uint8], mark: int) -> None:
        writer = self.writer
        self._crop_size = len(crop)
        if writer.packed and writer.encoding == "raw":
            self._parts[stream].write((np.ascontiguousarray(crop) if mark else np.zeros_like(crop)).data)
            return
        if mark:
            data = encode_jpeg(crop, writer.quality)
        else:  # what is not seen is black, each time the same
            data = self._black = self._black or encode_jpeg(np.zeros_like(crop), writer.quality)
        if writer.packed:
            self._parts[stream].write(data)
            self._offsets[stream].append(self._offsets[stream][-1] + len(data))
        else:
            folder = self.folder / "ready" / writer.folders[stream]
            frame_path(folder, self.video_id, self.frames).write_bytes(data)

    def close(self) -> None:
        with writing(self.folder):
            for part in self._parts.values():
                part.close()

    def finish(self) -> None:
        if self.size is None:
            raise ValueError(f"{self.video_id}: no frame came; a clip has at least one")
        writer, ready = self.writer, self.folder / "ready"
        for stream in STREAMS if writer.packed else ():
            part = self.folder / f"{stream}.part"
            with (ready / writer.folders[stream] / f"{self.video_id}.safetensors").open("wb") as file:
                write_packed_blocks(
                    file,
                    _blocks(part),
                    np.frombuffer(self._marks[stream], np.uint8),
                    offsets=np.frombuffer(self._offsets[stream], np.int64) if writer.encoding == "jpeg" else None,
                    size=self._crop_size,
                    extractor=self.fingerprint,
                )
            part.unlink()
        shape = (self.frames, 3 * writer.landmarks)
        with (ready / writer.folders["pose"] / f"{self.video_id}.npz").open("wb") as file:
            write_pose_blocks(
                file,
                (np.ascontiguousarray(rows[:, : shape[1]]).data.cast("B") for rows in self._rows()),
                shape,
                size=self.size,
                seen={writer.folders[stream]: np.frombuffer(marks, np.uint8) for stream, marks in self._marks.items()},
                boxes={writer.folders[stream]: self._boxes_of(stream) for stream in STREAMS},
                skeleton=SKELETONS[writer.points],
            )
        if writer.pose_format:
            path = ready / POSE_FORMAT / f"{self.video_id}.pose"
            path.parent.mkdir()
            blocks = (rows.reshape(len(rows), -1, 3) for rows in self._rows())
            write_pose_format(path, blocks, size=self.size, fps=self.fps, frames=self.frames, skeleton=writer.skeleton)

    def _rows(self) -> Iterator[NDArray[np.float32]]:
        width = 3 * len(self.writer.skeleton)
        for block in _blocks(self.folder / "pose.part", 1000 * 4 * width):
            yield np.frombuffer(block, np.float32).reshape(-1, width)

    def _boxes_of(self, stream: str) -> NDArray[np.float32]:
        return np.frombuffer(self._boxes[stream], np.float32).reshape(-1, 3)

    def summary(self) -> dict[str, Any]:
        """Return what metadata.jsonl says of the frames; `moved`: pixels from a frame with a hand to the next one."""
        marks = {stream: np.frombuffer(values, np.uint8) for stream, values in self._marks.items()}
        sides = {stream: self._boxes_of(stream)[marks[stream] > 0, 2] for stream in STREAMS}
        moved = {}
        for stream in ("left_hand", "right_hand"):
            both = (marks[stream][1:] > 0) & (marks[stream][:-1] > 0)
            steps = np.linalg.norm(np.diff(self._boxes_of(stream)[:, :2], axis=0), axis=1)
            moved[stream] = round(float(steps[both].sum()), 1)
        return {
            "frames": self.frames,
            "size": list(self.size or (0, 0)),
            "person": round(self._persons / max(self.frames, 1), 4),
            "moved": moved,
            "seen": {stream: round(float((values > 0).mean()), 4) for stream, values in marks.items()},
            "shoulders": round(self._shoulders / max(self.frames, 1), 4),
            "followed": {stream: round(float((values == FOLLOWED).mean()), 4) for stream, values in marks.items()},
            "box": {stream: round(float(np.median(side)), 1) if len(side) else None for stream, side in sides.items()},
        }


def _blocks(path: Path, size: int = _BLOCK) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(size):
            yield block
