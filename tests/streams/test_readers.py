"""Readers of streams: both forms on disk agree, what was not seen cannot matter, augmentation stays in its bounds."""

from pathlib import Path

import numpy as np
import pytest

from slt.data import Crops, Features, Landmarks
from slt.streams.arrays import write_features, write_pose
from slt.streams.packed import frame_path, write_frames, write_packed

ALL = np.arange(5)


@pytest.fixture
def frames() -> np.ndarray:
    side = np.linspace(30, 200, 16)
    return np.stack([(side[:, None, None] + side[:, None]) / 2 * [1, 0.8, 0.6] for _ in ALL]).astype(np.uint8)


SEEN = np.array([1, 0, 1, 1, 1], bool)


def crops(size: int = 16, jitter: float = 0.1, colour: float = 0.2, folder: str = "face") -> Crops:
    return Crops(folder=folder, size=size, jitter=jitter, colour=colour)


def write(root: Path, form: str, frames: np.ndarray) -> None:
    path = root / "face" / "a.safetensors"
    if form == "frames":
        write_frames(root / "face", "a", frames * SEEN[:, None, None, None], quality=98)
    else:
        write_packed(path, frames, SEEN, encoding=form, quality=98, extractor="x")


def landmarks(points: str = "body", jitter: float = 0.1, noise: float = 0.01) -> Landmarks:
    return Landmarks(folder="pose", points=points, normalise="shoulders", jitter=jitter, noise=noise)


def pose(frames: int = 5) -> np.ndarray:
    out = np.random.default_rng(0).uniform(0.2, 0.8, (frames, 75, 3)).astype(np.float32)
    out[1, 11, 2] = 0
    out[2, 40, 2] = 0
    return out


@pytest.mark.parametrize("form", ["raw", "jpeg", "frames"])
def test_every_form_gives_the_same_crops(tmp_path: Path, frames, form):
    write(tmp_path, form, frames)
    reader = crops()
    array, seen = reader.read(tmp_path, "a", np.array([3, 0, 1]))
    assert reader.lengths(tmp_path, ["a"]).tolist() == [5]
    assert np.abs(array[:2].astype(int) - frames[[3, 0]]).max() <= 6
    assert seen.tolist() == [True, True, False]


def test_seen_marks_beside_the_pose_stand_for_single_frames(tmp_path: Path, frames):
    write_frames(tmp_path / "face", "a", frames, quality=90)
    write_pose(tmp_path / "pose" / "a.npz", pose(), size=None, seen={"face": ~SEEN})
    assert crops().read(tmp_path, "a", ALL).seen.tolist() == (~SEEN).tolist()
    write_pose(tmp_path / "pose" / "a.npz", pose(3), size=None, seen={"face": SEEN[:3]})
    with pytest.raises(ValueError, match="3 marks `seen_face`, but the clip has frame 4"):
        crops().read(tmp_path, "a", ALL)


def test_crops_are_given_at_the_size_asked_for(tmp_path: Path, frames):
    write(tmp_path, "raw", frames)
    small = crops(8).read(tmp_path, "a", ALL).array
    assert small.shape == (5, 8, 8, 3)
    assert np.abs(small[0].astype(int) - frames[0].reshape(8, 2, 8, 2, 3).mean((1, 3))).max() <= 1


def test_what_was_not_seen_is_zero_also_after_augmentation(frames):
    reader = crops(colour=0.9)
    out = reader.finish(reader.augment(frames, np.random.default_rng(0)), SEEN)
    assert out.shape == (5, 3, 16, 16)
    assert out.dtype == np.uint8
    assert out.reshape(5, -1).any(1).tolist() == SEEN.tolist()


def test_crops_keep_their_channels(frames):
    out = crops().finish(frames, np.ones(5, bool))
    assert (out[2].transpose(1, 2, 0) == frames[2]).all()


def test_flipped_twice_is_the_picture(frames):
    once = crops().flip(frames)
    assert (once == frames[:, :, ::-1]).all()
    assert (crops().flip(once) == frames).all()


def test_crop_augmentation_is_one_draw_a_clip_and_none_at_zero(frames):
    rng = np.random.default_rng
    changed = crops().augment(frames, rng(3))
    assert (changed == changed[:1]).all(), "the frames were alike before"
    assert (changed != frames).any()
    assert (changed == crops().augment(frames, rng(3))).all()
    assert (crops(jitter=0, colour=0).augment(frames, rng(3)) == frames).all()


