"""`slt.extract` from films to a corpus that the reader takes, with a landmarker stub in MediaPipe's place."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench.landmarker_stub import StubLandmarker as Stub
from bench.landmarker_stub import write_film
from bench.openpose_files import person, write_people
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from slt import data, extract
from slt.config.checks import CONF, HOME
from slt.config.runs import corpus_items
from slt.corpora import layout
from slt.corpora.checking import check_corpus
from slt.extraction.landmarks import Landmarks
from slt.extraction.records import OutputError, locked
from slt.extraction.run import Outcome, deal
from slt.extraction.source import Source
from slt.streams.arrays import read_pose
from slt.streams.packed import PackedCrops, write_packed_blocks

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')

TESTS = Path(__file__).resolve().parent
STUB = ("landmarker._target_=bench.landmarker_stub.StubLandmarker", "extractor.crop_size=16", "report=false")
HOUSE = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), str(TESTS)])}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(Stub, "clips", 0)
    folder = tmp_path / "films"
    folder.mkdir()
    for n, name in enumerate("abc"):
        write_film(folder / f"{name}.mp4", shade=10 * n)
    layout.write_table(folder / "subs.csv", [{"video_id": n, "texto": f"uno; dos {n}", "signer": "s"} for n in "abc"])
    return folder


def run(source: Path, out: Path, *overrides: str) -> Outcome:
    with initialize_config_dir(str(CONF), version_base=None):
        return extract.run(
            compose("extract", [f"source={source}", f"out={out}", *STUB, "split.by=all_train", *overrides])
        )


def command(source: Path, out: Path, *overrides: str) -> list[str]:
    keys = [f"source={source}", f"out={out}", *STUB, "split.by=all_train", *overrides]
    return [sys.executable, "-m", "slt.extract", *keys]


def cuts(source: Path, *rows: str) -> str:
    (source / "cuts.csv").write_text("\n".join(["video_id;video;start;end;texto", *rows, ""]), encoding="utf-8")
    return f"captions={{format: cuts, path: {source / 'cuts.csv'}}}"


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of each file; of metadata.jsonl without the seconds that a clip took."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    lines = [json.loads(line) for line in found.pop("metadata.jsonl", b"").splitlines()]
    return found | {line["video_id"]: json.dumps({**line, "seconds": 0}).encode() for line in lines}


def record_of(out: Path, name: str) -> dict:
    lines = map(json.loads, (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    return next(line for line in lines if line["video_id"] == name)


@pytest.mark.usefixtures("offline")
def test_extraction_is_on_the_board_with_the_corpus_that_training_will_use(source, tmp_path, entry, records):
    ran = entry("extract", f"source={source}", "out=made", *STUB, "split.by=all_train", "wandb.mode=offline")
    assert ran.status == 0, ran.err
    told = records(ran.folder)
    assert told["run"][0].job_type == "extract"
    (made,) = told["artifact"]
    (item,) = corpus_items(tmp_path / "made")
    assert (made.type, made.name, made.use_after_commit) == ("dataset", item.name, False)
    sums = {update.key: update.value_json for each in told["summary"] for update in each.update}
    assert (sums["extract/clips"], sums["extract/failed"]) == ("3", "0")


def test_films_become_a_corpus_in_the_layout(source, tmp_path):
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    rows = layout.read_table(tmp_path / "out" / "subs.csv")
    assert [row["texto"] for row in rows] == ["uno; dos a", "uno; dos b", "uno; dos c"]
    assert [rows[0][key] for key in ("signer", "film", "fps", "frame_count", "duration")] == [
        "s",
        "a.mp4",
        "10.0",
        "6",
        "0.6",
    ]
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "b", "c"]
    crops = PackedCrops(tmp_path / "out" / "hand_l" / "a.safetensors")
    assert (crops.length, crops.size, crops.seen.all()) == (6, 16, True)
    assert not PackedCrops(tmp_path / "out" / "hand_r" / "a.safetensors").seen.any()
    pose = read_pose(tmp_path / "out" / "pose" / "a.npz")
    assert (pose.points.shape, pose.size) == ((6, 75, 3), (64, 48))
    assert pose.seen["hand_l"].all()
    assert layout.index_faults(tmp_path / "out") == []
    assert (tmp_path / "out" / "index" / "SHA256SUMS").is_file()


def test_nothing_but_the_corpus_is_left(source, tmp_path):
    run(source, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"face", "hand_l", "hand_r", "pose", "pose_format", "index", "subs.csv", "faults.csv",
                     "metadata.jsonl", "corpus.json", "extraction.json"}  # fmt: skip


def test_each_clip_says_what_made_it_and_how_it_went(source, tmp_path):
    run(source, tmp_path / "out")
    record = record_of(tmp_path / "out", "a")
    assert record["seen"] == {"face": 1.0, "left_hand": 1.0, "right_hand": 0.0}
    assert record["shoulders"] == 1.0
    assert record["fingerprint"] == PackedCrops(tmp_path / "out" / "face" / "a.safetensors").extractor
    keys = ("film", "start", "end", "frames", "fps", "film_fps", "size", "version")
    assert [record[key] for key in keys] == ["a.mp4", None, None, 6, 10.0, 10.0, [64, 48], 2]
    assert sorted(record["signer"]) == ["box", "certainty", "persons", "unsure"]
    assert sorted(record["followed"]) == sorted(record["box"]) == ["face", "left_hand", "right_hand"]
    assert record["box"]["right_hand"] is None
    assert record["seconds"] > 0


def test_only_the_cuts_of_a_table_are_extracted(source, tmp_path):
    table = cuts(source, "x;a;0.1;0.4;uno", "y;a;0.3;0.6;dos", "z;b;0;0.4;tres")
    assert run(source, tmp_path / "out", table) == Outcome(3, {}, 0)
    rows = layout.read_table(tmp_path / "out" / "subs.csv")
    assert [(row["video"], row["start"], row["end"], row["frame_count"]) for row in rows] == [
        ("a", "0.1", "0.4", "3"), ("a", "0.3", "0.6", "3"), ("b", "0.0", "0.4", "4")]  # fmt: skip
    listed = (tmp_path / "out" / "faults.csv").read_text().splitlines()
    assert listed[0] == "where;video_id;reason;dropped"
    assert any(line.startswith("c.mp4;") and line.endswith(";true") for line in listed)


def test_the_reader_takes_what_was_written(source, tmp_path):
    run(source, tmp_path / "out")
    streams = {
        "left_hand": data.Crops(folder="hand_l", size=16, jitter=0.0, colour=0.0, mirror="right_hand"),
        "right_hand": data.Crops(folder="hand_r", size=16, jitter=0.0, colour=0.0, mirror="left_hand"),
        "pose": data.Landmarks(folder="pose", points="body_hands", normalise="shoulders", jitter=0.0, noise=0.0),
    }
    keys = {"fps": None, "max_frames": 100, "length_tolerance": 0, "augment": None, "seed": 1}
    corpus = data.LsaTMultiStream(root=str(tmp_path / "out"), split="train", streams=streams, **keys)
    sample = corpus[0]
    assert sample.text == "uno; dos a"
    assert sample.streams["left_hand"].shape == (6, 3, 16, 16)
    assert sample.streams["pose"].shape == (6, 75, 3)
    assert sample.seen["left_hand"].all()
    assert not sample.seen["right_hand"].any()


def test_single_jpegs_the_body_alone_and_no_pose_format_are_written_when_asked(source, tmp_path):
    run(source, tmp_path / "out", "packed=false", "points=body", "pose_format=false")
    names = sorted(path.name for path in (tmp_path / "out" / "face").iterdir())
    assert names[:2] == ["a_f000000.jpg", "a_f000001.jpg"]
    assert len(names) == 18
    assert read_pose(tmp_path / "out" / "pose" / "a.npz").points.shape == (6, 33, 3)
    assert not (tmp_path / "out" / "pose_format").exists()


def test_what_was_done_to_the_pictures_of_a_film_is_in_its_record_and_in_the_report(source, tmp_path):
    with av.open(str(source / "a.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=10, options={"x264-params": "tff=1:log-level=-1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(6):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            film.mux(stream.encode(picture))
        film.mux(stream.encode())
    run(source, tmp_path / "out", "report=true")
    assert record_of(tmp_path / "out", "a")["notes"][0].startswith("interlaced")
    assert "notes" not in record_of(tmp_path / "out", "b")
    assert "bwdif" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_report_is_written_and_not_again(source, tmp_path):
    run(source, tmp_path / "out", "report=true", "report_worst=1")
    report = tmp_path / "out" / "report.html"
    (before := report.stat().st_mtime_ns)
    run(source, tmp_path / "out", "report=true", "report_worst=1")
    assert report.stat().st_mtime_ns == before
    write_film(source / "b.mp4", count=8)
    (tmp_path / "out" / "face" / "b.safetensors").unlink()
    run(source, tmp_path / "out", "report=true", "report_worst=1")
    assert report.stat().st_mtime_ns > before


def test_an_extraction_says_in_a_line_a_stream_what_a_model_will_see(source, tmp_path, capsys):
    run(source, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[1:3] for line in lines if line.startswith("seen: ")]
    assert said == [["face", "1.00"], ["left_hand", "1.00"], ["right_hand", "0.00"], ["pose", "1.00"]]
    assert any("'right_hand' is never seen in any of 18 frames (3 clips)" in line for line in lines)
    assert extract.list_faults(tmp_path / "out", 0.05) == 1
    assert "stream 'hand_r' is never seen" in capsys.readouterr().out


def test_openposes_files_become_the_pose_stream_and_what_they_lack_is_said_once(tmp_path, capsys):
    pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')
    for name in "ab":
        write_people(tmp_path / "poses" / name, name, [[person(300, 200)], [person(300, 200), person(100, 90)]])
    keys = ("kind=poses", "captions.format=none", "openpose.size=[640,360]", "openpose.fps=25")
    assert run(tmp_path / "poses", tmp_path / "out", *keys).finished == 2
    said = capsys.readouterr().out
    assert "seen: pose 1.00 of 4 frames (2 clips)" in said
    assert said.count("points that 2 clips (first: a) do not have") == 1
    assert "RIGHT_HAND" in said
    assert "2 clips (first: a) show several people" in said
    record = record_of(tmp_path / "out", "a")
    assert [record[key] for key in ("extractor", "size", "fps", "signer")] == [
        "openpose-json", [640, 360], 25.0, {"persons": 2}]  # fmt: skip
    assert read_pose(tmp_path / "out" / "pose" / "a.npz").points[1, 11, 0] == pytest.approx(340 / 640)
    with pytest.raises(ValueError, match="extraction of other making"):
        run(tmp_path / "poses", tmp_path / "out", *keys[:3], "openpose.fps=30")


def test_published_poses_become_the_pose_stream_and_no_landmarker_is_built(tmp_path):
    poses = HOME.parent / "shared" / "data" / "poses_es"
    if not poses.is_dir():
        pytest.skip("the .pose files are not on this machine (../shared/data/poses_es)")
    pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')
    folder = tmp_path / "poses"
    folder.mkdir()
    for path in sorted(poses.glob("*.pose"))[:2]:
        (folder / path.name).symlink_to(path)
    layout.write_table(folder / "subs.csv", [{"video_id": path.stem, "texto": "a"} for path in folder.glob("*.pose")])
    nothing = "landmarker._target_=bench.landmarker_stub.nothing_like_it"
    with initialize_config_dir(str(CONF), version_base=None):
        keys = [f"source={folder}", f"out={tmp_path / 'out'}", "kind=poses", "split.by=all_train", "report=false"]
        assert extract.run(compose("extract", [*keys, nothing])).finished == 2
    name = sorted(path.stem for path in folder.glob("*.pose"))[0]
    record = record_of(tmp_path / "out", name)
    assert (record["extractor"], [*record["seen"]]) == ("pose-format", ["pose"])
    assert not (tmp_path / "out" / "face").exists()


def test_a_second_start_does_nothing_again(source, tmp_path):
    run(source, tmp_path / "out")
    before = files(tmp_path / "out")
    run(source, tmp_path / "out")
    assert Stub.clips == 3
    assert files(tmp_path / "out") == before


def test_a_stopped_extraction_goes_on_where_it_stopped(source, tmp_path, monkeypatch):
    start = Stub.start

    def third_time_lost(self, box):
        if Stub.clips == 2:
            raise MemoryError
        start(self, box)

    monkeypatch.setattr(Stub, "start", third_time_lost)
    with pytest.raises(MemoryError):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.json").exists()
    monkeypatch.setattr(Stub, "start", start)
    run(source, tmp_path / "out")
    assert Stub.clips == 3
    assert (tmp_path / "out" / "corpus.json").exists()


def test_a_clip_whose_cut_has_changed_or_whose_file_is_gone_is_extracted_again(source, tmp_path):
    run(source, tmp_path / "out", cuts(source, "x;a;0;0.5;uno", "y;b;0;0.5;dos", "z;c;0;0.5;tres"))
    (tmp_path / "out" / "hand_l" / "y.safetensors").unlink()
    run(source, tmp_path / "out", cuts(source, "x;a;0;0.3;uno", "y;b;0;0.5;dos", "z;c;0;0.5;tres"))
    assert Stub.clips == 5
    assert [row["frame_count"] for row in layout.read_table(tmp_path / "out" / "subs.csv")] == ["3", "5", "5"]


def test_an_extraction_that_is_killed_at_any_moment_ends_as_an_uninterrupted_one():
    bench = [sys.executable, str(TESTS / "bench" / "kills.py"), "--seconds", "20"]
    for options in (("--kills", "8", "--clips", "10"), ("--steps", "23", "--clips", "3", "split.by=all_train")):
        done = subprocess.run([*bench, *options], capture_output=True, text=True, env=HOUSE, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kills"] > 4


def test_a_film_replaced_under_its_name_is_extracted_anew_and_a_moved_or_touched_one_is_not(source, tmp_path, caplog):
    table = cuts(source, "w;a;0;0.5;uno", "x;b;0;0.3;dos", "y;b;0.3;0.6;tres", "z;c;0;0.5;cuatro")
    run(source, tmp_path / "out", table)
    os.utime(source / "a.mp4", (1, 1))
    (source / "moved").mkdir()
    (source / "c.mp4").rename(source / "moved" / "c.mp4")
    run(source, tmp_path / "out", table)
    assert Stub.clips == 4
    write_film(source / "b.mp4", shade=77)
    run(source, tmp_path / "out", table)
    assert Stub.clips == 6
    assert sum("b.mp4 is not what" in message and "2 clips" in message for message in caplog.messages) == 1
    run(source, tmp_path / "fresh" / "out", table)
    assert files(tmp_path / "out") == files(tmp_path / "fresh" / "out")


def test_records_of_before_films_were_known_by_content_stay_valid(source, tmp_path):
    run(source, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    for line in lines:
        for key in ("source", "mirrored", "person", "moved"):
            del line[key]
    layout.write_metadata(tmp_path / "out" / "metadata.jsonl", lines)
    run(source, tmp_path / "out")
    assert Stub.clips == 3


def test_films_that_are_gone_once_their_clips_are_made_are_not_missed(source, tmp_path):
    (source / "b.mp4").rename(source / "b.mkv")
    run(source, tmp_path / "out")
    (source / "b.mkv").unlink()
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    assert Stub.clips == 3


def test_a_text_that_has_changed_is_in_the_tables_and_nothing_is_extracted(source, tmp_path):
    run(source, tmp_path / "out")
    layout.write_table(source / "subs.csv", [{"video_id": n, "texto": f"otra {n}"} for n in "abc"])
    run(source, tmp_path / "out")
    assert [row["texto"] for row in layout.read_table(tmp_path / "out" / "subs.csv")] == ["otra a", "otra b", "otra c"]
    assert Stub.clips == 3


def test_mirrored_films_are_turned_over_each_as_its_row_says_and_anew_when_that_changes(source, tmp_path):
    rows = [
        {"video_id": n, "texto": "uno", "mirrored": said} for n, said in zip("abc", ("", "no", "true"), strict=True)
    ]
    layout.write_table(source / "subs.csv", rows)
    run(source, tmp_path / "out")
    assert [record_of(tmp_path / "out", name)["mirrored"] for name in "abc"] == [False, False, True]
    run(source, tmp_path / "out", "mirrored=true")
    assert [record_of(tmp_path / "out", name)["mirrored"] for name in "abc"] == [True, False, True]
    assert Stub.clips == 4
    run(source, tmp_path / "out", "mirrored=true")
    assert Stub.clips == 4
    layout.write_table(source / "subs.csv", [{**rows[0], "mirrored": "quizá"}])
    with pytest.raises(ValueError, match=r"subs\.csv line 2: mirrored 'quizá'"):
        run(source, tmp_path / "out")


def test_the_box_of_a_mirrored_film_is_turned_over_with_it(source, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("video_id;x;y;width;height\na;0;0;40;48\nb;1;2;30;40\nc;0;0;64;48\n")
    for _ in range(2):
        run(source, tmp_path / "out", "signer=box", f"boxes={table}", "mirrored=true")
    assert record_of(tmp_path / "out", "b")["signer"]["box"] == [33.0, 2.0, 63.0, 42.0]
    assert Stub.clips == 3


def test_a_clip_whose_box_has_changed_is_extracted_again(source, tmp_path):
    table = tmp_path / "boxes.csv"
    for rows in ("a;0;0;40;48\nb;1;2;30;40\nc;0;0;64;48", "a;0;0;40;48\nb;9;2;30;40\nc;0;0;64;48"):
        table.write_text(f"video_id;x;y;width;height\n{rows}\n")
        run(source, tmp_path / "out", "signer=box", f"boxes={table}")
    assert Stub.clips == 4
    assert record_of(tmp_path / "out", "b")["signer"]["box"] == [9.0, 2.0, 39.0, 42.0]


def test_several_processes_make_the_same_corpus_as_one(source, tmp_path):
    run(source, tmp_path / "one" / "out")
    assert run(source, tmp_path / "three" / "out", "workers=3") == Outcome(3, {}, 0)
    assert files(tmp_path / "one" / "out") == files(tmp_path / "three" / "out")


def test_the_shards_make_the_same_corpus_and_the_last_one_writes_the_tables(source, tmp_path):
    run(source, tmp_path / "one" / "out")
    assert run(source, tmp_path / "two" / "out", "shard=2/2") == Outcome(1, {}, 2)
    assert not (tmp_path / "two" / "out" / "corpus.json").exists()
    assert run(source, tmp_path / "two" / "out", "shard=1/2") == Outcome(2, {}, 0)
    assert files(tmp_path / "one" / "out") == files(tmp_path / "two" / "out")


def test_another_number_of_shards_goes_on_with_what_there_is(source, tmp_path):
    run(source, tmp_path / "out", "shard=1/2")
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    assert Stub.clips == 3


def test_the_shards_are_even_in_clips_and_in_length():
    lengths = [9, 1, 8, 2, 7, 3, 6, 4, 5, 5]
    clips = [Source(str(n), Path("a"), 10.0, 10.0 + length) for n, length in enumerate(lengths)]
    parts = [deal(clips, (i, 2)) for i in (1, 2)]
    assert sorted(clip.video_id for part in parts for clip in part) == [str(n) for n in range(10)]
    assert [len(part) for part in parts] == [5, 5]
    assert max(sum(clip.end - 10 for clip in part) for part in parts) <= 29
    assert all(part == sorted(part, key=lambda clip: int(clip.video_id)) for part in parts)


def test_the_same_shard_twice_at_once_is_refused_and_another_is_not(source, tmp_path):
    run(source, tmp_path / "out", "shard=1/2")
    with locked(tmp_path / "out" / ".work" / "shard-1-of-2.lock", wait=False) as free:
        assert free
        with pytest.raises(ValueError, match="another process extracts shard 1/2 of it just now"):
            run(source, tmp_path / "out", "shard=1/2")
        assert run(source, tmp_path / "out", "shard=2/2").left == 0


def test_a_killed_worker_ends_the_job_with_a_message_and_nothing_is_lost(source, tmp_path):
    slow = ("workers=2", "+landmarker.pause=5")
    job = subprocess.Popen(command(source, tmp_path / "out", *slow), env=HOUSE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: both_work(tmp_path / "out"), job=job)
    os.kill(workers_of(job.pid)[0], signal.SIGKILL)
    _, err = job.communicate(timeout=120)
    assert job.returncode == 1
    assert "a worker process was killed by SIGKILL at " in err
    assert "start again to go on" in err
    assert "Traceback" not in err
    assert run(source, tmp_path / "out", "+landmarker.pause=0") == Outcome(3, {}, 0)


def test_workers_die_with_the_process_that_started_them(source, tmp_path):
    slow = ("workers=2", "+landmarker.pause=5")
    job = subprocess.Popen(command(source, tmp_path / "out", *slow), env=HOUSE, stderr=subprocess.DEVNULL)
    wait_for(lambda: both_work(tmp_path / "out"), job=job)
    workers = workers_of(job.pid)
    assert len(workers) == 2
    job.kill()
    job.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers))


def both_work(out: Path) -> bool:
    """Whether each of two processes is in the midst of a clip."""
    return len(list(out.glob(".work/shard-1-of-1/clips/*/pose.part"))) == 2


def workers_of(pid: int) -> list[int]:
    """The processes that a job has spawned to work; its resource tracker is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        names = {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}
    except OSError:
        if not Path("/proc").is_dir():
            pytest.skip("no /proc to find the workers in")
        return []
    return [child for child, name in names.items() if "spawn_main" in name]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(there, *, seconds: float = 120, job: subprocess.Popen | None = None):
    end = time.monotonic() + seconds
    while time.monotonic() < end and (job is None or job.poll() is None):
        if found := there():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s, or the job ended before")


