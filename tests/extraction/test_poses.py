"""Poses without film: LSA-T's key points and .pose files come in MediaPipe's order, and viewers take what goes out."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from slt.config.checks import HOME
from slt.corpora import lsa_t
from slt.extraction.captions import Captions
from slt.extraction.poses import read_keypoints, write_pose_format
from slt.extraction.source import Source
from slt.extraction.sources import Footage, find_sources
from slt.streams.normalise import shoulders_seen
from slt.streams.pose_format import read_pose_clip
from slt.streams.skeleton import MEDIAPIPE, find_skeleton
from slt.streams.skeletons import BODY_NAMES

h5py = pytest.importorskip("h5py", reason='h5py is absent: pip install "slt[media]"')
pose_format = pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')

DATA = HOME.parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not on this machine (../shared/data)")


def clip(path: Path, *, start: float | None = None, end: float | None = None, person: int = 0) -> Source:
    return Source("v_1", path, start, end, "uno", person=person)


def find(path: Path, kind: str, table: Path | None = None):
    captions = Captions(table, "lsa_t" if kind == "keypoints" else "none", False, 0.3)
    return find_sources(path, Footage(kind), captions)


def points(frames: int = 6) -> np.ndarray:
    """Points (T, 75, 3) whose left hand is missing from frame 3 on."""
    out = np.random.default_rng(0).uniform(0.05, 0.95, (frames, 75, 3)).astype(np.float32)
    out[3:, 33:54] = 0
    return out


# ---------------------------------------------------------------- LSA-T's keypoints.h5


def h5(path: Path, rows: np.ndarray, *, signer: str = "signer_0", **attributes: int) -> Path:
    with h5py.File(path, "w") as file:
        file[f"v_1.mp4/{signer}/keypoints"] = rows
        file["v_1.mp4"].attrs.update(attributes)
    return path


def rows_of(found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Lay points (T, 75, 3) out as LSA-T has them, (T, 2172): body, face, right hand, left hand, each x, y, z, c."""
    rows = np.full((len(found), lsa_t.POINTS, 4), np.nan, np.float16)
    for here, there in ((slice(33), slice(33)), (slice(33, 54), slice(522, 543)), (slice(54, 75), slice(501, 522))):
        rows[:, there, :2] = found[:, here, :2] * size
        rows[:, there, 3] = found[:, here, 2]
    rows[:, 501:, 3] = np.nan
    rows[3:, 522:] = np.nan
    return rows.reshape(len(found), -1)


def test_key_points_of_lsa_t_come_as_shares_with_the_left_hand_first(tmp_path):
    given = points()
    pose = read_keypoints(clip(h5(tmp_path / "k.h5", rows_of(given, (1920, 1080))), start=1.0, end=1.5))
    assert (pose.size, pose.fps, pose.points.dtype, pose.points.shape) == ((1920, 1080), 12.0, np.float32, (6, 75, 3))
    assert pose.points[:, :, :2] == pytest.approx(given[:, :, :2], abs=1e-3)
    assert pose.points[:, :33, 2] == pytest.approx(given[:, :33, 2], abs=1e-3)
    assert (pose.points[:, 54:, 2] == 1).all()
    assert (pose.points[:3, 33:54, 2] == 1).all()
    assert (pose.points[3:, 33:54] == 0).all()


def test_a_point_outside_the_picture_keeps_its_place_and_is_not_seen(tmp_path):
    given = points()
    given[0, 0, :2] = 0.5, 1.25
    pose = read_keypoints(
        clip(h5(tmp_path / "k.h5", rows_of(given, (640, 360)), width=640, height=360), start=0, end=1)
    )
    assert pose.size == (640, 360)
    assert pose.points[0, 0] == pytest.approx([0.5, 1.25, 0], abs=1e-3)


def test_the_signer_that_the_table_names_is_read(tmp_path):
    path = h5(tmp_path / "k.h5", rows_of(points(), (1920, 1080)), signer="signer_2")
    assert len(read_keypoints(clip(path, start=0, end=1, person=2)).points) == 6
    with pytest.raises(ValueError, match=r"k\.h5: v_1\.mp4: no key points of signer_0, only of \['signer_2'\]"):
        read_keypoints(clip(path, start=0, end=1))


