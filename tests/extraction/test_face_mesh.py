"""The face's points: where the head is looked at, how points come back, and the mesh itself on the real clips."""

from __future__ import annotations

import hashlib
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from test_landmarks import CLIPS, KEYS, OTHERS

from slt.extraction import mediapipe_models
from slt.extraction.face_mesh import MESH, TaskMesh, WheelMesh, head_view, mesh_view
from slt.extraction.landmarks import MediaPipeLandmarker
from slt.extraction.mediapipe_models import cache_folder, prepare_mesh
from slt.extraction.mediapipe_tasks import Tasks
from slt.extraction.video import read_frames
from slt.streams.skeleton import find_skeleton


def head(turn: float = 0.0) -> np.ndarray:
    """A pose whose head looks at us at (100, 80), turned about there by so many radians: (33, 3)."""
    body = np.zeros((33, 3))
    body[:11, :2] = [
        (0, 0),
        (4, -8),
        (6, -8),
        (8, -8),
        (-4, -8),
        (-6, -8),
        (-8, -8),
        (14, -6),
        (-14, -6),
        (5, 8),
        (-5, 8),
    ]
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    body[:11, :2] = body[:11, :1] * across + body[:11, 1:2] * down + (100, 80)
    return body


class Network:
    """In the place of the network: a mesh whose eyes are level, all of it within the middle of what it sees."""

    def __init__(self, score: float) -> None:
        self.score, self.seen = score, []

    def setInput(self, picture) -> None:
        self.seen.append(picture)

    def forward(self, outputs) -> list[np.ndarray]:
        places = np.random.default_rng(0).uniform(36, 156, (MESH, 3)).astype(np.float32)
        places[[33, 263], :2] = (70, 80), (120, 80)
        return [np.full((1, 1, 1, 1), self.score, np.float32), places.reshape(1, -1, 1, 1)]


def looking(score: float) -> WheelMesh:
    mesh = object.__new__(WheelMesh)
    mesh._network, mesh._outputs, mesh._least = Network(score), (), 0.5
    return mesh


@pytest.mark.parametrize("turn", [0.0, 0.5, -0.8])
def test_the_head_is_looked_at_upright_and_its_points_come_back_turned(turn):
    x, y, side, angle = head_view(head(turn))
    assert (round(x), round(y)) == (100, 80)
    assert angle == pytest.approx(turn)
    assert side == pytest.approx(1.5 * 16 * 3.2)
    picture = np.zeros((160, 200, 3), np.uint8)
    mesh = looking(0.0)
    points, score = mesh._look(picture, np.array([x, y, side, angle]))
    assert score == 0.5
    right, left = points[33], points[263]
    assert np.arctan2(*(left - right)[::-1]) == pytest.approx(turn, abs=1e-4)
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    expected = (x, y) + across * (120 - 96) * side / 192 + down * (80 - 96) * side / 192
    np.testing.assert_allclose(left, expected, atol=1e-3)


def test_what_the_network_sees_is_the_face_itself():
    picture = np.zeros((160, 200, 3), np.uint8)
    cv2.circle(picture, (108, 76), 2, (255, 255, 255), -1)  # on the line between the signer's eyes and ear
    mesh = looking(0.0)
    mesh._look(picture, np.array([100.0, 80, 96, 0.0]))
    (seen,) = mesh._network.seen
    assert seen.shape == (1, 3, 192, 192)
    assert seen.max() == 1.0
    down, across = np.unravel_index(seen[0].sum(0).argmax(), (192, 192))
    assert (across - 96, down - 96) == pytest.approx((16, -8), abs=6)


def test_a_face_of_which_the_network_is_not_sure_has_no_mesh():
    picture = np.zeros((160, 200, 3), np.uint8)
    assert looking(-0.1).find(picture, head()) is None
    found = looking(2.0).find(picture, head())
    assert found.shape == (MESH, 3)
    assert found[0, 2] == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_the_view_of_a_mesh_is_that_of_its_own_face():
    points = np.random.default_rng(0).uniform(-30, 30, (MESH, 2))
    points[[33, 263]] = (-12, -10), (12, -10)
    points[[0, 1, 2, 3]] = (-30, 0), (30, 0), (0, -30), (0, 30)
    turn = 0.6
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(mesh_view(points @ matrix + (100, 80)), [100, 80, 90, turn], atol=1e-9)