def test_submitit_runs_the_shards_as_jobs(source, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the launcher of extra cluster is absent")
    # One folder for all jobs: the launcher's default has one a job, which submitit makes only once the job has begun.
    words = command(source, tmp_path / "out", "hydra/launcher=submitit_local", "shard=1/2,2/2",
                    "hydra.launcher.submitit_folder=${hydra.sweep.dir}/.submitit")  # fmt: skip
    words = [*words[:3], "-m", *words[3:]]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=HOUSE, check=False)
    assert done.returncode == 0, done.stderr
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "b", "c"]
    assert not (tmp_path / "out" / ".work").exists()


def test_what_stopped_a_job_of_a_cluster_is_handed_on_in_one_message(source, tmp_path, entry, monkeypatch):
    uncompleted = type("UncompletedJobError", (RuntimeError,), {"__module__": "submitit.core.utils"})

    def stopped(*_, **__):
        raise uncompleted("Job 7 has not produced any output. Error stream: films/b.mp4: not a film")

    monkeypatch.setattr(extract, "extract_sources", stopped)
    ran = entry("extract", *command(source, tmp_path / "out")[3:])
    assert (ran.status, "Traceback" in ran.err) == (1, False)
    assert "error: Job 7 has not produced any output. Error stream: films/b.mp4: not a film" in ran.err