def test_key_points_that_are_none_are_refused_by_name(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match=r"text\.h5: not an HDF5 file"):
        read_keypoints(clip(tmp_path / "text.h5"))
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        read_keypoints(clip(tmp_path / "none.h5"))
    with pytest.raises(ValueError, match=r"\(T, 2172\) .* came float16 \(6, 2171\)"):
        read_keypoints(clip(h5(tmp_path / "a.h5", np.zeros((6, 2171), np.float16)), start=0, end=1))
    with pytest.raises(ValueError, match=r"a\.h5: w\.mp4: no such clip"):
        read_keypoints(Source("w", tmp_path / "a.h5", 0, 1))
    with pytest.raises(ValueError, match="start and end of the clip are needed"):
        read_keypoints(clip(h5(tmp_path / "b.h5", rows_of(points(), (1, 1)))))
    with pytest.raises(ValueError, match=r"from \.h5 and \.pose"):
        read_keypoints(clip(h5(tmp_path / "b.npz", np.zeros(1))))


def test_a_damaged_h5_is_named_whatever_its_library_says(tmp_path):
    path = h5(tmp_path / "k.h5", rows_of(points(), (1920, 1080)))
    data = path.read_bytes()
    dice = np.random.default_rng(0)
    refused: list[str] = []
    for _ in range(60):
        damaged = bytearray(data)
        for place in dice.integers(0, 3000, 20):
            damaged[place] = dice.integers(256)
        path.write_bytes(damaged)
        try:
            read_keypoints(clip(path, start=0, end=1))
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("k.h5" in said for said in refused)


@real
def test_the_published_layout_is_read_and_each_hand_is_at_its_own_wrist():
    folder = DATA / "lsa_t"
    sources, faults = find(folder / "layout_sample.h5", "keypoints", folder / "layout_meta_sample.csv")
    assert (len(sources), faults) == (3, [])
    for source in sources:
        pose = read_keypoints(source)
        assert pose.fps == pytest.approx(len(pose.points) / (source.end - source.start))
        for wrist, hand, other in ((15, 33, 54), (16, 54, 33)):
            seen = (pose.points[:, [hand, other], 2] > 0).all(1)
            near, far = (np.linalg.norm(pose.points[seen][:, h, :2] - pose.points[seen][:, wrist, :2], axis=1).mean()
                         for h in (hand, other))  # fmt: skip
            assert near < far / 4


# ---------------------------------------------------------------- .pose


def write(path: Path, given: np.ndarray, *, size: tuple[int, int], fps: float) -> None:
    write_pose_format(path, [given], size=size, fps=fps, frames=len(given))


def test_a_pose_file_that_was_written_reads_back_equal(tmp_path):
    given = points()
    given[0, 3] = -0.25, 0.5, 0.0  # outside
    write(tmp_path / "a.pose", given, size=(640, 360), fps=12.5)
    pose = read_keypoints(clip(tmp_path / "a.pose"))
    assert (pose.size, pose.fps) == ((640, 360), 12.5)
    assert pose.points == pytest.approx(given, abs=1e-6)


def test_the_library_and_its_viewer_take_what_was_written(tmp_path):
    from pose_format.pose_visualizer import PoseVisualizer
    from pose_format.utils.generic import detect_known_pose_format

    given = points()
    write(tmp_path / "a.pose", given, size=(640, 360), fps=12.5)
    pose = pose_format.Pose.read((tmp_path / "a.pose").read_bytes())
    assert detect_known_pose_format(pose) == "holistic"
    assert pose.body.data.shape == (6, 1, 75, 2)
    assert np.asarray(pose.body.data)[0, 0] == pytest.approx(given[0, :, :2] * (640, 360), rel=1e-6)
    assert np.asarray(pose.body.confidence)[:, 0] == pytest.approx(given[..., 2])
    pictures = list(PoseVisualizer(pose).draw())
    assert len(pictures) == 6
    assert pictures[0].shape == (360, 640, 3)
    assert (pictures[0] != 255).mean() > 0.01


