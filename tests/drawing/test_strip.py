"""A filmstrip shows what was seen and nothing of what was not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slt.drawing.strip import filmstrip
from slt.streams.skeleton import MEDIAPIPE, find_skeleton

FRAMES = 12
POSE = {"pose": MEDIAPIPE}


def pose(landmarks: int) -> np.ndarray:
    points = np.random.default_rng(0).uniform(-1, 1, (FRAMES, landmarks, 3)).astype(np.float32)
    points[..., 2] = 0.9
    return points


def test_every_kind_of_stream_has_a_row():
    streams = {
        "face": torch.zeros(FRAMES, 3, 16, 16, dtype=torch.uint8),
        "pose": pose(75),
        "mine": np.ones((FRAMES, 5)),
    }
    strip = filmstrip(
        streams, {name: torch.ones(FRAMES, dtype=torch.bool) for name in streams}, columns=6, skeletons=POSE
    )
    assert strip.dtype == np.uint8
    assert strip.shape[-1] == 3
    fewer = filmstrip({"face": streams["face"]}, {}, columns=6)
    assert fewer.shape[1] == strip.shape[1]
    assert fewer.shape[0] < strip.shape[0]


def test_a_frame_that_was_not_seen_leaves_no_trace():
    shown = np.full((FRAMES, 3, 16, 16), 200, np.uint8)
    other = shown.copy()
    other[5:] = 17
    seen = {"hand": np.arange(FRAMES) < 5}
    assert (filmstrip({"hand": shown}, seen, columns=12) == filmstrip({"hand": other}, seen, columns=12)).all()
    assert (filmstrip({"hand": shown}, {}, columns=12) != filmstrip({"hand": other}, {}, columns=12)).any()


@pytest.mark.parametrize("name", ["upper_body", "body", "mediapipe_75", "mediapipe_543"])
def test_a_point_that_was_not_seen_is_not_drawn(name):
    known = {"pose": find_skeleton(name)}
    points = pose(len(known["pose"]))
    points[:, 13, 2] = 0
    moved = points.copy()
    moved[:, 13, :2] = 0.3
    assert (
        filmstrip({"pose": points}, {}, columns=4, skeletons=known)
        == filmstrip({"pose": moved}, {}, columns=4, skeletons=known)
    ).all()
    moved[:, 13, 2] = 1
    assert (
        filmstrip({"pose": points}, {}, columns=4, skeletons=known)
        != filmstrip({"pose": moved}, {}, columns=4, skeletons=known)
    ).any()


def test_a_clip_in_which_nothing_was_seen_is_drawn():
    nothing = {"pose": np.zeros((3, 75, 3), np.float32), "mine": np.full((3, 4), np.nan)}
    assert filmstrip(nothing, {"pose": np.zeros(3, bool)}, columns=8, skeletons=POSE).size


def test_channels_may_stand_last():
    crops = np.random.default_rng(0).integers(0, 255, (FRAMES, 16, 16, 3), dtype=np.uint8)
    first = filmstrip({"face": crops.transpose(0, 3, 1, 2)}, {}, columns=5)
    assert (filmstrip({"face": crops}, {}, columns=5) == first).all()


@pytest.mark.parametrize(
    ("streams", "seen", "message"),
    [
        ({}, {}, "none"),
        ({"a": np.ones((2, 4)), "b": np.ones((3, 4))}, {}, "a 2, b 3"),
        ({"a": np.ones((0, 4))}, {}, "a 0"),
        ({"a": np.ones((2, 4, 4, 4))}, {}, r"\(2, 4, 4, 4\)"),
        ({"a": np.ones((2, 4))}, {"a": np.ones(3)}, "seen marks of a"),
        ({"a": np.ones((2, 75, 3))}, {}, "skeleton of a pose"),
    ],
)
def test_what_cannot_be_drawn_is_said(streams, seen, message):
    with pytest.raises(ValueError, match=message):
        filmstrip(streams, seen, columns=4)
