"""Each normalisation is its authors', mirrors the signer by the sign of x, and gives nothing of what was not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slt.data import Landmarks
from slt.streams.arrays import write_pose
from slt.streams.normalise import NORMALISATIONS, SURE, shoulders_seen
from slt.streams.skeleton import find_skeleton

FRAMES = 4
WIDE = (640, 360)
every_form = pytest.mark.parametrize(
    ("form", "points"),
    [
        ("shoulders", "body_hands"),
        ("parts", "unisign"),
        ("sign_space", "youtube_asl_t5"),
        ("unit", "lips"),
        ("picture", "mska"),
    ],
)


def poses(points: str, seed: int = 0) -> np.ndarray:
    """Everything seen, in whole pixels of `WIDE`."""
    rng = np.random.default_rng(seed)
    out = np.ones((FRAMES, len(find_skeleton(points)), 3))
    out[..., 0] = rng.integers(100, 500, out.shape[:2]) / WIDE[0]
    out[..., 1] = rng.integers(50, 300, out.shape[:2]) / WIDE[1]
    out[..., 2] = rng.uniform(0.4, 1, out.shape[:2])
    return out.astype(np.float32)


def reader(form: str, points: str, jitter: float = 0.0) -> Landmarks:
    return Landmarks(folder="pose", points=points, normalise=form, jitter=jitter, noise=0)


def test_parts_are_unisigns() -> None:
    """Its loop over `body`, `left`, `right` and `face_all`, in plain numbers."""
    skeleton, pose = find_skeleton("unisign"), poses("unisign").astype(float)
    pose[1, 5, 2] = pose[2, 20, 2] = 0.2  # unsure: an elbow, and a finger
    sure = [pose[t, k, :2] for t in range(FRAMES) for k in range(9) if pose[t, k, 2] > SURE]
    low, high = np.min(sure, 0), np.max(sure, 0)
    scale = max(high - low)
    corner = (low + high - scale) / 2
    wanted = np.zeros_like(pose)
    for t in range(FRAMES):
        for k in range(69):
            x = pose[t, k, :2]
            origin = 9 if k < 30 else 30 if k < 51 else 68
            place = ((x - corner) / scale - 0.5) * 2 if k < 9 else (x - pose[t, origin, :2]) / scale
            if pose[t, k, 2] > SURE:
                wanted[t, k] = [*np.clip(place, -1, 1), pose[t, k, 2]]
    came = NORMALISATIONS["parts"](pose.astype(np.float32), WIDE, skeleton)
    assert np.abs(came - wanted).max() < 1e-5
    assert np.abs(came[:, :9, :2]).max() == pytest.approx(1)


def test_sign_space_is_jsalts() -> None:
    """Each frame alone, in plain numbers; extents are even, so that its squares are moved by whole pixels."""
    skeleton, pose = find_skeleton("youtube_asl_t5"), poses("youtube_asl_t5")
    pixels = (pose[..., :2].astype(float) * WIDE / 2).round() * 2
    pose[..., :2] = pixels / WIDE
    came = NORMALISATIONS["sign_space"](pose, WIDE, skeleton)
    for t in range(FRAMES):
        left, right = pixels[t, 11], pixels[t, 12]
        width = 1.5 * np.hypot(*(left - right))
        assert np.abs(came[t, :25, :2] - (pixels[t, :25] - (left + right) / 2) / width).max() < 1e-4
        for part in (slice(25, 46), slice(46, 67), slice(67, 104)):
            moved = pixels[t, part] - pixels[t, part].min(0)
            extent = moved.max(0)
            side = extent.max()
            moved += (side - extent) // 2 + 0.2 * side
            assert np.abs(came[t, part, :2] - (2 * moved / (1.4 * side) - 1)).max() < 1e-4


def test_a_whole_clip_fits_a_unit_box_without_being_squeezed() -> None:
    pose = poses("lips")
    came = NORMALISATIONS["unit"](pose, WIDE, find_skeleton("lips"))[..., :2]
    assert max(np.ptp(came, axis=(0, 1))) == pytest.approx(1, abs=1e-5)
    assert came.min((0, 1)) == pytest.approx(-came.max((0, 1)), abs=1e-5)
    apart = np.hypot(*(came[0, 0] - came[3, 9])) / np.hypot(*(came[1, 4] - came[2, 8]))
    there = pose[..., :2] * WIDE
    wanted = np.hypot(*(there[0, 0] - there[3, 9])) / np.hypot(*(there[1, 4] - there[2, 8]))
    assert apart == pytest.approx(wanted, 1e-4)


def test_picture_is_mskas() -> None:
    """Its loader takes pixels from the lower left corner, as shares of the picture, and both axes from -1 to 1."""
    pose = poses("mska")
    pixels = pose[..., :2].astype(float) * WIDE
    came = NORMALISATIONS["picture"](pose, WIDE, find_skeleton("mska"))
    for t in range(FRAMES):
        for k in range(79):
            x, y = pixels[t, k, 0] / WIDE[0], (WIDE[1] - pixels[t, k, 1]) / WIDE[1]
            assert came[t, k] == pytest.approx([(x - 0.5) / 0.5, (y - 0.5) / 0.5, pose[t, k, 2]], abs=1e-6)


@every_form
def test_a_signer_in_a_mirror_has_the_other_sign_of_x(form: str, points: str) -> None:
    skeleton, pose = find_skeleton(points), poses(points)
    pose[1, 3, 2] = 0
    mirrored = pose[:, skeleton.mirror_order].copy()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    ours = reader(form, points).flip(NORMALISATIONS[form](pose, WIDE, skeleton))
    assert ours == pytest.approx(NORMALISATIONS[form](mirrored, WIDE, skeleton), abs=1e-5)


@every_form
def test_what_was_not_seen_is_zero_and_changes_nothing(form: str, points: str) -> None:
    skeleton, pose = find_skeleton(points), poses(points)
    pose[0, skeleton.centre[0], 2] = 0
    pose[1, [0, 30], 2] = 0
    other = pose.copy()
    other[1, [0, 30], :2] = 0.99
    came = NORMALISATIONS[form](pose, WIDE, skeleton)
    assert (came == NORMALISATIONS[form](other, WIDE, skeleton)).all()
    assert not came[0].any()
    assert not came[1, [0, 30]].any()
    assert came[2].all(-1).any()
    assert not NORMALISATIONS[form](0 * pose, WIDE, skeleton).any()
    assert shoulders_seen(pose, skeleton).tolist() == [False, True, True, True]


@every_form
def test_a_shift_moves_what_has_the_origin_of_the_pose(form: str, points: str) -> None:
    jittered = reader(form, points, jitter=0.2)
    still = np.zeros((2, len(jittered.skeleton), 3), np.float32)  # every point at its origin: turned and zoomed nowhere
    moved = jittered.augment(still, np.random.default_rng(3))[..., :2]
    hand = [k for part in ("left_hand", "right_hand") for k in jittered.skeleton.parts[part]]
    assert moved[:, list(jittered.skeleton.centre)].all()
    assert bool(moved[:, hand].any()) == (form in ("shoulders", "unit", "picture"))


@pytest.mark.parametrize(
    ("form", "points", "message"),
    [
        ("part", "unisign", r"'pose': normalise must be one of shoulders, .* came 'part'; did you mean parts\?"),
        ("parts", "lips", "normalise=parts centres a part on FACE_4, which points=lips does not have"),
    ],
)
def test_a_form_that_cannot_be_is_refused_before_any_file_is_read(form: str, points: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reader(form, points)


def test_a_file_says_which_points_it_has(tmp_path: Path) -> None:
    """The lips of GloSL's 543 points, by name and not by count."""
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (FRAMES, 543, 3)).astype(np.float32)
    write_pose(tmp_path / "pose" / "a.npz", pose, size=WIDE, seen=None, skeleton="mediapipe_543")
    for points in ("lips", "body_hands"):
        stream = reader("shoulders", points)
        assert stream.lengths(tmp_path, ["a"]).tolist() == [FRAMES]
        names = find_skeleton("mediapipe_543").points
        columns = [names.index(name) for name in stream.skeleton.points]
        wanted = NORMALISATIONS["shoulders"](pose, WIDE, find_skeleton("mediapipe_543"))[:, columns]
        assert (stream.read(tmp_path, "a", np.arange(FRAMES)).array == wanted).all()
    with pytest.raises(ValueError, match=r"a\.npz: its 543 points .* points=unisign takes NOSE of coco_wholebody_133"):
        reader("parts", "unisign").lengths(tmp_path, ["a"])