def test_a_folder_of_another_extraction_is_refused(source, tmp_path):
    run(source, tmp_path / "out")
    with pytest.raises(ValueError, match=r"fingerprint: .* there, .* now.*parameters\.hand_margin"):
        run(source, tmp_path / "out", "extractor.hand_margin=2")
    with pytest.raises(ValueError, match="quality: 92 there, 50 now"):
        run(source, tmp_path / "out", "quality=50")


def test_a_folder_with_other_files_is_refused_and_left_as_it_was(source):
    before = files(source)
    with pytest.raises(ValueError, match="not of an extraction"):
        run(source, source)
    assert files(source) == before
    assert not (source / ".work").exists()


def broken(source: Path, how: str) -> None:
    path = source / "b.mp4"
    if how == "truncated":
        write_film(path, count=40, size=(320, 240))
        with av.open(str(path)) as container, av.open(str(source / "b.mkv"), "w") as out:
            stream = out.add_stream_from_template(container.streams.video[0])
            for packet in container.demux(video=0):
                packet.stream = stream
                if packet.dts is not None:
                    out.mux(packet)
        path.unlink()
        data = (source / "b.mkv").read_bytes()
        (source / "b.mkv").write_bytes(data[: len(data) // 3])
    elif how == "no frames":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.start_encoding()
    elif how == "sound only":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    elif how == "text":
        path.write_text("this is no film\n" * 100)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "no frames", "sound only", "text", "empty", "missing"])
