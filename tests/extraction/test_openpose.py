"""OpenPose's .json files: a clip is a folder or a name, its signer is followed through changing orders of people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bench.openpose_files import person, write_people

from slt.corpora import layout
from slt.extraction.captions import Captions
from slt.extraction.openpose import read_people
from slt.extraction.poses import read_keypoints
from slt.extraction.source import Source
from slt.extraction.sources import Footage, find_sources
from slt.streams.normalise import shoulders_seen

FILMS = {"size": [640, 360], "fps": 25.0}
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST = 11, 12, 15


def find(folder, form, films):
    return find_sources(folder, Footage("poses", openpose=films), Captions(None, form, False, 0.3))


def test_the_signers_sides_and_hands_come_at_their_places(tmp_path):
    pixels, people, places = read_people(write_people(tmp_path / "a", "a", [[person(300, 200)]] * 3))
    assert (pixels.shape, people) == ((3, 75, 3), 1)
    assert pixels[0, LEFT_SHOULDER].tolist() == pytest.approx([340, 100, 0.9])
    assert pixels[0, RIGHT_SHOULDER].tolist() == pytest.approx([260, 100, 0.9])
    assert pixels[0, 33].tolist() == pytest.approx(pixels[0, LEFT_WRIST].tolist())
    assert pixels[0, 19].tolist() == pytest.approx(pixels[0, 33 + 5].tolist())  # the body's index is the knuckle
    assert not pixels[:, 54:].any()
    assert (places[54:] == -1).all()


def test_the_largest_and_surest_over_the_clip_is_followed_whatever_the_order(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for t in range(20):
        people = [person(200 + t, 250), person(500 - t, 150), person(300, 250, sure=0.2)]
        people += [person(400, 320)] if t == 7 else []  # who passes by once, near the camera
        frames.append([people[n] for n in rng.permutation(len(people))] if t != 11 else [])
    pixels, people, _ = read_people(write_people(tmp_path / "a", "a", frames))
    middle = pixels[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 0].mean(1)
    assert people == 4
    assert middle.tolist() == pytest.approx([0 if t == 11 else 200 + t for t in range(20)])


def test_clips_are_found_in_folders_of_their_own_and_beside_one_another(tmp_path):
    ids = ["7E2sU6zP4_10-5-rgb_front", "b_1"]
    write_people(tmp_path / "folders" / ids[0], ids[0], [[person(300, 200)]] * 4)
    write_people(tmp_path / "folders" / ids[1], ids[1], [[person(300, 200)]] * 6, first=3)
    for count, name in zip((4, 6), ids, strict=True):
        write_people(tmp_path / "flat" / "deep", name, [[person(300, 200)]] * count)
    for folder in ("folders", "flat"):
        layout.write_table(tmp_path / folder / "subs.csv", [{"video_id": name, "texto": "uno"} for name in ids])
        sources, faults = find(tmp_path / folder, "subs", FILMS)
        assert ([source.video_id for source in sources], faults) == (ids, [])
        poses = [read_keypoints(source) for source in sources]
        assert [(len(pose.points), pose.size, pose.fps) for pose in poses] == [(n, (640, 360), 25.0) for n in (4, 6)]
        assert poses[0].points[0, LEFT_SHOULDER] == pytest.approx([340 / 640, 100 / 360, 0.9])
        assert "RIGHT_HAND" in poses[0].missing
        assert "LEFT_SHOULDER" not in poses[0].missing
        assert shoulders_seen(poses[0].points).all()


def test_size_and_rate_of_the_films_are_asked_for_by_their_keys(tmp_path):
    write_people(tmp_path / "a", "a", [[person(300, 200)]])
    for given in (None, {"size": None, "fps": 25.0}, {"size": [640], "fps": 25.0}, {"size": [640, 360], "fps": None}):
        with pytest.raises(ValueError, match=r"openpose\.size=\[1280,720\] openpose\.fps=25"):
            find(tmp_path, "none", given)
    (tmp_path / "b.pose").touch()
    with pytest.raises(ValueError, match=r"b\.pose: .* in one folder"):
        find(tmp_path, "none", FILMS)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"people": 3}',
        '{"people": [3]}',
        '{"people": [{"pose_keypoints": []}]}',
        '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}',
        '{"people": [{"pose_keypoints_2d": ["a"]}]}',
    ],
)
def test_a_file_that_is_not_openposes_is_refused_by_name(tmp_path, text):
    write_people(tmp_path / "a", "a", [[person(300, 200)]] * 2)
    (tmp_path / "a" / "a_000000000001_keypoints.json").write_text(text)
    with pytest.raises(ValueError, match=r"a_000000000001_keypoints\.json: expected OpenPose"):
        read_people(tmp_path / "a")


def test_a_frame_without_its_file_is_refused_and_one_without_people_is_not_seen(tmp_path):
    folder = write_people(tmp_path / "a", "a", [[person(300, 200)], [], [person(300, 200)]])
    pose = read_keypoints(Source("a", folder, size=(640, 360), fps=25))
    assert shoulders_seen(pose.points).tolist() == [True, False, True]
    (folder / "a_000000000001_keypoints.json").unlink()
    with pytest.raises(ValueError, match="no file of frame 1"):
        read_people(folder)


def test_shares_in_place_of_pixels_are_refused(tmp_path):
    folder = write_people(tmp_path / "a", "a", [[person(300, 200)]])
    path = folder / "a_000000000000_keypoints.json"
    found = json.loads(path.read_text())
    body = np.reshape(found["people"][0]["pose_keypoints_2d"], (25, 3)) / (640, 360, 1)
    found["people"][0] = {"pose_keypoints_2d": body.ravel().tolist()}
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="normalised before they were saved"):
        read_keypoints(Source("a", folder, size=(640, 360), fps=25))
