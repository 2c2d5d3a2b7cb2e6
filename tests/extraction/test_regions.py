"""The regions stage: boxes follow their part without jitter or lag, crops are black where nothing was seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from slt.extraction import regions as rois
from slt.extraction.geometry import HEAD
from slt.extraction.landmarks import Landmarks
from slt.extraction.regions import STREAMS, Extractor, find_boxes, smooth
from slt.extraction.signers import Signer
from slt.streams.pose import DETECTED, FOLLOWED, NOT_SEEN
from slt.streams.skeleton import BODY, HAND

LEFT, RIGHT = slice(BODY, BODY + HAND), slice(BODY + HAND, BODY + 2 * HAND)
EYES = [(x, 0) for x in (-0.2, -0.3, -0.4, 0.2, 0.3, 0.4)]
HEAD_AT = [(0, 0.5), *EYES, (-0.9, 0.2), (0.9, 0.2), (-0.2, 0.9), (0.2, 0.9)]


class Stub:
    """Landmarks of a script: frame -> left hand's centre in pixels or None, and the left arm's hand and visibility.

    The face is at the middle; there is no right hand.
    """

    name, skeleton = "stub", "mediapipe_75"

    def __init__(self, hand=lambda t: (20 + t, 30), size=(100, 80), arm=lambda t: ((0, 0), 0)):
        self.parameters = {"landmarker": "stub"}
        self.hand, self.size, self.arm, self.starts = hand, np.array(size), arm, []

    def start(self, box):
        self.t = -1
        self.starts.append(box)

    def people(self, picture):
        return [np.full((BODY, 3), 0.5)]

    def find(self, seconds, picture):
        self.t += 1
        points = np.zeros((BODY + 2 * HAND, 3), np.float32)
        points[HEAD] = np.column_stack([(np.array(HEAD_AT) * 10 + (50, 20)) / self.size, np.ones(11)])
        if self.hand(self.t) is not None:
            ring = np.column_stack([np.cos(np.arange(HAND)), np.sin(np.arange(HAND))]) * 5
            points[LEFT] = np.column_stack([(ring + self.hand(self.t)) / self.size, np.full(HAND, 0.9)])
        place, visibility = self.arm(self.t)
        points[[15, 17, 19]] = *np.array(place) / self.size, visibility
        return Landmarks(points, True)

    def close(self):
        pass


def extractor(stub, **keys):
    usual = {"crop_size": 16, "face_margin": 1.0, "hand_margin": 1.5, "smooth_centre": 0.2, "smooth_size": 0.3}
    usual |= {"follow_visibility": 0.9, "follow_seconds": 0.35, "signer": "auto", "min_certainty": 0.6}
    return Extractor(stub, **usual | keys)


def clip_of(one: Extractor, frames, signer: Signer | None = None) -> SimpleNamespace:
    """All frames of a clip: points, crops, marks and boxes with T before their shapes."""
    done = list(one.stream(frames, fps=10, signer=signer or ALONE))
    streams = {
        key: {name: np.stack([getattr(frame, key)[name] for frame in done]) for name in STREAMS}
        for key in ("crops", "marks", "boxes")
    }
    return SimpleNamespace(points=np.stack([frame.points for frame in done]), size=done[0].size, **streams)


ALONE = Signer(box=None, certainty=1.0, persons=1, unsure=False)


def pictures(count=12, size=(100, 80)):
    for t in range(count):
        yield t / 10, np.full((size[1], size[0], 3), min(10 * t + 10, 255), np.uint8)


def test_a_clip_has_all_streams_in_one_length():
    clip = clip_of(extractor(Stub()), pictures())
    assert clip.points.shape == (12, 75, 3)
    assert {name: crops.shape for name, crops in clip.crops.items()} == dict.fromkeys(
        ("face", "left_hand", "right_hand"), (12, 16, 16, 3)
    )
    assert clip.size == (100, 80)


def test_each_crop_is_cut_from_its_own_frame_though_the_smoothing_looks_ahead():
    clip = clip_of(extractor(Stub()), pictures())
    assert clip.crops["face"][:, 8, 8, 0].tolist() == [10 * t + 10 for t in range(12)]


def test_what_was_not_found_is_black_and_not_seen():
    clip = clip_of(extractor(Stub(lambda t: None if t in (3, 4) else (50, 40))), pictures())
    assert np.flatnonzero(clip.marks["left_hand"] == NOT_SEEN).tolist() == [3, 4]
    assert np.isnan(clip.boxes["left_hand"][3:5]).all()
    assert not clip.crops["left_hand"][3:5].any()
    assert clip.crops["left_hand"][5].any()
    assert not clip.marks["right_hand"].any()
    assert (clip.marks["face"] == DETECTED).all()


def test_a_missed_hand_is_followed_by_its_arm_in_the_size_it_had():
    stub = Stub(lambda t: None if t in (4, 5) else (50, 40), arm=lambda t: ((52, 43), 0.95))
    clip = clip_of(extractor(stub, smooth_centre=0.0, smooth_size=0.0), pictures())
    assert clip.marks["left_hand"].tolist() == [1] * 4 + [FOLLOWED] * 2 + [1] * 6
    assert clip.boxes["left_hand"][4, :2] == pytest.approx((52, 43), abs=1e-4)
    assert clip.boxes["left_hand"][4, 2] == pytest.approx(clip.boxes["left_hand"][3, 2])
    assert clip.crops["left_hand"][4].all()
    assert not clip.points[4, LEFT, 2].any()  # where its points are nobody knows


@pytest.mark.parametrize(
    "arm",
    [
        ((52, 43), 0.85),  # an arm that hangs out of the picture has such a wrist
        ((52, 81), 0.95),  # the hand's place is below the picture's edge
    ],
)
def test_a_hand_that_may_not_be_there_is_not_followed(arm):
    stub = Stub(lambda t: None if t > 3 else (50, 40), arm=lambda t: arm)
    assert clip_of(extractor(stub), pictures()).marks["left_hand"].tolist() == [1] * 4 + [0] * 8


def test_a_hand_is_followed_for_a_while_only_and_never_before_it_was_found():
    found_at_3 = Stub(lambda t: (50, 40) if t == 3 else None, arm=lambda t: ((52, 43), 0.95))
    marks = clip_of(extractor(found_at_3), pictures()).marks["left_hand"]
    assert marks.tolist() == [0] * 3 + [1] + [2] * 3 + [0] * 5


def test_following_can_be_switched_off():
    stub = Stub(lambda t: None if t == 4 else (50, 40), arm=lambda t: ((52, 43), 1.0))
    marks = clip_of(extractor(stub, follow_seconds=0.0), pictures()).marks["left_hand"]
    assert marks[4] == NOT_SEEN


def test_boxes_of_followed_frames_take_part_in_the_smoothing():
    jump = Stub(lambda t: None if t == 5 else (50, 40), arm=lambda t: ((54, 40), 1.0))
    centres = clip_of(extractor(jump), pictures()).boxes["left_hand"][:, 0]
    assert 50 < centres[4] < centres[5] < 54


def test_what_is_kept_of_a_clip_does_not_grow_with_it():
    stream = extractor(Stub(), smooth_centre=0.2, smooth_size=0.2).stream(pictures(400), fps=10, signer=ALONE)
    for n, _ in enumerate(stream):
        if n == 300:
            kept = stream.gi_frame.f_locals
            assert len(kept["waiting"]) <= 3
            assert len(kept["boxes"]) <= 5
            assert len(kept["lately"]) <= 2


def test_the_signers_box_goes_to_the_landmarker():
    stub = Stub()
    signer = Signer(box=(1.0, 2.0, 30.0, 40.0), certainty=0.9, persons=2, unsure=False)
    clip_of(extractor(stub), pictures(3), signer)
    assert stub.starts == [(1.0, 2.0, 30.0, 40.0)]


def test_one_who_is_alone_needs_no_box():
    assert extractor(Stub()).find_signer(lambda seconds: pictures(len(seconds)), duration=3.0, box=None) == ALONE


def test_a_head_without_a_face_is_not_a_seen_face():
    stub = Stub()
    stub.start(None)
    points, *_ = stub.find(0, None)
    assert np.isnan(find_boxes(Landmarks(points, False), (100, 80))[0]).all()


def test_the_face_box_is_centred_between_eyes_and_mouth():
    stub = Stub()
    stub.start(None)
    x, y, side = find_boxes(stub.find(0, None), (100, 80))[0]
    assert (x, y) == pytest.approx((50, 24.5))
    assert 20 < side < 40


def test_a_steady_motion_is_followed_without_lag():
    frames = list(extractor(Stub(lambda t: (20 + 2 * t, 30))).stream(pictures(), fps=10, signer=ALONE))
    centres = [frame.boxes["left_hand"][0] for frame in frames[3:-3]]
    assert np.diff(centres) == pytest.approx(2, abs=1e-3)
    assert centres[0] == pytest.approx(26, abs=0.3)


def test_jitter_is_taken_out():
    noise = np.random.default_rng(0).normal(0, 0.4, (60, 2))
    frames = list(extractor(Stub(lambda t: (50, 40) + noise[t])).stream(pictures(60), fps=10, signer=ALONE))
    assert np.std([frame.boxes["left_hand"][0] for frame in frames]) < 0.6 * noise[:, 0].std()


def test_a_fast_hand_stays_near_the_middle_of_its_crop():
    frames = list(extractor(Stub(lambda t: (20 if t < 6 else 70, 30))).stream(pictures(), fps=10, signer=ALONE))
    for t, frame in enumerate(frames):
        assert abs(frame.boxes["left_hand"][0] - (20 if t < 6 else 70)) < 1.5


def test_a_crop_over_the_edge_is_padded_with_black():
    clip = clip_of(extractor(Stub(lambda t: (0, 40)), smooth_centre=0.0, smooth_size=0.0), pictures(3))
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
    first, second = clip_of(one, pictures()), clip_of(one, pictures())
    assert len(one.landmarker.starts) == 2
    np.testing.assert_array_equal(first.crops["left_hand"], second.crops["left_hand"])


def test_the_fingerprint_changes_with_a_parameter_and_with_nothing_else():
    assert extractor(Stub()).fingerprint == extractor(Stub(lambda t: None)).fingerprint
    assert extractor(Stub()).fingerprint != extractor(Stub(), hand_margin=1.6).fingerprint


def test_wrong_parameters_are_said():
    with pytest.raises(ValueError, match="crop_size=0"):
        extractor(Stub(), crop_size=0)
    with pytest.raises(ValueError, match="follow_visibility=2"):
        extractor(Stub(), follow_visibility=2)
    with pytest.raises(ValueError, match="signer must be one of auto, largest, box, .*signer=first"):
        extractor(Stub(), signer="first")


def test_libraries_that_change_pixels_change_the_fingerprint(monkeypatch):
    before = extractor(Stub()).fingerprint
    monkeypatch.setattr(rois, "versions", lambda: {"libswscale": "8"})
    assert extractor(Stub()).fingerprint != before