def test_a_pose_with_the_face_mesh_is_written_whole_and_one_of_coco_as_body_and_hands(tmp_path):
    from pose_format.utils.generic import detect_known_pose_format

    face = find_skeleton("mediapipe_543")
    given = np.random.default_rng(2).uniform(0.2, 0.8, (4, len(face), 3)).astype(np.float32)
    write_pose_format(tmp_path / "a.pose", [given], size=(640, 360), fps=10, frames=4, skeleton=face)
    pose = pose_format.Pose.read((tmp_path / "a.pose").read_bytes())
    assert detect_known_pose_format(pose) == "holistic"
    assert {part.name: len(part.points) for part in pose.header.components} == {
        "POSE_LANDMARKS": 33, "FACE_LANDMARKS": 468, "LEFT_HAND_LANDMARKS": 21, "RIGHT_HAND_LANDMARKS": 21,
    }  # fmt: skip
    assert (61, 146) in [tuple(bone) for bone in pose.header.components[1].limbs]  # of the lips
    assert read_pose_clip(tmp_path / "a.pose", face).points[:, face.places] == pytest.approx(given, abs=1e-6)
    coco = find_skeleton("coco_wholebody_133")
    given = np.random.default_rng(3).uniform(0.2, 0.8, (2, len(coco), 3)).astype(np.float32)
    write_pose_format(tmp_path / "b.pose", [given], size=(640, 360), fps=10, frames=2, skeleton=coco)
    clip = read_pose_clip(tmp_path / "b.pose", MEDIAPIPE)
    left = [MEDIAPIPE.points.index("LEFT_ELBOW"), *MEDIAPIPE.parts["left_hand"]]
    theirs = [coco.points.index("LEFT_ELBOW"), *coco.parts["left_hand"]]
    assert clip.points[:, left] == pytest.approx(given[:, theirs], abs=1e-6)


def test_a_pose_written_in_blocks_is_the_same_file(tmp_path):
    given = points(10)
    write(tmp_path / "a.pose", given, size=(64, 48), fps=10)
    write_pose_format(tmp_path / "b.pose", iter([given[:4], given[4:5], given[5:]]), size=(64, 48), fps=10, frames=10)
    assert (tmp_path / "a.pose").read_bytes() == (tmp_path / "b.pose").read_bytes()


def test_a_cut_of_a_pose_is_its_frames_and_one_past_the_end_is_refused(tmp_path):
    given = points(10)
    write(tmp_path / "a.pose", given, size=(64, 48), fps=10)
    assert read_keypoints(clip(tmp_path / "a.pose", start=0.2, end=0.7)).points == pytest.approx(given[2:7], abs=1e-6)
    assert len(read_keypoints(clip(tmp_path / "a.pose", start=0.5, end=1.05)).points) == 5
    for start, end in ((0.5, 1.5), (0.5, 0.5), (-1.0, 0.5), (3.0, None)):
        with pytest.raises(ValueError, match=r"a\.pose: a cut from"):
            read_keypoints(clip(tmp_path / "a.pose", start=start, end=end))


def other_pose(path: Path, names: dict[str, int], people: int = 1) -> Path:
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    parts = [PoseHeaderComponent(name, list(map(str, range(n))), [], [(0, 0, 0)], "XYC") for name, n in names.items()]
    total = sum(names.values())
    body = NumPyPoseBody(25.0, np.ones((2, people, total, 2), np.float32), np.ones((2, people, total), np.float32))
    with path.open("wb") as file:
        pose_format.Pose(PoseHeader(0.2, PoseHeaderDimensions(64, 48), parts), body).write(file)
    return path


HOLISTIC = {"LEFT_HAND_LANDMARKS": 21, "OTHER": 5, "POSE_LANDMARKS": 33, "RIGHT_HAND_LANDMARKS": 21}


def test_components_are_taken_by_name_and_other_counts_are_refused(tmp_path):
    assert read_keypoints(clip(other_pose(tmp_path / "a.pose", HOLISTIC))).points.shape == (2, 75, 3)
    for names in (HOLISTIC | {"POSE_LANDMARKS": 25}, {"BODY_135": 135}):
        with pytest.raises(ValueError, match=r"b\.pose: 33 x, y of POSE_LANDMARKS expected, .* came \{"):
            read_keypoints(clip(other_pose(tmp_path / "b.pose", names)))
    with pytest.raises(ValueError, match=r"c\.pose: one person expected, came 2"):
        read_keypoints(clip(other_pose(tmp_path / "c.pose", HOLISTIC, people=2)))