def test_a_bad_film_is_listed_and_the_others_are_extracted(source, tmp_path, how):
    broken(source, how)
    outcome = run(source, tmp_path / "out", "max_failures=1")
    assert (outcome.finished, [*outcome.failures]) == (2, ["b"])
    assert str(source / "b") in outcome.failures["b"]
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "c"]
    record = record_of(tmp_path / "out", "b")
    assert sorted(record) == ["end", "failure", "film", "start", "video_id"]
    assert not list((tmp_path / "out").rglob("b.*"))


def test_a_bad_film_stops_all_by_default_and_what_is_finished_stays(source, tmp_path):
    broken(source, "text")
    with pytest.raises(ValueError, match=r"b\.mp4: not a film.*Failed films so far: 1, max_failures=0.*start again"):
        run(source, tmp_path / "out")
    write_film(source / "b.mp4")
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    assert Stub.clips == 3


def test_a_mended_film_is_tried_again_and_its_failure_forgotten(source, tmp_path):
    broken(source, "text")
    run(source, tmp_path / "out", "max_failures=1")
    write_film(source / "b.mp4", shade=10)
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    assert Stub.clips == 3
    run(source, tmp_path / "whole" / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


def test_all_clips_of_one_film_count_once(source, tmp_path):
    broken(source, "text")
    table = cuts(source, "w;a;0;0.5;uno", "x;b;0;0.3;dos", "y;b;0.3;0.6;tres", "z;c;0;0.5;cuatro")
    assert [*run(source, tmp_path / "out", table, "max_failures=1").failures] == ["x", "y"]
    broken(source, "missing")
    (source / "c.mp4").write_text("no film either")
    with pytest.raises(ValueError, match="Failed films so far: 2, max_failures=1"):
        run(source, tmp_path / "more", table, "max_failures=1")


def test_what_can_be_seen_beforehand_is_listed_before_the_first_film(source, tmp_path):
    rows = ["t;a;0;0.5;uno", "u;a;0.2;7;dos", "v;a;5;6;tres", "w;b;0;0.65;ok", "x;nowhere;0;1;cinco"]
    with pytest.raises(ValueError, match=r"(?s)u'.*v'.*x'.*Failed films so far: 2, max_failures=1 \(3 of 5 clips"):
        run(source, tmp_path / "out", cuts(source, *rows), "max_failures=1")
    assert Stub.clips == 0
    listed = (tmp_path / "out" / "faults.csv").read_text()
    assert all(f"cuts.csv line {line};{name};" in listed for line, name in ((3, "u"), (4, "v"), (6, "x")))
    outcome = run(source, tmp_path / "out", cuts(source, *rows), "max_failures=2")
    assert (outcome.finished, sorted(outcome.failures)) == (2, ["u", "v", "x"])


def test_a_clip_that_shows_nobody_is_listed_and_in_no_split_unless_asked_for(source, tmp_path, monkeypatch, capsys):
    find = Stub.find
    monkeypatch.setattr(Stub, "find", lambda *args: Landmarks(find(*args).points * (Stub.clips > 1), True))
    assert run(source, tmp_path / "out").nobody == ("a",)
    assert "no person is found in 1 clips" in capsys.readouterr().out
    assert "a.mp4;a;no person is found" in (tmp_path / "out" / "faults.csv").read_text()
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["b", "c"]
    run(source, tmp_path / "out", "split.nobody=true")
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a", "b", "c"]


def test_a_folder_of_one_film_without_captions_works_with_no_further_key(tmp_path, caplog):
    (tmp_path / "films").mkdir()
    write_film(tmp_path / "films" / "a.mp4")
    with initialize_config_dir(str(CONF), version_base=None), caplog.at_level("INFO"):
        outcome = extract.run(compose("extract", [f"source={tmp_path / 'films'}", f"out={tmp_path / 'out'}", *STUB]))
    assert outcome == Outcome(1, {}, 0)
    assert layout.read_index(tmp_path / "out" / "index" / "train.csv") == ["a"]
    assert "no captions" in caplog.text
    assert "all are in train" in caplog.text


def test_folders_of_pictures_become_clips_at_the_rate_that_is_given(source, tmp_path):
    (source / "d").mkdir()
    for n in range(8):
        cv2.imwrite(str(source / "d" / f"{n}.jpg"), np.full((48, 64, 3), 20 * n, np.uint8))
    table = ("captions.format=none", "pictures_fps=10")
    run(source, tmp_path / "out", *table)
    record = record_of(tmp_path / "out", "d")
    assert (record["film"], record["frames"], record["fps"]) == ("d", 8, 10)
    run(source, tmp_path / "out", *table)
    assert Stub.clips == 4
    run(source, tmp_path / "out", "captions.format=none", "pictures_fps=20")
    assert Stub.clips == 5


def test_where_a_whole_split_failed_the_rest_is_split_anew(source, tmp_path, caplog):
    for n, name in enumerate("defghij"):
        write_film(source / f"{name}.mp4", shade=n)
    keys = ("split.by=film", "captions.format=none", "max_failures=1")
    run(source, tmp_path / "whole", *keys)
    (held,) = layout.read_index(tmp_path / "whole" / "index" / "test.csv")
    (source / f"{held}.mp4").write_text("no film")
    run(source, tmp_path / "out", *keys)
    splits = [layout.read_index(tmp_path / "out" / "index" / f"{split}.csv") for split in layout.SPLITS]
    assert [len(names) for names in splits] == [7, 1, 1]
    assert "test failed" in caplog.text


def test_when_no_clip_can_be_extracted_the_first_reason_is_said(source, tmp_path):
    for name in "abc":
        (source / f"{name}.mp4").write_text("no film")
    with pytest.raises(ValueError, match=r"none of 3 clips could be extracted; the first, 'a': .*a\.mp4"):
        run(source, tmp_path / "out", "max_failures=3")


@pytest.mark.parametrize("packed", ["true", "false"])
def test_an_id_that_begins_with_a_dash_is_extracted_checked_and_read(source, tmp_path, packed):
    name, out = "--7E2sU6zP4_10-5-rgb_front", tmp_path / "out"
    (source / "a.mp4").rename(source / "-7E.mp4")
    run(source, out, cuts(source, f"{name};-7E;0;0.5;uno"), f"packed={packed}", "max_failures=0")
    assert layout.read_index(out / "index" / "train.csv") == [name]
    faults = [line for line in check_corpus(out) if not line.startswith("note: ")]
    assert [line for line in faults if "hand_r" not in line] == []  # the stub never sees the right hand
    streams = {"left_hand": data.Crops(folder="hand_l", size=16, jitter=0.0, colour=0.0, mirror=None)}
    keys = {"fps": None, "max_frames": 100, "length_tolerance": 0, "augment": None, "seed": 1}
    corpus = data.LsaTMultiStream(root=str(out), split="train", streams=streams, **keys)
    assert corpus[0].seen["left_hand"].all()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_all_and_blames_no_film(source, tmp_path, monkeypatch, code):
    write = write_packed_blocks

    def full(file, *args, **keys):
        if "/c/" in file.name:
            raise OSError(code, os.strerror(code), file.name)
        write(file, *args, **keys)

    monkeypatch.setattr("slt.extraction.writer.write_packed_blocks", full)
    with pytest.raises(OutputError, match=rf"{os.strerror(code)}.*2 of 3 clips are finished and stay: start again"):
        run(source, tmp_path / "out", "max_failures=5")
    monkeypatch.setattr("slt.extraction.writer.write_packed_blocks", write)
    assert run(source, tmp_path / "out") == Outcome(3, {}, 0)
    assert Stub.clips == 4


def test_a_disk_that_is_really_full_stops_all_and_room_lets_it_go_on(source, tmp_path):
    out = tmp_path / "disk"
    out.mkdir()
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(out)], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    job = shlex.join(command(source, out / "out", "workers=2", "encoding=raw", "extractor.crop_size=64"))
    script = f"mount -t tmpfs -o size=700k none {out} && ! {job} && mount -o remount,size=9m {out} && {job}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=HOUSE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the disk is full: make room" in done.stderr
    assert "of 3 clips are finished and stay: start again to go on" in done.stderr
    assert "3 clips in" in done.stdout


