"""The regions stage: boxes follow their part without jitter or lag, crops are black where nothing was seen."""

from __future__ import annotations

import numpy as np
import pytest

from slt.data.landmarks import HEAD, Landmarks
from slt.data.pose import BODY, HAND
from slt.data.rois import Extractor, find_boxes, smooth

LEFT, RIGHT = slice(BODY, BODY + HAND), slice(BODY + HAND, BODY + 2 * HAND)
EYES = [(x, 0) for x in (-0.2, -0.3, -0.4, 0.2, 0.3, 0.4)]
HEAD_AT = [(0, 0.5), *EYES, (-0.9, 0.2), (0.9, 0.2), (-0.2, 0.9), (0.2, 0.9)]


class Stub:
    """Landmarks of a script: frame -> (left hand's centre in pixels or None), face at the middle, no right hand."""

    def __init__(self, hand=lambda t: (20 + t, 30), size=(100, 80)):
        self.parameters = {"landmarker": "stub"}
        self.hand, self.size, self.starts = hand, np.array(size), 0

    def start(self):
        self.starts, self.t = self.starts + 1, -1

    def find(self, seconds, picture):
        self.t += 1
        points = np.zeros((BODY + 2 * HAND, 3), np.float32)
        points[HEAD] = np.column_stack([(np.array(HEAD_AT) * 10 + (50, 20)) / self.size, np.ones(11)])
        if self.hand(self.t) is not None:
            ring = np.column_stack([np.cos(np.arange(HAND)), np.sin(np.arange(HAND))]) * 5
            points[LEFT] = np.column_stack([(ring + self.hand(self.t)) / self.size, np.full(HAND, 0.9)])
        return Landmarks(points, True)

    def close(self):
        pass


def extractor(stub, **keys):
    keys = {"crop_size": 16, "face_margin": 1.0, "hand_margin": 1.5, "smooth_centre": 0.2, "smooth_size": 0.3, **keys}
    return Extractor(stub, **keys)


def pictures(count=12, size=(100, 80)):
    for t in range(count):
        yield t / 10, np.full((size[1], size[0], 3), min(10 * t + 10, 255), np.uint8)


def test_a_clip_has_all_streams_in_one_length():
    clip = extractor(Stub()).clip(pictures(), fps=10)
    assert clip.points.shape == (12, 75, 3)
    assert {name: crops.shape for name, crops in clip.crops.items()} == dict.fromkeys(
        ("face", "left_hand", "right_hand"), (12, 16, 16, 3)
    )
    assert clip.size == (100, 80)


def test_each_crop_is_cut_from_its_own_frame_though_the_smoothing_looks_ahead():
    clip = extractor(Stub()).clip(pictures(), fps=10)
    assert clip.crops["face"][:, 8, 8, 0].tolist() == [10 * t + 10 for t in range(12)]


def test_what_was_not_found_is_black_and_not_seen():
    clip = extractor(Stub(lambda t: None if t in (3, 4) else (50, 40))).clip(pictures(), fps=10)
    assert np.flatnonzero(~clip.seen["left_hand"]).tolist() == [3, 4]
    assert not clip.crops["left_hand"][3:5].any()
    assert clip.crops["left_hand"][5].any()
    assert not clip.seen["right_hand"].any()


def test_a_head_without_a_face_is_not_a_seen_face():
    stub = Stub()
    stub.start()
    points, _ = stub.find(0, None)
    assert np.isnan(find_boxes(Landmarks(points, False), (100, 80))[0]).all()


def test_the_face_box_is_centred_between_eyes_and_mouth():
    stub = Stub()
    stub.start()
    x, y, side = find_boxes(stub.find(0, None), (100, 80))[0]
    assert (x, y) == pytest.approx((50, 24.5))
    assert 20 < side < 40


def test_a_steady_motion_is_followed_without_lag():
    frames = list(extractor(Stub(lambda t: (20 + 2 * t, 30))).stream(pictures(), fps=10))
    centres = [frame.boxes["left_hand"][0] for frame in frames[3:-3]]
    assert np.diff(centres) == pytest.approx(2, abs=1e-3)
    assert centres[0] == pytest.approx(26, abs=0.3)


def test_jitter_is_taken_out():
    noise = np.random.default_rng(0).normal(0, 0.4, (60, 2))
    frames = list(extractor(Stub(lambda t: (50, 40) + noise[t])).stream(pictures(60), fps=10))
    assert np.std([frame.boxes["left_hand"][0] for frame in frames]) < 0.6 * noise[:, 0].std()


def test_a_fast_hand_stays_near_the_middle_of_its_crop():
    frames = list(extractor(Stub(lambda t: (20 if t < 6 else 70, 30))).stream(pictures(), fps=10))
    for t, frame in enumerate(frames):
        assert abs(frame.boxes["left_hand"][0] - (20 if t < 6 else 70)) < 1.5


def test_a_crop_over_the_edge_is_padded_with_black():
    clip = extractor(Stub(lambda t: (0, 40)), smooth_centre=0.0, smooth_size=0.0).clip(pictures(3), fps=10)
    crop = clip.crops["left_hand"][0]
    assert not crop[:, 0].any()
    assert crop[:, -1].all()


def test_smoothing_uses_seen_frames_only():
    boxes = np.full((3, 1, 3), np.nan)
    boxes[1:] = [[[10.0, 10, 20]], [[11.0, 10, 22]]]
    assert smooth(boxes, 1, 1, 1)[0] == pytest.approx([(20 + 11) / 3, 10, (40 + 22) / 3])
    assert np.isnan(smooth(boxes, 0, 1, 1)).all()


def test_a_clip_does_not_depend_on_the_one_before():
    one = extractor(Stub())
    first, second = one.clip(pictures(), fps=10), one.clip(pictures(), fps=10)
    assert one.landmarker.starts == 2
    np.testing.assert_array_equal(first.crops["left_hand"], second.crops["left_hand"])


def test_the_fingerprint_changes_with_a_parameter_and_with_nothing_else():
    assert extractor(Stub()).fingerprint == extractor(Stub(lambda t: None)).fingerprint
    assert extractor(Stub()).fingerprint != extractor(Stub(), hand_margin=1.6).fingerprint


def test_no_frames_and_wrong_parameters_are_said():
    with pytest.raises(ValueError, match="pictures of one size"):
        extractor(Stub()).clip(iter(()), fps=10)
    with pytest.raises(ValueError, match="crop_size=0"):
        extractor(Stub(), crop_size=0)
