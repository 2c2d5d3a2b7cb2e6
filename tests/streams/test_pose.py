"""The one normalisation of a pose: the same signing looks the same, whatever the camera."""

import numpy as np

from slt.streams.normalise import centre_on_shoulders, shoulders_seen

SQUARE = (1, 1)


def poses(frames: int = 9, landmarks: int = 75) -> np.ndarray:
    """A signer in the middle of the picture, shoulders 0.2 apart, all points seen."""
    rng = np.random.default_rng(1)
    pose = np.concatenate([rng.uniform(0.3, 0.7, (frames, landmarks, 2)), np.ones((frames, landmarks, 1))], 2)
    pose[:, 11, :2] = 0.6, 0.5
    pose[:, 12, :2] = 0.4, 0.5
    return pose.astype(np.float32)


def test_shoulders_are_one_apart_around_zero():
    out = centre_on_shoulders(poses(), SQUARE)
    assert np.allclose(out[:, 11], [0.5, 0, 1], atol=1e-6)
    assert np.allclose(out[:, 12], [-0.5, 0, 1], atol=1e-6)


def test_place_and_distance_of_the_camera_change_nothing():
    near = poses()
    far = near.copy()
    far[..., :2] = near[..., :2] * 0.37 + [0.1, 0.3]
    assert np.allclose(centre_on_shoulders(near, SQUARE), centre_on_shoulders(far, SQUARE), atol=1e-5)


def test_the_shape_of_the_picture_changes_nothing():
    square = poses()
    wide = square.copy()
    wide[..., 0] = (square[..., 0] + 0.4) / 1.8  # the same 1 x 1 scene inside a picture 1.8 wide
    assert np.allclose(centre_on_shoulders(square, SQUARE), centre_on_shoulders(wide, (1800, 1000)), atol=1e-5)


def test_one_bad_frame_moves_no_other():
    pose, bad = poses(), poses()
    bad[4, 11:13, :2] = [[9, 9], [-7, 3]]
    good, moved = centre_on_shoulders(pose, SQUARE), centre_on_shoulders(bad, SQUARE)
    others = np.arange(9) != 4
    assert np.allclose(good[others], moved[others], atol=1e-6)


def test_a_point_that_was_not_seen_is_zero_whatever_it_held():
    pose, other = poses(), poses()
    for array, value in ((pose, 0.0), (other, 123.0)):
        array[3, 15] = value, value, 0
    out = centre_on_shoulders(pose, SQUARE)
    assert (out[3, 15] == 0).all()
    assert (out == centre_on_shoulders(other, SQUARE)).all()


def test_a_frame_without_shoulders_is_not_seen_and_zero():
    pose = poses()
    pose[2, 12, 2] = 0
    assert shoulders_seen(pose).tolist() == [t != 2 for t in range(9)]
    assert not centre_on_shoulders(pose, SQUARE)[2].any()


def test_a_clip_without_shoulders_is_zero():
    pose = poses()
    pose[:, 11, 2] = 0
    assert not centre_on_shoulders(pose, SQUARE).any()
    pose = poses()
    pose[:, 11] = pose[:, 12]
    assert not centre_on_shoulders(pose, SQUARE).any()
