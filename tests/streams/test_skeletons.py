"""Other skeletons: a point of theirs lands on the pose's point that lies in the same place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from slt.config.checks import HOME
from slt.streams.skeletons import (
    BODY_NAMES,
    OPENPOSE_BODY,
    OPENPOSE_FACE,
    missing_points,
    place_components,
    take_points,
)

DATA = HOME.parent / "shared" / "data"
MESH = ["33", "61", "133", "234", "263", "291", "362", "454", "4", "468", "473"]
REDUCED = ["LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_HIP",
           "RIGHT_HIP"]  # fmt: skip


def part(name: str, points: list[str] | int, form: str = "XYC") -> SimpleNamespace:
    names = [str(n) for n in range(points)] if isinstance(points, int) else points
    return SimpleNamespace(name=name, points=names, format=form)


HANDS = [part("LEFT_HAND_LANDMARKS", 21), part("RIGHT_HAND_LANDMARKS", 21)]


def place_of(places: np.ndarray, name: str) -> int:
    return int(places[BODY_NAMES.index(name)])


def test_reduced_holistic_takes_corners_from_the_mesh_and_knuckles_from_the_hands():
    places = place_components([part("POSE_LANDMARKS", REDUCED), part("FACE_LANDMARKS", MESH), *HANDS], "a.pose")
    assert [place_of(places, name) for name in REDUCED] == list(range(8))
    assert place_of(places, "RIGHT_EYE_OUTER") == 8
    assert place_of(places, "MOUTH_LEFT") == 8 + MESH.index("291")
    assert place_of(places, "LEFT_INDEX") == 8 + len(MESH) + 5
    assert places[33:].tolist() == list(range(8 + len(MESH), 8 + len(MESH) + 42))
    assert set(missing_points(places)) == {f"{side}_{end}" for side in ("LEFT", "RIGHT")
                                           for end in ("KNEE", "ANKLE", "HEEL", "FOOT_INDEX")}  # fmt: skip


def test_both_openpose_forms_have_every_point_with_the_signers_own_sides():
    pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')
    from pose_format.utils.openpose import OpenPose_Components
    from pose_format.utils.openpose_135 import OpenPose_Components as Body135

    assert list(OpenPose_Components[0].points) == list(OPENPOSE_BODY)
    assert len(OpenPose_Components[1].points) == OPENPOSE_FACE
    for components in (OpenPose_Components, Body135):
        places = place_components(components, "a.pose")
        names = [name for component in components for name in component.points]
        assert missing_points(places) == []
        assert names[place_of(places, "LEFT_SHOULDER")] == "LShoulder"
        assert names[place_of(places, "RIGHT_EYE")] == "REye"
        assert len({*places.tolist()}) >= 67  # six knuckles stand twice, and in BODY_135 two wrists
        assert names[places[54]] in ("BASE", "RWrist")


def test_hands_alone_leave_the_body_and_the_other_hand_out():
    places = place_components([HANDS[1]], "a.pose")
    assert places[54:].tolist() == list(range(21))
    assert {"LEFT_HAND", "NOSE", "LEFT_SHOULDER"} <= {*missing_points(places)}
    taken = take_points(np.arange(42.0).reshape(1, 21, 2), places, np.nan)
    assert taken.shape == (1, 75, 2)
    assert taken[0, 74].tolist() == [40, 41]
    assert np.isnan(taken[0, :17]).all()


@pytest.mark.parametrize(
    "components",
    [
        [],
        [part("FACE_LANDMARKS", 0)],
        [part("SOMETHING", 33)],
        [part("POSE_LANDMARKS", 25), *HANDS],
        [part("POSE_LANDMARKS", 33), part("LEFT_HAND_LANDMARKS", 20)],
        [part("POSE_LANDMARKS", 33, "C")],
        [part("BODY_135", 135)],
    ],
)
def test_an_unknown_skeleton_is_refused_by_file(components):
    with pytest.raises(ValueError, match=r"^a\.pose: .* expected, .* came \{"):
        place_components(components, "a.pose")


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not on this machine (../shared/data)")
def test_what_stands_in_for_a_point_lies_where_holistic_has_that_point():
    pose_format = pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')
    pose = pose_format.Pose.read((DATA / "pose_kinds" / "holistic_586.pose").read_bytes())
    components = pose.header.components[:-1]  # the last are a body's again, in metres
    values = np.ma.getdata(pose.body.data)[:, 0, :, :2]
    whole = take_points(values, place_components(components, "a"), np.nan)
    other = take_points(values, place_components([part("NO_BODY", 33), *components[1:]], "a"), np.nan)
    width = np.linalg.norm(whole[:, 11] - whole[:, 12], axis=-1).mean()
    apart = np.linalg.norm(whole - other, axis=-1).mean(0)[:23] / width
    there = np.isfinite(apart)
    assert there.sum() == 17  # face and knuckles
    assert apart[there].max() < 0.15
