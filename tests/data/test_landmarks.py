"""The landmarks stage: hands go to the pose's wrists, models are checked; MediaPipe itself runs on the real clips."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from slt.data import landmark_models
from slt.data.landmark_models import MODELS, build_models, cache_folder, check_sum, read_models
from slt.data.landmarks import MediaPipeLandmarker, assign_hands, cut_square
from slt.data.video import read_frames

HOUSE = Path(__file__).parents[2]
CLIPS = HOUSE.parent / "shared" / "data" / "lsa_t" / "clips"
WRISTS = np.array([[100.0, 50], [20.0, 50]])  # left, right; the shoulders are 40 pixels apart


def hand(x: float, y: float) -> np.ndarray:
    return np.column_stack([np.linspace(x, x + 10, 21), np.full(21, y), np.full(21, 0.9)])


def test_hands_go_to_the_nearest_wrist_whatever_their_order():
    given = assign_hands([hand(24, 50), hand(98, 52)], WRISTS, 40, 0.4, {})
    assert {side: found[0, 0] for side, found in given.items()} == {0: 98, 1: 24}


def test_a_hand_far_from_both_wrists_is_nobodys():
    assert assign_hands([hand(60, 50)], WRISTS, 40, 0.4, {}) == {}


def test_one_hand_is_not_given_twice():
    wrists = np.array([[50.0, 50], [54.0, 50]])
    first = assign_hands([hand(51, 50)], wrists, 40, 0.4, {})
    assert list(assign_hands([hand(51.5, 50)], wrists, 40, 0.4, first)) == [0]


def test_a_square_beyond_the_edge_is_black_there():
    part, corner = cut_square(np.full((10, 10, 3), 9, np.uint8), np.array([0.0, 5, 6]))
    assert part.shape == (6, 6, 3)
    assert corner.tolist() == [-3, 2]
    assert not part[:, :3].any()
    assert part[:, 3:].all()
    assert not cut_square(np.full((10, 10, 3), 9, np.uint8), np.array([99.0, 99, 4]))[0].any()


def test_a_wrong_checksum_names_the_file():
    with pytest.raises(ValueError, match=r"pose\.tflite: SHA-256 .* expected"):
        check_sum(b"x", "0" * 64, "pose.tflite")


def test_a_wheel_with_other_models_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("mediapipe/modules/pose_detection/pose_detection.tflite", b"other")
    with pytest.raises(ValueError, match=r"pose_detection\.tflite of a\.whl: SHA-256"):
        build_models(tmp_path / "a.whl", tmp_path / "out", lambda model, *_: model)
    assert not (tmp_path / "out").exists()


def test_bundles_are_stored_aligned_and_the_same_every_time(tmp_path, monkeypatch):
    digest = hashlib.sha256(b"model").hexdigest()
    parts = tuple((f"{name}.tflite", f"{name}.tflite", 0.0, 255.0, digest) for name in ("ab", "c"))
    monkeypatch.setattr(landmark_models, "MODELS", {"x.task": parts})
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        for name in ("ab", "c"):
            wheel.writestr(f"mediapipe/modules/{name}.tflite", b"model")
    for folder in ("one", "two"):
        build_models(tmp_path / "a.whl", tmp_path / folder, lambda model, *_: model)
    data = (tmp_path / "one" / "x.task").read_bytes()
    assert data == (tmp_path / "two" / "x.task").read_bytes()
    assert data.index(b"model") % 16 == 0


def fill(folder: Path, sums: str) -> Path:
    for name in MODELS:
        (folder / name).write_bytes(b"model")
    (folder / "SHA256SUMS").write_text(sums)
    return folder


def test_a_model_that_changed_after_its_preparation_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"hand_landmarker\.task: SHA-256"):
        read_models(fill(tmp_path, f"{'0' * 64}  hand_landmarker.task\n"))


def test_a_folder_without_a_model_says_what_it_must_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"landmarker\.model_dir must hold pose_landmarker\.task"):
        read_models(tmp_path)


def test_an_absent_mediapipe_names_the_extra():
    code = "import sys; sys.modules['mediapipe'] = None; from slt.data.landmarks import _mediapipe; _mediapipe()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False)
    assert 'pip install "slt[media]"' in done.stderr


# The shares of frames in which whole-frame MediaPipe Holistic finds the left and right hand (../shared/data/README.md),
# less a little: tracking over frames makes a processor's last digits matter.
@pytest.mark.parametrize(
    ("name", "fps", "left", "right"),
    [("lsat_100.mp4", 10, 0.94, 0.89), ("lsat_clip1.gif", 8, 0.88, 0.67), ("lsat_clip3.gif", 8, 0.21, 0.54)],
)
def test_face_and_hands_are_found_in_the_real_clips(name, fps, left, right):
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    if not (CLIPS / name).is_file():
        pytest.skip("the real clips are not on this machine (../shared/data/lsa_t/clips)")
    if not all((cache_folder() / model).is_file() for model in MODELS):
        pytest.skip("the landmark models are not prepared; one run of slt.extract does it")
    keys = yaml.safe_load((HOUSE / "conf" / "extract.yaml").read_text())["landmarker"]
    landmarker = MediaPipeLandmarker(**{key: value for key, value in keys.items() if key != "_target_"})
    landmarker.start()
    found = [landmarker.find(*frame) for frame in read_frames(CLIPS / name, fps=fps)]
    landmarker.close()
    points = np.stack([landmarks.points for landmarks in found])
    assert all(landmarks.face for landmarks in found)
    assert (points[:, 33, 2] > 0).mean() >= left - 0.04
    assert (points[:, 54, 2] > 0).mean() >= right - 0.04
    assert (points[:, 11, 0] > points[:, 12, 0]).all()  # the signer faces us: her left is on our right
