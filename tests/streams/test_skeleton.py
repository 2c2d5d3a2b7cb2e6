"""A skeleton is its file: the mirror, the bones and the subsets follow, and a new subset runs from training to live."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slt.commands.export import open_run
from slt.data import Landmarks
from slt.drawing.skeleton import parts
from slt.drawing.strip import filmstrip
from slt.exporting import folder
from slt.exporting.graphs import decoder_graphs, encoder_graph
from slt.inference.checkpoint import CheckpointTranslator
from slt.inference.inputs import inputs_from_regions
from slt.models.signature import read_manifest, write_manifest
from slt.streams.skeleton import MEDIAPIPE, file_skeleton, find_skeleton, spell_out

ARMS = "of: mediapipe_75\npoints: [LEFT_ELBOW, LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_ELBOW, left_hand, right_hand]\n"
FACE = """
centre: [LEFT_SHOULDER, RIGHT_SHOULDER]
parts: {body: [NOSE, RIGHT_SHOULDER, LEFT_SHOULDER], face: [LEFT_CHEEK, CHIN, RIGHT_CHEEK]}
edges: {body: {trunk: [[1, 2]]}, face: {outline: [[0, 1, 2, 0]]}}
"""


def own(text: str, name: str, folder: str = "skeleton") -> str:
    path = Path.cwd() / folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


@pytest.mark.parametrize("name", ["upper_body", "body", "mediapipe_75"])
def test_the_mirror_of_the_mirror_is_the_signer(name):
    order = find_skeleton(name).mirror_order
    assert (order[order] == np.arange(len(order))).all()
    assert order[0] == 0, "the nose stays"
    assert (order[11], order[15], order[9]) == (12, 16, 10)


def test_the_mirror_exchanges_the_hands_point_by_point():
    assert (MEDIAPIPE.mirror_order[33:54] == np.arange(54, 75)).all()


@pytest.mark.parametrize(
    ("name", "count"),
    [("mediapipe_553", 553), ("mediapipe_543", 543), ("coco_wholebody_133", 133), ("unisign", 69),
     ("youtube_asl_t5", 104), ("lips", 115), ("brows", 95), ("eyes", 107), ("contour", 111)],
)  # fmt: skip
def test_a_face_is_mirrored_point_by_point(name, count):
    skeleton = find_skeleton(name)
    order, place = skeleton.mirror_order, {point: n for n, point in enumerate(skeleton.points)}
    assert len(place) == len(skeleton) == count
    assert (order[order] == np.arange(count)).all()
    middle = {point for point in place if order[place[point]] == place[point]}
    assert not any(side in point for point in middle for side in ("LEFT", "RIGHT"))
    known = {"mediapipe_553": [(61, 291), (33, 263), (133, 362), (234, 454), (13, 13)],
             "coco_wholebody_133": [(0, 16), (48, 54), (36, 45), (39, 42), (30, 30), (66, 62 + 4)]}  # fmt: skip
    for a, b in known[skeleton.whole.name]:
        if f"FACE_{a}" in place and f"FACE_{b}" in place:
            assert order[place[f"FACE_{a}"]] == place[f"FACE_{b}"]


def test_the_bones_of_a_face_are_the_same_in_a_mirror():
    """A pair that was wrong would move a line of the lips, a lid or the outline to where there is none."""
    for name in ("mediapipe_553", "coco_wholebody_133"):
        skeleton = find_skeleton(name)
        bones = {frozenset(bone) for group, every in skeleton.edges.items() if group.startswith("face.")
                 for bone in every}  # fmt: skip
        assert len(bones) > 60
        assert {frozenset(skeleton.mirror_order[[*bone]].tolist()) for bone in bones} == bones


def test_published_subsets_are_the_points_of_their_authors():
    coco = [0, *range(3, 11), *range(91, 133), *range(23, 40, 2), *range(83, 91), 53]
    assert find_skeleton("unisign").places.tolist() == coco
    places = find_skeleton("youtube_asl_t5").places
    assert places[:25].tolist() == list(range(25))
    assert places[25:67].tolist() == [*range(532, 553), *range(511, 532)], "the right hand comes first"
    assert (places[67:102] - 33).tolist()[:6] == [0, 4, 13, 14, 17, 33]
    assert places[102:].tolist() == [33 + 468, 33 + 473]


@pytest.mark.parametrize(("name", "count"), [("body", 33), ("upper_body", 25), ("body_hands", 75)])
def test_a_subset_keeps_its_points_bones_and_centre(name, count):
    skeleton = find_skeleton(name)
    assert len(skeleton) == count
    assert skeleton.places.tolist() == list(range(count))
    assert skeleton.centre == (11, 12)
    assert {part.name for part in parts(skeleton)} == {"head", "trunk", "arm", "hand"}
    assert max(place for bones in skeleton.edges.values() for bone in bones for place in bone) < count


@pytest.mark.parametrize("folder", ["skeleton", "conf/skeleton"])
def test_a_subset_in_another_order_is_read_mirrored_and_drawn(folder):
    reader = Landmarks(folder="pose", points=own(ARMS, "arms", folder), normalise="shoulders", jitter=0, noise=0)
    assert reader.skeleton.places.tolist() == [13, 11, 12, 14, *range(33, 75)]
    assert reader.skeleton.mirror_order.tolist() == [3, 2, 1, 0, *range(25, 46), *range(4, 25)]
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (4, 75, 3)).astype(np.float32)
    array, seen = reader.from_regions(
        "pose", [SimpleNamespace(pose=p, skeleton="", size=(4, 3)) for p in pose], np.arange(4)
    )
    usual = Landmarks(folder="pose", points="body_hands", normalise="shoulders", jitter=0, noise=0)
    whole = usual.from_regions(
        "pose", [SimpleNamespace(pose=p, skeleton="", size=(4, 3)) for p in pose], np.arange(4)
    ).array
    assert (array == whole[:, reader.skeleton.places]).all()
    assert (reader.flip(array) == usual.flip(whole)[:, reader.skeleton.places]).all()
    assert {bone for part in parts(reader.skeleton) if part.name == "arm" for bone in part.bones} == {(1, 0), (2, 3)}
    other = MEDIAPIPE.subset("first", MEDIAPIPE.points[:46])
    alike = [filmstrip({"pose": array}, {"pose": seen}, columns=4, skeletons={"pose": known})
             for known in (other, reader.skeleton)]  # fmt: skip
    assert (alike[0] != alike[1]).any()


def test_a_skeleton_of_its_own_is_one_file():
    skeleton = find_skeleton(own(FACE, "face_3"))
    assert skeleton.mirror_order.tolist() == [0, 2, 1, 5, 4, 3]
    assert skeleton.edges["face.outline"] == [(3, 4), (4, 5), (5, 3)]
    assert skeleton.centre == (2, 1)


def test_a_name_of_this_folder_is_spelled_out_for_whoever_has_no_such_file():
    points = spell_out(own(ARMS, "arms"))
    (Path.cwd() / "skeleton" / "arms.yaml").unlink()
    assert len(find_skeleton(points)) == 46
    assert spell_out("upper_body") == "upper_body"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("of: mediapipe_75\npoints: [body, LEFT_ELBOV]", r"no point 'LEFT_ELBOV'; did you mean LEFT_ELBOW\?"),
        ("of: mediapipe_75\npoints: [left_hand]", "expected each point once, LEFT_SHOULDER and RIGHT_SHOULDER among"),
        ("of: mediapipe_75\npoints: [body, NOSE]", "expected each point once"),
        ("of: mediapipe_99\npoints: [body]", r"points must be one of .*did you mean mediapipe_75\?"),
        ("points: [body]", "expected `of` and `points`, or `parts`"),
        ("[]", "keys with values expected"),
    ],
)
def test_a_file_that_is_no_skeleton_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        Landmarks(folder="pose", points=own(text, "mine"), normalise="shoulders", jitter=0, noise=0)


@pytest.mark.parametrize(
    ("points", "stated", "landmarks", "message"),
    [
        ("body", "", 17, "a.npz: a pose of mediapipe_75 has 33 landmarks .* came 17"),
        ("body_hands", "", 33, "its 33 points are of the skeleton body, points=body_hands takes LEFT_HAND_WRIST"),
        ("lips", "", 75, "its 75 points are of the skeleton mediapipe_75, points=lips takes FACE_0 of mediapipe_553"),
        ("youtube_asl_t5", "mediapipe_543", 543, "points=youtube_asl_t5 takes RIGHT_IRIS"),
        ("unisign", "mediapipe_553", 553, "of the skeleton mediapipe_553, .* takes NOSE of coco_wholebody_133"),
        ("body", "coco_wholebody_133", 133, "skeleton coco_wholebody_133, points=body takes NOSE of mediapipe_75"),
        ("body", "mediapipe_543", 75, "its skeleton mediapipe_543 has 543 landmarks, came 75"),
        ("body", "mediapipe_542", 542, "a.npz: key `skeleton`: points must be one of .*did you mean mediapipe_543"),
    ],
)
def test_a_pose_of_another_skeleton_is_named(points, stated, landmarks, message):
    with pytest.raises(ValueError, match=message):
        find_skeleton(points).columns(file_skeleton(stated, landmarks, "a.npz"), "a.npz")


@pytest.mark.parametrize(
    ("points", "stated", "first"),
    [("body_hands", "mediapipe_543", 501), ("lips", "mediapipe_543", 501), ("body_hands", "mediapipe_553", 511),
     ("unisign", "coco_wholebody_133", 91), ("body_hands", "", 33)],
)  # fmt: skip
def test_points_are_found_by_name_in_a_larger_skeleton(points, stated, first):
    skeleton = find_skeleton(points)
    file = file_skeleton(stated, int(stated.rpartition("_")[2] or 75), "a.npz")
    columns = skeleton.columns(file, "a.npz")
    assert columns[skeleton.points.index("LEFT_HAND_WRIST")] == first
    assert [file.points[place] for place in columns] == [*skeleton.points]


def test_a_new_subset_trains_and_is_read_live_as_the_manifest_says(entry: Any, tiny: list[str]):
    """One YAML and no Python; the run and what an export says of its streams are whole without it."""
    own(ARMS, "arms")
    ran = entry("train", *tiny, "final=null", "dataset.only=[pose]", "dataset.streams.pose.points=arms")
    assert ran.status == 0, ran.err
    (Path.cwd() / "skeleton" / "arms.yaml").unlink()
    trained, _ = open_run(ran.folder)
    graphs = {
        "encoder": encoder_graph(trained.translator, trained.streams),
        **decoder_graphs(trained.translator.decoder),
    }
    specs = {name: graph.spec for name, graph in graphs.items()}
    (made := Path("made")).mkdir()
    for name in specs:  # which are not asked here
        (made / f"{name}_made.onnx").touch()
    write_manifest(made, folder._manifest(trained, "made", specs, 20, "fp32"))
    rng = np.random.default_rng(0)
    regions: list[Any] = [
        SimpleNamespace(
            pose=rng.uniform(0.3, 0.7, (75, 3)).astype(np.float32),
            skeleton="",
            crops={},
            marks={},
            size=(64, 48),
        )
        for _ in range(9)
    ]
    told = read_manifest(made)
    live = inputs_from_regions(regions, told.streams, clip_fps=8, fps=told.fps, max_frames=told.max_frames)
    assert live.streams["pose"].shape[1:] == (46, 3)
    assert len(CheckpointTranslator(trained).translate(live)) == 2
