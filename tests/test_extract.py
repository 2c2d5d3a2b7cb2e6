"""`slt.extract` from films to a corpus that the reader takes, with a landmarker stub in MediaPipe's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from slt import data, extract
from slt.config import CONF
from slt.data import layout
from slt.data.films import find_films, read_captions, split_ids
from slt.data.landmarks import LANDMARKS, Landmarks

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


class Stub:
    """Finds the same body and left hand in every picture, and counts the clips it was asked for."""

    clips = 0

    def __init__(self, **keys):
        self.parameters = {"landmarker": "stub", **keys}

    def start(self):
        Stub.clips += 1

    def find(self, seconds, picture):
        points = np.zeros((LANDMARKS, 3), np.float32)
        points[:54] = np.random.default_rng(0).uniform(0.3, 0.6, (54, 3))
        return Landmarks(points, True)

    def close(self):
        pass


def film(path: Path, count: int = 6) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(count):
            picture = np.full((48, 64, 3), 40 + 20 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr("slt.data.landmarks.MediaPipeLandmarker", Stub)
    monkeypatch.setattr(Stub, "clips", 0)
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a", "b", "c"):
        film(folder / f"{name}.mp4")
    layout.write_table(folder / "subs.csv", [{"video_id": n, "texto": f"uno; dos {n}", "signer": "s"} for n in "abc"])
    return folder


def run(source: Path, out: Path, *overrides: str) -> dict[str, str]:
    with initialize_config_dir(str(CONF), version_base=None):
        keys = [f"source={source}", f"out={out}", "extractor.crop_size=16", "split.mode=all_train", *overrides]
        return extract.run(compose("extract", keys))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_films_become_a_corpus_in_the_layout(source, tmp_path):
    assert run(source, tmp_path / "out") == {}
    rows = layout.read_table(tmp_path / "out" / "subs.csv")
    assert [row["texto"] for row in rows] == ["uno; dos a", "uno; dos b", "uno; dos c"]
    assert rows[0]["signer"] == "s"
    assert rows[0]["frame_count"] == "6"
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "b", "c"]
    crops = layout.PackedCrops(tmp_path / "out" / "hand_l" / "a.safetensors")
    assert (crops.length, crops.size, crops.seen.all()) == (6, 16, True)
    assert not layout.PackedCrops(tmp_path / "out" / "hand_r" / "a.safetensors").seen.any()
    pose = layout.read_pose(tmp_path / "out" / "pose" / "a.npz")
    assert (pose.points.shape, pose.size) == ((6, 75, 3), (64, 48))
    assert pose.seen["hand_l"].all()


def test_each_clip_says_what_made_it(source, tmp_path):
    run(source, tmp_path / "out")
    lines = (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    assert len(lines) == 3
    assert record["seen"] == {"face": 1.0, "left_hand": 1.0, "right_hand": 0.0}
    assert record["fingerprint"] == layout.PackedCrops(tmp_path / "out" / "face" / "a.safetensors").extractor
    assert (record["frames"], record["fps"], record["size"]) == (6, 10.0, [64, 48])


def test_one_jpeg_a_frame_is_written_when_asked(source, tmp_path):
    run(source, tmp_path / "out", "packed=false")
    names = sorted(path.name for path in (tmp_path / "out" / "face").iterdir())
    assert names[:2] == ["a_f000000.jpg", "a_f000001.jpg"]
    assert len(names) == 18


def test_a_second_start_does_nothing_again(source, tmp_path):
    run(source, tmp_path / "out")
    before = files(tmp_path / "out")
    run(source, tmp_path / "out")
    assert Stub.clips == 3
    assert files(tmp_path / "out") == before


def test_a_stopped_extraction_goes_on_where_it_stopped(source, tmp_path, monkeypatch):
    start = Stub.start

    def third_time_lost(self):
        if Stub.clips == 2:
            raise MemoryError
        start(self)

    monkeypatch.setattr(Stub, "start", third_time_lost)
    with pytest.raises(MemoryError):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.json").exists()
    monkeypatch.setattr(Stub, "start", start)
    run(source, tmp_path / "out")
    assert Stub.clips == 3
    assert (tmp_path / "out" / "corpus.json").exists()


def test_a_folder_of_another_extraction_is_refused(source, tmp_path):
    run(source, tmp_path / "out")
    with pytest.raises(ValueError, match=r"fingerprint: .* there, .* now"):
        run(source, tmp_path / "out", "extractor.hand_margin=2")
    with pytest.raises(ValueError, match="quality: 92 there, 50 now"):
        run(source, tmp_path / "out", "quality=50")


def test_a_folder_with_other_files_is_refused(source):
    with pytest.raises(ValueError, match="not of an extraction"):
        run(source, source)


def test_a_broken_film_stops_all_by_default(source, tmp_path):
    (source / "b.mp4").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"b\.mp4: not a film.*max_failures=0"):
        run(source, tmp_path / "out")


def test_a_broken_film_is_listed_and_passed_over_within_the_limit(source, tmp_path):
    (source / "b.mp4").write_bytes(b"broken")
    assert list(run(source, tmp_path / "out", "max_failures=1")) == ["b"]
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "c"]
    assert "b.mp4" in (tmp_path / "out" / "metadata.jsonl").read_text()


@pytest.mark.parametrize("fault", ["encoding=png", "quality=0", "packed=ja", "folders.face=hand_l"])
def test_a_value_that_does_not_fit_is_said_before_any_film_is_opened(source, tmp_path, fault):
    with pytest.raises((ValueError, HydraException), match=fault.split("=")[0].split(".")[0]):
        run(source, tmp_path / "out", fault)
    assert Stub.clips == 0


def test_a_missing_key_is_named(tmp_path):
    with (
        initialize_config_dir(str(CONF), version_base=None),
        pytest.raises(ValueError, match="source is missing: give it"),
    ):
        extract.run(compose("extract", [f"out={tmp_path}"]))


def test_the_command_ends_with_one_message_and_status_1(tmp_path):
    command = [sys.executable, "-m", "slt.extract", f"source={tmp_path / 'none'}", f"out={tmp_path / 'out'}"]
    house = {**os.environ, "PYTHONPATH": str(Path(extract.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=house, check=False)
    assert done.returncode == 1
    assert "none: no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_reader_takes_what_was_written(source, tmp_path):
    run(source, tmp_path / "out")
    streams = {
        "left_hand": data.Crops(folder="hand_l", size=16, jitter=0.0, colour=0.0, mirror="right_hand"),
        "right_hand": data.Crops(folder="hand_r", size=16, jitter=0.0, colour=0.0, mirror="left_hand"),
        "pose": data.Landmarks(folder="pose", points="body_hands", jitter=0.0, noise=0.0),
    }
    keys = {"fps": None, "max_frames": 100, "length_tolerance": 0, "augment": None, "seed": 1}
    corpus = data.LsaTMultiStream(root=str(tmp_path / "out"), split="train", streams=streams, **keys)
    sample = corpus[0]
    assert sample.text == "uno; dos a"
    assert sample.streams["left_hand"].shape == (6, 3, 16, 16)
    assert sample.streams["pose"].shape == (6, 75, 3)
    assert sample.seen["left_hand"].all()
    assert not sample.seen["right_hand"].any()


def test_an_unquoted_semicolon_is_refused_unless_asked_for(tmp_path):
    table = tmp_path / "subs.csv"
    table.write_text('video_id;texto\na;uno; dos\nb;"tres"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2: .*captions\.unquoted=true"):
        read_captions(table, unquoted=False)
    assert [row["texto"] for row in read_captions(table, unquoted=True)] == ["uno; dos", "tres"]
    table.write_text("video_id;texto;signer\na;uno;s\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: `video_id;texto` expected"):
        read_captions(table, unquoted=True)


@pytest.mark.parametrize("line", ["a;", ";uno", "a;uno\na;dos"])
def test_a_fault_in_an_unquoted_table_names_its_line(tmp_path, line):
    (tmp_path / "subs.csv").write_text(f"video_id;texto\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"subs\.csv line [23]"):
        read_captions(tmp_path / "subs.csv", unquoted=True)


def test_a_film_without_a_row_and_a_row_without_a_film_are_named(source):
    film(source / "d.mp4", 1)
    with pytest.raises(ValueError, match="no row for the film 'd'"):
        find_films(source, None, unquoted=False)
    (source / "d.mp4").unlink()
    (source / "c.mp4").unlink()
    with pytest.raises(FileNotFoundError, match="no film for 'c'"):
        find_films(source, None, unquoted=False)


def test_two_films_of_one_name_and_an_empty_folder_are_refused(source, tmp_path):
    film(source / "a.avi", 1)
    with pytest.raises(ValueError, match=r"a\.avi has the same name|a\.mp4: a\.avi has the same name"):
        find_films(source, None, unquoted=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no film in this folder"):
        find_films(tmp_path / "empty", None, unquoted=False)


def test_splits_share_no_clip_and_depend_on_the_seed_alone():
    ids = [f"clip{n}" for n in range(50)]
    keys = {"mode": "random", "train": 0.8, "val": 0.1, "test": 0.1}
    one = split_ids(ids, **keys, seed=1)
    assert {split: len(names) for split, names in one.items()} == {"train": 40, "val": 5, "test": 5}
    assert sorted(name for names in one.values() for name in names) == sorted(ids)
    assert one == split_ids(ids, **keys, seed=1) != split_ids(ids, **keys, seed=2)


def test_too_few_clips_for_the_splits_are_said():
    with pytest.raises(ValueError, match=r"3 clips leave .* empty"):
        split_ids("abc", mode="random", train=0.9, val=0.05, test=0.05, seed=1)