def test_the_mesh_is_taken_out_of_the_wheel_once_and_checked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(f"mediapipe/modules/{mediapipe_models.MESH}", b"mesh")
    monkeypatch.setattr(mediapipe_models, "download_wheel", lambda folder: tmp_path / "a.whl")
    with pytest.raises(ValueError, match=r"face_landmark\.tflite of mediapipe==.*SHA-256"):
        prepare_mesh(tmp_path / "models")
    assert not (tmp_path / "models").exists()
    monkeypatch.setattr(mediapipe_models, "MESH_SUM", hashlib.sha256(b"mesh").hexdigest())
    assert prepare_mesh(tmp_path / "models").read_bytes() == b"mesh"
    (tmp_path / "a.whl").unlink()
    prepare_mesh(tmp_path / "models").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"face_landmark\.tflite: SHA-256"):
        prepare_mesh(tmp_path / "models")


def test_a_task_of_ones_own_gives_its_first_468_points_in_the_picture(tmp_path, monkeypatch):
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    with pytest.raises(FileNotFoundError, match=r"face_landmarker\.task: no such file.*landmarker\.face_model"):
        TaskMesh(tmp_path / "face_landmarker.task", 0.5)
    (tmp_path / "own.task").write_bytes(b"a model")
    with pytest.raises(ValueError, match=r"landmarker\.face_model=.*own\.task: no face landmarker"):
        TaskMesh(tmp_path / "own.task", 0.5)
    monkeypatch.setattr(Tasks, "open", lambda *_: None)
    mesh = TaskMesh(tmp_path / "own.task", 0.5)
    assert mesh.models == {"face_landmarker.task": hashlib.sha256(b"a model").hexdigest()}
    point, found = SimpleNamespace(x=0.5, y=0.25), SimpleNamespace(face_landmarks=[])
    monkeypatch.setattr(Tasks, "detect", lambda *_: found)
    picture = np.zeros((160, 200, 3), np.uint8)
    assert mesh.find(picture, head()) is None
    found.face_landmarks = [[point] * 478]
    points = mesh.find(picture, head())
    side = 1.5 * 16 * 3.2
    assert points.shape == (MESH, 3)
    np.testing.assert_allclose(points[0], [100, 80 - side / 4, 1], atol=1.1)


@pytest.mark.parametrize(("name", "least"), [("lsat_100.mp4", 1.0), ("lsm_hoy_001.mp4", 0.0)])
def test_the_mesh_lies_on_the_face_of_the_real_clips_and_on_no_pixelated_one(name, least):
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    film = next((folder / name for folder in (CLIPS, OTHERS) if (folder / name).is_file()), None)
    if film is None or not (cache_folder() / "face_landmark.tflite").is_file():
        pytest.skip("the real clips, or the prepared models, are not on this machine (../shared/data)")
    landmarker = MediaPipeLandmarker(**KEYS | {"points": "holistic"})
    skeleton = find_skeleton(landmarker.skeleton)
    # A corpus without the mesh keeps the fingerprint that it has always had.
    usual = MediaPipeLandmarker(**KEYS).parameters
    assert landmarker.parameters == usual | {
        "points": "holistic",
        "models": usual["models"] | {"face_landmark.tflite": mediapipe_models.MESH_SUM},
    }
    landmarker.start(None)
    frames = list(read_frames(film, fps=8))[:8]
    found = [landmarker.find(*frame) for frame in frames]
    landmarker.close()
    whole, usual = np.stack([one.whole for one in found]), np.stack([one.points for one in found])
    mesh = whole[:, [*skeleton.parts["face"]]]
    seen = mesh[..., 2].max(1) > 0
    assert seen.mean() == 0 if least == 0 else seen.mean() >= least
    np.testing.assert_array_equal(np.delete(whole, [*skeleton.parts["face"]], 1), usual)
    # The mesh's corners of the eyes and mouth, nose and ears, against the pose's points of the same.
    pairs = {33: 6, 263: 3, 61: 10, 291: 9, 4: 0}
    size = np.array(frames[0][1].shape[1::-1])
    wide = np.linalg.norm((usual[:, 3] - usual[:, 6])[:, :2] * size, axis=1)
    for place, point in pairs.items():
        off = np.linalg.norm((mesh[:, place] - usual[:, point])[:, :2] * size, axis=1) / np.maximum(wide, 1)
        assert not seen.any() or np.median(off[seen]) < 0.4
