"""`.pose` files as they are published: read in place, whatever skeleton of those that are known they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt.data import Landmarks
from slt.extraction.poses import write_pose_format
from slt.streams.arrays import write_pose
from slt.streams.pose_format import pose_format_length, read_pose_clip

DATA = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real .pose files are not on this machine (../shared/data)")
KINDS = {
    "holistic_586": 75,
    "holistic_reduced_178": 50,
    "openpose_137": 67,
    "right_hand_only_21": 24,
}  # points, with those that stand in for the body


def made_up(frames: int) -> Any:
    points = np.random.default_rng(1).uniform(0.2, 0.8, (frames, 75, 3)).astype(np.float32)
    points[1, 5, 2] = 0  # a point that was not detected
    return points


@pytest.fixture
def reader() -> Landmarks:
    return Landmarks(folder="pose", points="body_hands", normalise="shoulders", jitter=0, noise=0)


def test_a_pose_file_gives_what_the_same_points_give_as_npz(tmp_path: Path, reader: Landmarks) -> None:
    points = made_up(6)
    for form in ("one", "other"):
        (tmp_path / form / "pose" / "0001").mkdir(parents=True)
    write_pose_format(tmp_path / "one/pose/0001/a.pose", [points], size=(640, 360), fps=25.0, frames=6)
    write_pose(tmp_path / "other/pose/0001/a.npz", points, size=(640, 360), seen={})
    found = [reader.read(tmp_path / form, "0001/a", np.array([0, 1, 5])) for form in ("one", "other")]
    np.testing.assert_allclose(found[0].array, found[1].array, atol=2e-5)
    assert found[0].seen.tolist() == found[1].seen.tolist()
    for form in ("one", "other"):
        assert reader.lengths(tmp_path / form, ["0001/a"]).tolist() == [6]


@pytest.mark.parametrize("kept", [0, 3, 200])
def test_a_damaged_pose_file_is_named_at_the_start(tmp_path: Path, reader: Landmarks, kept: int) -> None:
    (tmp_path / "pose").mkdir()
    path = tmp_path / "pose" / "a.pose"
    write_pose_format(path, [made_up(6)], size=(640, 360), fps=25.0, frames=6)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.pose: not a \.pose file"):
        reader.lengths(tmp_path, ["a"])


@real
@pytest.mark.parametrize("kind", KINDS)
def test_each_real_kind_is_read_into_the_points_that_it_has(kind: str) -> None:
    path = DATA / "pose_kinds" / f"{kind}.pose"
    length = pose_format_length(path)
    clip = read_pose_clip(path)
    assert len(clip.points) == length > 0
    assert int((clip.points[..., 2] > 0).any(0).sum()) <= KINDS[kind]
    assert ((clip.points[..., :2] >= 0) & (clip.points[..., :2] <= 1))[clip.points[..., 2] > 0].all()


@real
def test_real_files_are_as_long_by_their_header_as_whole() -> None:
    for path in sorted((DATA / "poses_es").glob("*.pose"))[:5]:
        assert pose_format_length(path) == len(read_pose_clip(path).points)


@real
def test_the_face_of_a_real_file_lies_about_its_eyes_and_mouth(tmp_path: Path) -> None:
    (tmp_path / "pose").symlink_to(DATA / "poses_es")
    name = next((DATA / "poses_es").glob("*.pose")).stem
    stream = Landmarks(folder="pose", points="youtube_asl_t5", normalise="shoulders", jitter=0, noise=0)
    array, seen = stream.read(tmp_path, name, np.arange(10))
    place, shown = stream.skeleton.points.index, array[seen]
    for one, other in (("FACE_291", "MOUTH_LEFT"), ("FACE_61", "MOUTH_RIGHT"), ("LEFT_IRIS", "LEFT_EYE"),
                       ("RIGHT_IRIS", "RIGHT_EYE"), ("FACE_4", "NOSE")):  # fmt: skip
        apart = np.linalg.norm(shown[:, place(one), :2] - shown[:, place(other), :2], axis=-1)
        assert apart.mean() < 0.06, one


@real
def test_a_file_without_the_points_of_the_face_that_are_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pose").symlink_to(DATA / "pose_kinds")
    stream = Landmarks(folder="pose", points="lips", normalise="shoulders", jitter=0, noise=0)
    assert stream.read(tmp_path, "holistic_reduced_178", np.arange(3)).array[..., 2].any()
    with pytest.raises(ValueError, match=r"openpose_137\.pose: points=lips takes FACE_0, which .* \(40 such points\)"):
        stream.read(tmp_path, "openpose_137", np.arange(3))
    unisign = Landmarks(folder="pose", points="unisign", normalise="parts", jitter=0, noise=0)
    with pytest.raises(ValueError, match="read as MediaPipe's points, and coco_wholebody_133 has others"):
        unisign.read(tmp_path, "holistic_586", np.arange(3))