@pytest.mark.parametrize("seed", range(5))
def test_jitter_moves_no_further_than_it_says(seed):
    dot = np.zeros((1, 41, 41, 3), np.uint8)
    dot[0, 19:22, 19:22] = 255
    out = Crops(folder="f", size=41, jitter=0.1, colour=0).augment(dot, np.random.default_rng(seed))
    ys, xs = np.nonzero(out[0, ..., 0] > 127)
    assert abs(ys.mean() - 20) <= 4.6
    assert abs(xs.mean() - 20) <= 4.6


@pytest.mark.parametrize("gap", [0, 2])
def test_a_gap_in_the_frame_numbers_is_named(tmp_path: Path, frames, gap):
    write(tmp_path, "frames", frames)
    frame_path(tmp_path / "face", "a", gap).unlink()
    with pytest.raises(ValueError, match=rf"a_f00000{gap}\.jpg: no such frame, .* to frame 4 \(frame {gap} missing\)"):
        crops().lengths(tmp_path, ["a"])


def test_both_forms_in_one_folder_are_refused(tmp_path: Path, frames):
    write(tmp_path, "frames", frames)
    write(tmp_path, "raw", frames)
    with pytest.raises(ValueError, match="keep one form in a folder"):
        crops().lengths(tmp_path, ["a"])