@pytest.mark.parametrize("fault", ["encoding=png", "quality=0", "packed=ja", "folders.face=hand_l", "points=hands"])
def test_a_value_that_does_not_fit_is_said_before_any_film_is_opened(source, tmp_path, fault):
    with pytest.raises((ValueError, HydraException), match=fault.split("=")[0].split(".")[0]):
        run(source, tmp_path / "out", fault)
    assert Stub.clips == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shard=0/4", "shard=0/4: expected i/n with i from 1 to n"),
        ("shard=5/4", "shard=5/4"),
        ("shard=half", "shard=half"),
        ("workers=0", "workers=0: expected a number above 0"),
        ("max_failures=-1", "max_failures=-1: expected a number of at least 0"),
        ("kind=film", r"kind=film: expected one of films, .*; did you mean films\?"),
        ("split.by=signers", r"split.by=signers: .*; did you mean signer\?"),
        ("captions.format=subtitle", r"captions.format=subtitle: .*; did you mean subtitles\?"),
        ("signer=larges", r"signer=larges: .*; did you mean largest\?"),
        ("signer=box", "boxes is missing"),
        ("boxes=boxes.csv", "boxes=boxes.csv is read with signer=box only"),
        ("split.mode=random", "mode"),
        (
            "+extractor.crop_siz=3",
            r"extractor.crop_siz: slt.extraction.regions.Extractor takes no such key; did you mean crop_size\?",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(source, tmp_path, override, message):
    with pytest.raises((ValueError, HydraException), match=message):
        run(source, tmp_path / "out", override)


def test_missing_keys_are_named(tmp_path):
    with (
        initialize_config_dir(str(CONF), version_base=None),
        pytest.raises(ValueError, match="source is missing: give it, as in source=.*\n.*out is missing"),
    ):
        extract.run(compose("extract", []))


def test_the_command_s_status_says_how_it_went(source, tmp_path, entry, monkeypatch):
    def status(*overrides: str):
        return entry("extract", *command(source, tmp_path / "out", *overrides)[3:])

    def both_hands(self, seconds, picture):
        found = find(self, seconds, picture)
        found.points[54:] = found.points[33:54]
        return found

    find = Stub.find
    monkeypatch.setattr(Stub, "find", both_hands)
    broken(source, "text")
    stopped = status()
    assert (stopped.status, "Traceback" in stopped.err) == (1, False)
    assert "b.mp4: not a film" in stopped.err
    some = status("max_failures=1")
    assert some.status == 2
    assert "2 clips in" in some.out
    assert "b: " in some.out
    write_film(source / "b.mp4")
    assert status().status == 0
    assert entry("extract", f"check={tmp_path / 'out'}").status == 0
    (tmp_path / "out" / "face" / "a.safetensors").unlink()
    checked = entry("extract", f"check={tmp_path / 'out'}")
    assert checked.status == 1
    assert "a" in checked.out
    assert stopped.named_folder
    assert some.named_folder
    assert checked.named_folder
