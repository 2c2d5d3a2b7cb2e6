"""What is written frame by frame is what would be written at once, and appears whole or not at all."""

import errno
from pathlib import Path

import numpy as np
import pytest

from slt.extraction.poses import PoseOnly
from slt.extraction.records import OutputError
from slt.extraction.regions import STREAMS, Regions
from slt.extraction.writer import ClipWriter
from slt.streams.arrays import read_pose, write_pose
from slt.streams.packed import PackedCrops, decode_jpeg, write_packed

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r", "pose": "pose"}
RNG = np.random.default_rng(0)
T, R = 7, 16
POINTS = RNG.random((T, 75, 3)).astype(np.float32)
CROPS = {stream: RNG.integers(0, 256, (T, R, R, 3)).astype(np.uint8) for stream in STREAMS}
MARKS = {
    "face": np.ones(T, np.uint8),
    "left_hand": np.arange(T, dtype=np.uint8) % 3,
    "right_hand": np.zeros(T, np.uint8),
}
BOXES = {stream: np.where(marks[:, None] > 0, RNG.random((T, 3)), np.nan) for stream, marks in MARKS.items()}


def writer(out: Path, **keys) -> ClipWriter:
    given = {"packed": True, "encoding": "jpeg", "quality": 90, "points": "body_hands", "pose_format": False}
    return ClipWriter(out=out, folders=FOLDERS, **{**given, **keys})


def regions(t: int, size: tuple[int, int] = (64, 48)) -> Regions:
    crops, marks, boxes = ({stream: part[stream][t] for stream in STREAMS} for part in (CROPS, MARKS, BOXES))
    marks = {stream: int(mark) for stream, mark in marks.items()}
    return Regions(seconds=t / 10, points=POINTS[t], crops=crops, marks=marks, boxes=boxes, size=size)


def write(out: Path, frames=range(T), **keys) -> dict:
    with writer(out, **keys).clip("a", fps=10.0, scratch=out / ".work", fingerprint="x") as clip:
        for t in frames:
            clip.add(regions(t))
    return clip.summary()


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_packed_crops_and_pose_are_byte_for_byte_what_is_written_at_once(tmp_path: Path, encoding):
    write(tmp_path, encoding=encoding)
    for stream, folder in FOLDERS.items():
        path = tmp_path / folder / ("a.npz" if stream == "pose" else "a.safetensors")
        at_once = tmp_path / "at_once"
        if stream == "pose":
            marks, boxes = ({FOLDERS[s]: part[s] for s in STREAMS} for part in (MARKS, BOXES))
            boxes = {name: np.nan_to_num(box) for name, box in boxes.items()}
            write_pose(at_once, POINTS, size=(64, 48), seen=marks, boxes=boxes, skeleton="mediapipe_75")
        else:
            write_packed(at_once, CROPS[stream], MARKS[stream], encoding=encoding, quality=90, extractor="x")
        assert path.read_bytes() == at_once.read_bytes()


def test_a_pose_is_the_file_that_numpy_writes(tmp_path: Path):
    write_pose(tmp_path / "a.npz", POINTS, size=(64, 48), seen={"face": MARKS["face"]}, skeleton="mediapipe_75")
    size = np.array((64, 48), np.int32)
    np.savez(tmp_path / "b.npz", pose=POINTS.reshape(T, -1), size=size, skeleton=np.array("mediapipe_75"),
             seen_face=MARKS["face"])  # fmt: skip
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_marks_are_stored_and_read_as_seen(tmp_path: Path):
    write(tmp_path)
    crops = PackedCrops(tmp_path / "hand_l" / "a.safetensors")
    assert crops.marks.tolist() == MARKS["left_hand"].tolist()
    assert crops.seen.tolist() == (MARKS["left_hand"] > 0).tolist()
    assert not crops.frames(np.array([0])).any(), "what was not seen is black"
    with np.load(tmp_path / "pose" / "a.npz") as file:
        assert file["seen_hand_l"].tolist() == MARKS["left_hand"].tolist()
        assert np.allclose(file["box_hand_l"], np.nan_to_num(BOXES["left_hand"]))


def test_the_summary_tells_shares_and_sides(tmp_path: Path):
    said = write(tmp_path)
    assert (said["frames"], said["size"]) == (T, [64, 48])
    assert said["seen"] == {"face": 1.0, "left_hand": round(4 / 7, 4), "right_hand": 0.0}
    assert said["followed"] == {"face": 0.0, "left_hand": round(2 / 7, 4), "right_hand": 0.0}
    assert said["box"]["right_hand"] is None
    assert said["box"]["face"] == round(float(np.median(BOXES["face"][:, 2])), 1)


def test_one_jpeg_a_frame_holds_the_same_pictures(tmp_path: Path):
    write(tmp_path / "single", packed=False)
    write(tmp_path / "packed")
    packed = PackedCrops(tmp_path / "packed" / "face" / "a.safetensors")
    for t in range(T):
        data = (tmp_path / "single" / "face" / f"a_f{t:06d}.jpg").read_bytes()
        assert (decode_jpeg(data, "", R) == packed.frames(np.array([t]))[0]).all()
    assert len(list((tmp_path / "single" / "hand_r").iterdir())) == T


def test_the_body_alone_is_written_when_asked(tmp_path: Path):
    write(tmp_path, points="body")
    pose = read_pose(tmp_path / "pose" / "a.npz")
    assert (pose.points == POINTS[:, :33]).all()


def test_a_clip_that_fails_leaves_nothing(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="broken film"),
        writer(tmp_path).clip("a", fps=10.0, scratch=tmp_path / ".work", fingerprint="x") as clip,
    ):
        clip.add(regions(0))
        raise ValueError("broken film")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / ".work" / "a").exists()


def test_a_clip_without_frames_or_of_two_sizes_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="a: no frame came"):
        write(tmp_path, frames=[])
    with (
        pytest.raises(ValueError, match=r"pictures of one size expected, came \(80, 60\) after \(64, 48\) at 0.10 s"),
        writer(tmp_path).clip("a", fps=10.0, scratch=tmp_path / ".work", fingerprint="x") as clip,
    ):
        clip.add(regions(0))
        clip.add(regions(1, (80, 60)))


def test_a_full_disk_is_no_fault_of_the_film(tmp_path: Path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("slt.extraction.writer.write_packed_blocks", full)
    with pytest.raises(OutputError, match="No space left on device.*the disk is full: make room"):
        write(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_there_is_known_and_can_be_taken_back(tmp_path: Path, packed):
    write(tmp_path, packed=packed)
    one = writer(tmp_path, packed=packed)
    assert one.holds("a", T, crops=True)
    assert not one.holds("b", T, crops=True)
    assert one.holds("a", T + 1, crops=True) == packed, "of single JPEGs the last must be there"
    one.discard("a")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_pose_without_a_film_is_written_alone(tmp_path: Path):
    one = writer(tmp_path)
    one.write_pose("a", PoseOnly(POINTS, (64, 48), 25.0), scratch=tmp_path / ".work")
    assert (read_pose(tmp_path / "pose" / "a.npz").points == POINTS).all()
    assert one.holds("a", T, crops=False)
    assert not one.holds("a", T, crops=True)


@pytest.mark.parametrize("folder", ["hand_l", "index", "pose_format"])
def test_two_things_in_one_folder_are_refused(tmp_path: Path, folder):
    with pytest.raises(ValueError, match="one folder for each"):
        ClipWriter(out=tmp_path, folders={**FOLDERS, "face": folder}, packed=True, encoding="jpeg", quality=90,
                   points="body", pose_format=True)  # fmt: skip