def test_clips_without_files_and_missing_folders_are_named(tmp_path: Path, frames):
    write(tmp_path, "raw", frames)
    with pytest.raises(FileNotFoundError, match=r"face/b\.safetensors: no such file, .*1 of the 2 clips of the split"):
        crops().lengths(tmp_path, ["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"hand_l: no such folder of a stream; .* holds the folders \['face'\]"):
        crops(folder="hand_l").lengths(tmp_path, ["a"])


@pytest.mark.parametrize(("content", "message"), [(b"GIF89a", "not a JPEG"), (None, "a truncated JPEG")])
def test_a_broken_frame_is_named(tmp_path: Path, frames, content, message):
    write(tmp_path, "frames", frames)
    path = frame_path(tmp_path / "face", "a", 3)
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=rf"a_f000003\.jpg: {message}"):
        crops().read(tmp_path, "a", ALL)


def test_a_broken_frame_in_a_packed_clip_is_named(tmp_path: Path, frames):
    write(tmp_path, "jpeg", frames)
    path = tmp_path / "face" / "a.safetensors"
    data = bytearray(path.read_bytes())
    third = [place for place in range(len(data)) if data[place : place + 3] == b"\xff\xd8\xff"][3]
    data[third] = 0
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.safetensors frame 3: not a JPEG"):
        crops().read(tmp_path, "a", ALL)


def test_wrong_crop_options_are_named():
    with pytest.raises(ValueError, match=r"crops of 'face': .* jitter=1\.5"):
        crops(jitter=1.5)


def test_landmarks_are_centred_over_the_whole_clip_before_frames_are_chosen(tmp_path: Path):
    write_pose(tmp_path / "pose" / "a.npz", pose(), size=(640, 480), seen=None)
    whole, seen = landmarks().read(tmp_path, "a", ALL)
    part = landmarks().read(tmp_path, "a", np.array([4, 2])).array
    assert seen.tolist() == [True, False, True, True, True]
    assert whole.shape == (5, 33, 3)
    assert (whole[[4, 2]] == part).all()


def test_unseen_points_and_frames_stay_zero_after_augmentation(tmp_path: Path):
    write_pose(tmp_path / "pose" / "a.npz", pose(), size=None, seen=None)
    reader = landmarks("body_hands")
    array, seen = reader.read(tmp_path, "a", ALL)
    out = reader.finish(reader.augment(array, np.random.default_rng(0)), seen)
    assert out.dtype == np.float32
    assert not out[1].any()
    assert not out[2, 40].any()
    assert out[2, 41].any()


def test_landmark_jitter_keeps_the_shape_of_the_body(tmp_path: Path):
    write_pose(tmp_path / "pose" / "a.npz", pose(), size=None, seen=None)
    array = landmarks().read(tmp_path, "a", ALL).array
    out = landmarks(jitter=0.3, noise=0).augment(array, np.random.default_rng(1))

    def sides(a: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[3:, :10, :2] - a[3:, 10:20, :2], axis=-1)

    ratio = sides(out) / sides(array)
    assert ratio.std() < 1e-4
    assert 0.7 <= ratio.mean() <= 1.3
    assert (landmarks(jitter=0, noise=0).augment(array, np.random.default_rng(1)) == array).all()


def test_a_flipped_pose_raises_the_other_arm(tmp_path: Path):
    write_pose(tmp_path / "pose" / "a.npz", pose(), size=None, seen=None)
    array = landmarks().read(tmp_path, "a", ALL).array
    once = landmarks().flip(array)
    assert np.allclose(once[:, 15], array[:, 16] * [-1, 1, 1])
    assert (landmarks().flip(once) == array).all()


def test_landmarks_in_another_numbering_and_missing_poses_are_named(tmp_path: Path):
    write_pose(tmp_path / "pose" / "a.npz", pose()[:, :17], size=None, seen=None)
    with pytest.raises(ValueError, match=r"a\.npz: a pose of mediapipe_75 has 33 landmarks .* came 17"):
        landmarks().lengths(tmp_path, ["a"])
    with pytest.raises(FileNotFoundError, match=r"pose/b\.npz: no such file, but clip 'b'"):
        landmarks().lengths(tmp_path, ["b"])
    with pytest.raises(ValueError, match="landmarks of 'pose': points must be one of body, body_hands, .*came 'hand'"):
        landmarks("hand")


def test_features_are_mapped_and_not_copied(tmp_path: Path):
    stored = np.arange(20, dtype=np.float32).reshape(5, 4)
    write_features(tmp_path / "feats" / "a.npy", stored)
    reader = Features(folder="feats")
    array, seen = reader.read(tmp_path, "a", ALL)
    out = reader.finish(array, seen)
    assert isinstance(array, np.memmap)
    assert np.shares_memory(out, array)
    assert (out == stored).all()
    assert (reader.read(tmp_path, "a", np.array([4, 1])).array == stored[[4, 1]]).all()


def test_shaken_features_are_scaled_each_by_its_own_factor_and_what_was_not_seen_stays_so(tmp_path: Path):
    stored = np.ones((50, 3), np.float32)
    stored[7] = np.nan
    write_features(tmp_path / "feats" / "a.npy", stored)
    seen = np.arange(50) != 7

    def shaken(**keys: float) -> np.ndarray:
        reader = Features(folder="feats", **keys)
        array = reader.read(tmp_path, "a", np.arange(50)).array
        return reader.finish(reader.augment(array, np.random.default_rng(0)), seen)

    scaled, noisy = shaken(scale=0.2), shaken(noise=0.5)
    assert (scaled[seen] == scaled[0]).all()
    assert len({*scaled[0].tolist()}) == 3
    assert np.abs(scaled[0] - 1).max() <= 0.2
    assert noisy[seen].std() == pytest.approx(0.5, rel=0.2)
    assert not scaled[7].any()
    assert not noisy[7].any()
    assert scaled.dtype == noisy.dtype == np.float32
    with pytest.raises(ValueError, match="scale < 1"):
        Features(folder="feats", scale=1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_feature_row_of_nan_was_not_seen(tmp_path: Path, dtype):
    stored = np.ones((5, 4), dtype)
    stored[1] = np.nan
    write_features(tmp_path / "feats" / "a.npy", stored)
    reader = Features(folder="feats")
    out = reader.finish(*reader.read(tmp_path, "a", ALL))
    assert reader.read(tmp_path, "a", ALL).seen.tolist() == SEEN.tolist()
    assert out.dtype == np.float32
    assert out.sum(1).tolist() == [4, 0, 4, 4, 4]
    assert np.isnan(np.load(tmp_path / "feats" / "a.npy")[1]).all(), "the file stays as it is"


def test_half_a_row_of_nan_and_clips_of_different_width_are_named(tmp_path: Path):
    stored = np.ones((5, 4), np.float32)
    stored[3, 2] = np.nan
    write_features(tmp_path / "feats" / "a.npy", stored)
    write_features(tmp_path / "feats" / "b.npy", stored[:, :3])
    with pytest.raises(ValueError, match=r"a\.npy: NaN or infinity in part of frame 3"):
        Features(folder="feats").read(tmp_path, "a", ALL)
    with pytest.raises(ValueError, match=r"b\.npy: 3 features a frame, but a\.npy has 4"):
        Features(folder="feats").lengths(tmp_path, ["a", "b"])
