"""The landmarks stage: hands go to the pose's wrists, models are checked; MediaPipe itself runs on the real clips."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from slt.extraction import mediapipe_models as landmark_models
from slt.extraction.geometry import assign_hands, cut_box, cut_square, hide_beyond, in_pixels, is_person, middle
from slt.extraction.landmarks import MediaPipeLandmarker
from slt.extraction.mediapipe_models import MODELS, build_models, cache_folder, check_sum, read_sums
from slt.extraction.mediapipe_tasks import quiet
from slt.extraction.video import read_frames

HOUSE = Path(__file__).parents[2]
CLIPS = HOUSE.parent / "shared" / "data" / "lsa_t" / "clips"
OTHERS = CLIPS.parents[1] / "other_clips"
KEYS = yaml.safe_load((HOUSE / "conf" / "extractor" / "mediapipe.yaml").read_text(encoding="utf-8"))["landmarker"]
KEYS = {key: value for key, value in KEYS.items() if not key.startswith("_")} | {"points": "body_hands"}
WRISTS = np.array([[100.0, 50], [20.0, 50]])  # left, right; the shoulders are 40 pixels apart


def hand(x: float, y: float) -> np.ndarray:
    return np.column_stack([np.linspace(x, x + 10, 21), np.full(21, y), np.full(21, 0.9)])


def test_each_wrist_keeps_the_hand_that_was_found_at_it():
    given = assign_hands({0: hand(98, 52), 1: hand(24, 50)}, WRISTS, 40, 0.4)
    assert {side: found[0, 0] for side, found in given.items()} == {0: 98, 1: 24}


def test_a_hand_far_from_its_wrist_is_nobodys():
    assert assign_hands({0: hand(60, 50), 1: hand(99, 50)}, WRISTS, 40, 0.4) == {}


def test_one_hand_found_at_both_wrists_stays_with_the_nearer():
    wrists = np.array([[50.0, 50], [54.0, 50]])
    assert list(assign_hands({0: hand(53, 50), 1: hand(53.5, 50)}, wrists, 40, 0.4)) == [1]


def test_beyond_the_middle_between_two_wrists_a_look_is_black():
    seen = hide_beyond(np.full((9, 9, 3), 7, np.uint8), np.array([1.0, 4]), np.array([7.0, 4]))
    assert seen[:, :4].all()
    assert not seen[:, 5:].any()


def test_a_box_outside_the_picture_is_refused_with_its_size():
    picture = np.zeros((48, 64, 3), np.uint8)
    assert cut_box((-5.0, 8, 40, 90), picture) == (0, 8, 40, 48)
    with pytest.raises(ValueError, match=r"\(100, 0, 160, 48\).*64x48"):
        cut_box((100, 0, 160, 48), picture)


def person(width: float, nose: float) -> np.ndarray:
    """Shoulders at y = 0, 10 pixels apart; all else in a column `width` wide, the nose so far above."""
    points = np.column_stack([np.linspace(-width / 2, width / 2, 33), np.zeros(33), np.ones(33)])
    points[[11, 12, 23, 24], :2] = (5, 0), (-5, 0), (4, 15), (-4, 15)
    points[0, 1] = -nose
    return points


def test_what_is_not_built_like_a_person_is_none():
    assert is_person(person(20, nose=5))
    assert not is_person(person(70, nose=5))  # somebody made of a table and two hands
    assert not is_person(person(20, nose=2))  # somebody made of an elbow


def test_a_square_beyond_the_edge_is_black_there():
    part, corner = cut_square(np.full((10, 10, 3), 9, np.uint8), np.array([0.0, 5, 6]))
    assert part.shape == (6, 6, 3)
    assert corner.tolist() == [-3, 2]
    assert not part[:, :3].any()
    assert part[:, 3:].all()
    assert not cut_square(np.full((10, 10, 3), 9, np.uint8), np.array([99.0, 99, 4]))[0].any()


def test_a_wrong_checksum_names_the_file():
    with pytest.raises(ValueError, match=r"pose\.tflite: SHA-256 .* expected"):
        check_sum("1" * 64, "0" * 64, "pose.tflite")


def test_a_wheel_with_other_models_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("mediapipe/modules/pose_detection/pose_detection.tflite", b"other")
    with pytest.raises(ValueError, match=r"pose_detection\.tflite of a\.whl: SHA-256"):
        build_models(tmp_path / "a.whl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bundles_are_stored_aligned_and_the_same_every_time(tmp_path, monkeypatch):
    digest = hashlib.sha256(b"model").hexdigest()
    parts = tuple((f"{name}.tflite", f"{name}.tflite", 0.0, 255.0, digest) for name in ("ab", "c"))
    monkeypatch.setattr(landmark_models, "MODELS", {"x.task": parts})
    monkeypatch.setattr(landmark_models, "with_metadata", lambda model, *_: model)
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        for name in ("ab", "c"):
            wheel.writestr(f"mediapipe/modules/{name}.tflite", b"model")
    for folder in ("one", "two"):
        build_models(tmp_path / "a.whl", tmp_path / folder)
    data = (tmp_path / "one" / "x.task").read_bytes()
    assert data == (tmp_path / "two" / "x.task").read_bytes()
    assert data.index(b"model") % 16 == 0


def fill(folder: Path, changed: str) -> Path:
    """Make a folder of models whose SHA256SUMS are right but for one."""
    for name in MODELS:
        (folder / name).write_bytes(b"model")
    digests = {name: hashlib.sha256(b"other" if name == changed else b"model").hexdigest() for name in MODELS}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_changed_after_its_preparation_is_refused_by_name(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}: SHA-256"):
        read_sums(fill(tmp_path, changed=name))


def test_the_landmarker_itself_refuses_a_changed_model(tmp_path):
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    with pytest.raises(ValueError, match=r"hand_landmarker\.task: SHA-256"):
        MediaPipeLandmarker(**KEYS | {"model_dir": str(fill(tmp_path, changed="hand_landmarker.task"))})


def test_models_whose_checksums_nobody_wrote_down_are_refused(tmp_path):
    sums = fill(tmp_path, changed="") / "SHA256SUMS"
    assert len(read_sums(tmp_path)) == len(MODELS)
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"no line for face_detector\.tflite"):
        read_sums(tmp_path)
    sums.unlink()
    with pytest.raises(FileNotFoundError, match=r"sha256sum pose_landmarker\.task"):
        read_sums(tmp_path)


def test_a_folder_without_a_model_says_what_it_must_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"landmarker\.model_dir must hold pose_landmarker\.task"):
        read_sums(tmp_path)


def test_an_absent_mediapipe_names_the_extra():
    code = (
        "import sys; sys.modules['mediapipe'] = None; from slt.extraction.mediapipe_tasks import Tasks; Tasks({}, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False)
    assert 'pip install "slt[media]"' in done.stderr


def opened() -> MediaPipeLandmarker:
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not on this machine (../shared/data/lsa_t/clips)")
    if not all((cache_folder() / model).is_file() for model in (*MODELS, "SHA256SUMS")):
        pytest.skip("the landmark models are not prepared; one run of slt.extract does it")
    return MediaPipeLandmarker(**KEYS)


def found_in(landmarker: MediaPipeLandmarker, frames: list, box=None) -> list:
    landmarker.start(box)
    return [landmarker.find(*frame) for frame in frames]


# The shares of frames in which whole-frame MediaPipe Holistic finds the left and right hand (../shared/data/README.md).
@pytest.mark.parametrize(
    ("name", "fps", "left", "right"),
    [("lsat_100.mp4", 10, 0.94, 0.89), ("lsat_clip1.gif", 8, 0.88, 0.67), ("lsat_clip3.gif", 8, 0.21, 0.54)],
)
def test_face_and_hands_are_found_in_the_real_clips_at_least_as_often_as_by_holistic(name, fps, left, right):
    landmarker = opened()
    found = found_in(landmarker, list(read_frames(CLIPS / name, fps=fps)))
    landmarker.close()
    points = np.stack([landmarks.points for landmarks in found])
    assert all(landmarks.face for landmarks in found)
    assert round((points[:, 33, 2] > 0).mean(), 2) >= left
    assert round((points[:, 54, 2] > 0).mean(), 2) >= right
    assert (points[:, 11, 0] > points[:, 12, 0]).all()  # the signer faces us: her left is on our right


@pytest.mark.parametrize("name", ["lsm_doctor_001.mp4", "lsm_hoy_001.mp4"])
def test_a_pixelated_face_and_an_absent_hand_are_not_invented(name):
    landmarker = opened()
    found = found_in(landmarker, list(read_frames(OTHERS / name, fps=15)))
    landmarker.close()
    assert np.mean([landmarks.face for landmarks in found]) <= 0.05
    left = np.mean([landmarks.points[33, 2] > 0 for landmarks in found])
    assert left == (0 if name == "lsm_hoy_001.mp4" else 1)


def test_a_clip_is_the_same_to_the_last_bit_whatever_was_looked_at_before():
    used, fresh = opened(), opened()
    one, other = (list(read_frames(CLIPS / name, fps=8))[:14] for name in ("lsat_100.mp4", "lsat_clip3.gif"))
    found_in(used, one, box=(190.0, 0, 426, 240))
    used.people(one[0][1])
    found_in(used, one)
    for again, alone in zip(found_in(used, other), found_in(fresh, other), strict=True):
        np.testing.assert_array_equal(again.points, alone.points)
        assert again.face == alone.face
    used.close()
    fresh.close()


def test_small_people_are_found_beside_a_large_one():
    landmarker = opened()
    picture = next(read_frames(OTHERS / "lsm_doctor_001.mp4", fps=15))[1].copy()
    signer = next(read_frames(CLIPS / "lsat_100.mp4", fps=10))[1][:, 190:]
    picture[-130:-10, -128:-10] = cv2.resize(signer, (118, 120), interpolation=cv2.INTER_AREA)  # a sixth of the height
    people = [middle(in_pixels(person, picture)) for person in landmarker.people(picture)]
    landmarker.close()
    assert len(people) == 2
    assert people[1][0] > 1280 - 128
    assert people[1][1] > 720 - 130


def test_the_landmarks_are_those_of_the_one_in_the_box():
    landmarker = opened()
    left, right = (list(read_frames(CLIPS / name, fps=8))[:6] for name in ("lsat_clip1.gif", "lsat_clip3.gif"))
    frames = [(a[0], np.hstack([a[1][:, 95:], b[1]])) for a, b in zip(left, right, strict=True)]
    for box, low, high in (((0, 0, 250, 180), 0, 225), ((200, 0, 545, 180), 225, 545)):
        at = [landmarks.points[11:13, 0].mean() * 545 for landmarks in found_in(landmarker, frames, box)]
        assert all(low < x < high for x in at)
    landmarker.close()


def walk_past(frames: list, height: int) -> list:
    """The frames, and somebody so many pixels high who crosses them in front, from frame 8 to frame 32."""
    stranger = next(read_frames(OTHERS / "lsm_doctor_001.mp4", fps=15))[1][:, 340:940]
    width = height * 5 // 6
    stranger = cv2.resize(stranger, (width, height), interpolation=cv2.INTER_AREA)
    crossed = [(seconds, picture.copy()) for seconds, picture in frames]
    for n in range(8, 32):
        x = round(-width + (n - 8) * (426 + width) / 24)
        low, high = max(x, 0), min(x + width, 426)
        crossed[n][1][240 - height :, low:high] = stranger[:, low - x : high - x]
    return crossed


@pytest.mark.parametrize("height", [140, 216])
def test_a_stranger_who_walks_past_in_front_does_not_stay_the_signer(height):
    landmarker = opened()
    plain = list(read_frames(CLIPS / "lsat_100.mp4", fps=10))[:45]
    box = (100.0, 0, 426, 240)
    alone, passed = (
        np.stack([one.points[11:13] for one in found_in(landmarker, frames, box)])
        for frames in (plain, walk_past(plain, height))
    )
    landmarker.close()
    off = np.abs(alone[:, :, 0].mean(1) - passed[:, :, 0].mean(1)) / np.abs(alone[:, 0, 0] - alone[:, 1, 0])
    # A head that stays visible is never lost. Whoever is wholly hidden for half a second may be mistaken for so long,
    # and is found again a second (SIGNER_SECONDS) after the stranger has left.
    assert off[:17].max() < 0.1
    assert off[40:].max() < 0.1
    if height == 140:
        assert off.max() < 0.5


def test_what_libraries_write_is_kept_off_the_screen_until_the_last_thread_is_through(capfd):
    quiet.__enter__()
    with quiet:
        os.write(2, b"W0000 inner\n")
    os.write(2, b"W0000 outer\n")
    quiet.__exit__()
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_finding_landmarks_writes_nothing_on_the_screen(tmp_path):
    if not CLIPS.is_dir() or not all((cache_folder() / name).is_file() for name in MODELS):
        pytest.skip("the real clips, or the prepared models, are not on this machine (../shared/data/lsa_t/clips)")
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    code = (
        "import sys, json; from slt.extraction.landmarks import MediaPipeLandmarker\n"
        "from slt.extraction.video import read_frames\n"
        "marker = MediaPipeLandmarker(**json.loads(sys.argv[1]))\n"
        "for seconds, picture in read_frames(sys.argv[2], fps=4): marker.find(seconds, picture)\n"
        "marker.people(picture); marker.close()"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(KEYS), str(CLIPS / "lsat_100.mp4")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stderr == done.stdout == ""