def test_pose_files_that_are_none_are_refused_by_name(tmp_path):
    write(tmp_path / "a.pose", points(), size=(64, 48), fps=10)
    data = (tmp_path / "a.pose").read_bytes()
    broken = {"text": b"no pose at all", "empty": b"", "half": data[: len(data) // 2], "head": data[:100]}
    broken["none"] = data[: -6 * 75 * 12 - 10] + struct.pack("<fIH", 10, 0, 1)
    for name, content in broken.items():
        (tmp_path / f"{name}.pose").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.pose: (not )?a \.pose file"):
            read_keypoints(clip(tmp_path / f"{name}.pose"))


# ---------------------------------------------------------------- normalised before saving


def signer(frames: int = 8) -> np.ndarray:
    """Points (T, 75, 3) of somebody who stands in the middle: head above shoulders above the rest; nobody's legs."""
    rng = np.random.default_rng(1)
    out = np.ones((frames, 75, 3), np.float32)
    out[..., :2] = np.array((0.5, 0.6)) + rng.normal(0, 0.08, (frames, 75, 2))
    out[:, :11, :2] = np.array((0.5, 0.2)) + rng.normal(0, 0.03, (frames, 11, 2))
    out[:, 11:13, :2] = np.array([(0.62, 0.4), (0.38, 0.4)]) + rng.normal(0, 0.005, (frames, 2, 2))
    out[:, 25:33, 1] = 1.5
    return out


def in_shoulders(places: np.ndarray) -> np.ndarray:
    width = np.linalg.norm(places[:, 11] - places[:, 12], axis=1).mean()
    return (places - places[:, 11:13].mean((0, 1))) / width


NORMALISED = {
    "shoulders": in_shoulders,
    "shoulders, enlarged": lambda places: 100 * in_shoulders(places),
    "shares": lambda places: places / (640, 360),
    "from -1 to 1": lambda places: 2 * places / (640, 360) - 1,
    "standard scores": lambda places: (places - places.mean((0, 1))) / places.std((0, 1)),
    "centred pixels": lambda places: places - places.mean((0, 1)),
    "larger than its picture": lambda places: 5 * places,
}


@pytest.mark.parametrize("how", NORMALISED)
@pytest.mark.parametrize("ending", ["pose", "h5"])
def test_points_that_are_no_pixels_of_the_picture_are_refused_with_the_likely_cause(tmp_path, how, ending):
    given, size = signer(), (640, 360)
    path = tmp_path / f"a.{ending}"
    for change in (lambda places: places, NORMALISED[how]):
        given[..., :2] = change(given[..., :2] * size) / size
        if ending == "pose":
            write(path, given, size=size, fps=10)
        else:
            h5(path, rows_of(given, size).astype(np.float32), width=640, height=360)
        if change is NORMALISED[how]:
            with pytest.raises(ValueError, match=rf"a\.{ending}.*640 x 360.*normalised before they were saved"):
                read_keypoints(clip(path, start=0, end=0.8))
        else:
            assert shoulders_seen(read_keypoints(clip(path, start=0, end=0.8)).points).all()


def test_a_picture_of_1_x_1_holds_shares(tmp_path):
    write(tmp_path / "a.pose", signer(), size=(1, 1), fps=10)
    pose = read_keypoints(clip(tmp_path / "a.pose"))
    assert (pose.size, shoulders_seen(pose.points).all()) == ((1, 1), True)


# ---------------------------------------------------------------- other skeletons


@real
def test_real_files_that_their_library_has_normalised_are_refused(tmp_path):
    for path in (*sorted((DATA / "poses_es").glob("*.pose"))[:3], *(DATA / "pose_kinds").glob("[ho]*.pose")):
        pose = pose_format.Pose.read(path.read_bytes())
        with (tmp_path / path.name).open("wb") as file:
            pose.normalize().write(file)
        with pytest.raises(ValueError, match="normalised before they were saved"):
            read_keypoints(clip(tmp_path / path.name))


@real
@pytest.mark.parametrize(
    ("name", "missing", "shoulders"),
    [
        ("holistic_586", [], True),
        ("openpose_137", [], True),
        ("holistic_reduced_178", ["NOSE", "LEFT_EYE", "RIGHT_EYE"], True),
        ("right_hand_only_21", ["NOSE", "LEFT_SHOULDER", "LEFT_HAND"], False),
    ],
)
def test_real_files_of_other_skeletons_say_what_they_lack(name, missing, shoulders):
    pose = read_keypoints(clip(DATA / "pose_kinds" / f"{name}.pose"))
    assert {*missing} <= {*pose.missing}
    assert bool(pose.missing) == bool(missing)
    assert shoulders_seen(pose.points).all() == shoulders
    assert (pose.points[:, 54:, 2] > 0).all(1).mean() > 0.8  # all of them sign with the right hand
    lacking = [BODY_NAMES.index(name) for name in pose.missing if name in BODY_NAMES]
    assert not pose.points[:, lacking, 2].any()


@real
def test_the_real_pose_files_are_read():
    sources, faults = find(DATA / "poses_es", "poses")
    assert (len(sources), faults) == (30, [])
    poses = [read_keypoints(source) for source in sources]
    assert {(pose.size, pose.fps, pose.points.shape[1:]) for pose in poses} == {((500, 500), 25.0, (75, 3))}
    assert all((pose.points[:, 54:, 2] > 0).mean() > 0.9 for pose in poses)  # spelled with the right hand
