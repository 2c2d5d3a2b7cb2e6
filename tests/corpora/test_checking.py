"""Checking a dataset: a good one has no fault, and every fault of a bad one is listed with file and row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slt.corpora import layout
from slt.corpora.checking import check_corpus
from slt.files import write_json
from slt.streams.arrays import write_features
from slt.streams.packed import encode_jpeg, frame_path, write_frames, write_packed

FRAMES = {"a": 6, "b": 8, "c": 5}
FOLDERS = ("face", "hand_l", "hand_r")


def crops(frames: int, side: int = 8) -> np.ndarray:
    return np.full((frames, side, side, 3), 120, np.uint8)


def packed(root: Path, folder: str, name: str, *, side: int = 8, frames: int | None = None, extractor: str = "e1"):
    seen = np.arange(frames or FRAMES[name]) != 2
    path = root / folder / f"{name}.safetensors"
    write_packed(path, crops(len(seen), side), seen, encoding="raw", quality=90, extractor=extractor)


def pose(root: Path, name: str, **changes):
    points = np.full((FRAMES[name], 33, 3), 0.5, np.float32)
    seen = {folder: np.arange(FRAMES[name]) != 2 for folder in FOLDERS}
    arrays = {"pose": points.reshape(len(points), -1), "size": np.array([64, 48])}
    arrays |= {f"seen_{folder}": marks.astype(np.uint8) for folder, marks in seen.items()} | changes
    (root / "pose").mkdir(parents=True, exist_ok=True)
    np.savez(root / "pose" / f"{name}.npz", **arrays)


def sums(root: Path):
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / "index").glob("*.csv")}
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    (root / "index" / "SHA256SUMS").write_text(text)


def write_corpus(root: Path, form: str) -> Path:
    for name, frames in FRAMES.items():
        pose(root, name)
        write_features(root / "dino" / f"{name}.npy", np.ones((frames, 4), np.float32))
        for folder in FOLDERS:
            if form == "packed":
                packed(root, folder, name)
            else:
                there = (np.arange(frames) != 2)[:, None, None, None]
                write_frames(root / folder, name, crops(frames) * there, quality=95)
    rows = [{"video_id": name, "texto": f"uno {name}", "fps": 25, "frame_count": FRAMES[name]} for name in FRAMES]
    layout.write_table(root / "subs.csv", rows)
    for split, name in zip(layout.SPLITS, FRAMES, strict=True):
        layout.write_index(root / "index" / f"{split}.csv", [name])
    sums(root)
    lines = [{"video_id": name, "fingerprint": "e1", "frames": frames} for name, frames in FRAMES.items()]
    layout.write_metadata(root / "metadata.jsonl", lines)
    write_json(root / "corpus.json", {"name": "small"})
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", "packed")


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", "frames")


def table(root: Path, *lines: str, header: str = "video_id;texto;start;end;fps"):
    (root / "subs.csv").write_text("\n".join([header, *lines, ""]), encoding="utf-8")


@pytest.mark.parametrize("form", ["packed", "frames"])
def test_a_good_dataset_has_no_fault(tmp_path, form):
    assert check_corpus(write_corpus(tmp_path, form)) == []


def test_the_embedded_corpus_has_no_fault(corpus):
    assert check_corpus(corpus) == []


def test_what_a_dataset_made_elsewhere_lacks_is_noted_and_no_fault(root):
    for name in ("metadata.jsonl", "corpus.json", "index/val.csv", "index/test.csv", "index/SHA256SUMS"):
        (root / name).unlink()
    assert [line.split(":")[:2] for line in check_corpus(root)] == [
        ["note", " 2 clips of subs.csv are in no split, the first is 'b'"],
        ["note", " metadata.jsonl"],
        ["note", " corpus.json"],
    ]


def test_a_corpus_without_any_sentence_is_for_pretraining_and_one_without_some_is_faulty(root):
    table(root, "a;;0;1;25", "b;;0;1;25")
    assert not [line for line in check_corpus(root) if "texto" in line]
    table(root, "a;uno;0;1;25", "b;;0;1;25")
    assert [line for line in check_corpus(root) if "clip 'b' has an empty texto" in line]


def test_every_row_of_a_table_is_looked_at(root):
    table(root, "a;uno;0;1;25", "b;dos", ";tres;0;1;25", "c;;0;1;25", "a;seis;0;1;25", 'd;"x"y;0;1;25', "c;si;2;1;viel")
    found = "\n".join(check_corpus(root))
    for fault in (
        "subs.csv line 3: 5 fields expected, 2 came",
        "subs.csv line 4: empty video_id",
        "subs.csv line 5: clip 'c' has an empty texto",
        "subs.csv line 6: video_id 'a' stands already in line 2",
        "subs.csv line 7: ';' expected after",
        "subs.csv line 8: clip 'c' has fps 'viel'; expected a number above 0",
        "subs.csv line 8: clip 'c' has end '1' at or before start '2'",
    ):
        assert fault in found


@pytest.mark.parametrize(
    ("header", "row", "fault"),
    [
        ("video_id;texto;signr", "a;x;y", "line 1: unknown column 'signr'; beside"),
        ("video_id;texto;start", "a;x;-1", "line 2: clip 'a' has start '-1'; expected a number of 0 or more"),
        ("video_id;texto;duration", "a;x;6.359.999", "line 2: clip 'a' has duration '6.359.999'"),
        ("video_id;texto;frame_count", "a;x;6.5", "line 2: clip 'a' has frame_count '6.5'; expected a whole number"),
        ("video_id;texto;fps", "a;x;25\nb;x;", "1 of 2 clips have no fps, the first is 'b'"),
    ],
)
def test_a_fault_in_the_table_is_named_by_its_line(root, header, row, fault):
    table(root, row, header=header)
    assert any(line.startswith("subs.csv") and fault in line for line in check_corpus(root))


def test_a_table_in_another_form_and_an_id_with_a_dash_first_are_no_faults(root):
    table(root, "-a\tx", header="VIDEO_ID\tTEXTO")
    found = [line for line in check_corpus(root) if "subs.csv:" in line or "line" in line]
    assert found[0].startswith("note: subs.csv: read parted by tabs, with columns named VIDEO_ID, TEXTO")
    assert not [line for line in found if "cannot name files" in line]


def test_the_splits_are_compared_with_the_table_each_other_and_their_sums(root):
    layout.write_index(root / "index" / "val.csv", ["zz", "a", "b"])
    (root / "index" / "test.csv").write_text("video_id\n")
    found = check_corpus(root)
    assert "index/test.csv: the split is empty; expected one id a line" in found
    assert any(line.startswith("index/val.csv line 2: id 'zz' has no row in subs.csv") for line in found)
    assert any(line.startswith("index/val.csv line 3: clip 'a' stands in train.csv too") for line in found)
    assert len([line for line in found if "expected by SHA256SUMS" in line]) == 2


def cut(path: Path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def broken_offsets(root: Path):
    path = root / "face" / "b.safetensors"
    write_packed(path, crops(8), np.ones(8, bool), encoding="jpeg", quality=90, extractor="e1")
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")  # offsets come first
    data[begin + 3 * 8 : begin + 4 * 8] = (10**6).to_bytes(8, "little")
    path.write_bytes(data)


def inverted(root: Path):
    path = root / "face" / "b.safetensors"
    data = bytearray(path.read_bytes())
    data[-8:] = bytes([0, 0, 1, 0, 0, 0, 0, 0])
    path.write_bytes(data)


def strange_mark(root: Path):
    path = root / "face" / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


def values(value: float, columns: int) -> np.ndarray:
    return np.full((FRAMES["a"], columns), value, np.float32)


def marked(value: int) -> np.ndarray:
    return np.full(FRAMES["a"], value, np.uint8)


Damage = Callable[[Path], object]
FILES: dict[str, Damage] = {
    "hand_l/b.safetensors: no such file, but clip 'b' has a row": lambda r: (r / "hand_l" / "b.safetensors").unlink(),
    "face/x.safetensors: subs.csv has no clip 'x'": lambda r: (r / "face" / "x.safetensors").write_bytes(b""),
    "face/a.safetensors: not a readable clip of packed": lambda r: cut(r / "face" / "a.safetensors", 0.8),
    "face/b.safetensors frame 2": broken_offsets,
    "face/a.safetensors: crop side 16, most clips have 8": lambda r: packed(r, "face", "a", side=16),
    "face/a.safetensors: made by extractor e9, metadata": lambda r: packed(r, "face", "a", extractor="e9"),
    "face/b.safetensors: `seen` holds [7]; expected 0 not seen, 1 detected, 2 followed": strange_mark,
    "face/b.safetensors: marked as not seen, but there is a picture in frames 0, 1, 3, 4, 5 and 2 more": inverted,
    "face/a.safetensors: `seen` says 0 of frame 2, pose/a.npz 1": lambda r: pose(r, "a", seen_face=marked(1)),
    "face/notes.txt: not named like a file": lambda r: (r / "face" / "notes.txt").write_text(""),
    "face: two forms in one folder, 3 clips": lambda r: write_frames(r / "face", "a", crops(6), quality=90),
    "clip 'b': streams of different length (dino 8, face 4, hand_l 8": lambda r: packed(r, "face", "b", frames=4),
    "pose/a.npz: not a readable numpy file": lambda r: cut(r / "pose" / "a.npz", 0.5),
    "pose/a.npz: key `pose` holds NaN": lambda r: pose(r, "a", pose=values(np.nan, 99)),
    "pose/a.npz: key `pose` holds confidences from 1.5": lambda r: pose(r, "a", pose=values(1.5, 99)),
    "pose/a.npz: a pose of mediapipe_75 has 33 landmarks (body) or 75": lambda r: pose(r, "a", pose=values(0.5, 90)),
    "pose/a.npz: landmarks 75, most clips have 33": lambda r: pose(r, "a", pose=values(0.5, 225)),
    "pose/a.npz: `seen_face` holds [3]; expected 0": lambda r: pose(r, "a", seen_face=marked(3)),
    "pose/a.npz: `box_face` must be (6, 3) of finite": lambda r: pose(r, "a", box_face=values(np.nan, 3)),
    "dino/a.npy: features a frame 5, most clips": lambda r: np.save(r / "dino" / "a.npy", values(1, 5)),
    "dino/a.npy: features must be": lambda r: np.save(r / "dino" / "a.npy", marked(1)),
    ".records: left by an extraction that has not": lambda r: (r / ".records").mkdir(),
    "face/.a.12.tmp: left by a write that was stopped": lambda r: (r / "face" / ".a.12.tmp").write_text(""),
    "pose/a.npz: `seen_face` must be (6,)": lambda r: pose(r, "a", seen_face=np.array(1)),
    "corpus.json: not JSON (maximum": lambda r: (r / "corpus.json").write_text("[" * 100_000),
    "corpus.json: not JSON": lambda r: (r / "corpus.json").write_text("{"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_fault_in_the_files_is_named(root, fault):
    FILES[fault](root)
    assert any(line.startswith(fault) for line in check_corpus(root)), check_corpus(root)


def test_a_header_of_a_hundred_thousand_signs_is_one_short_line_at_once(root):
    header = b'{"__metadata__": "' + b"x" * 200_000 + b'"}'
    (root / "face" / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    [line] = [line for line in check_corpus(root) if line.startswith("face/a.safetensors: not a readable")]
    assert len(line) < 1000


def test_half_a_frame_of_nan_in_features_is_named(root):
    features = np.ones((6, 4), np.float32)
    features[1], features[3, 2] = np.nan, np.nan
    write_features(root / "dino" / "a.npy", features)
    assert check_corpus(root) == [
        "dino/a.npy: NaN or infinity in part of frame 3; a frame that was not seen is NaN as a whole"
    ]


def test_single_frames_are_looked_at_one_by_one(single):
    frame_path(single / "face", "b", 4).unlink()
    cut(frame_path(single / "face", "a", 1), 0.6)
    frame_path(single / "hand_l", "a", 2).write_bytes(encode_jpeg(crops(1)[0], 90))
    frame_path(single / "hand_l", "a", 3).write_bytes(encode_jpeg(crops(1, 16)[0], 90))
    found = check_corpus(single)
    for fault in (
        "face/b_f000004.jpg: no such frame, but the clip goes on to frame 7 (frame 4 missing)",
        "face/a_f000001.jpg: a truncated JPEG",
        "hand_l/a_f000000.jpg: marked as not seen, but there is a picture in frame 2",
        "hand_l/a_f000003.jpg: crop side 16, earlier frames of the clip have 8",
    ):
        assert len([line for line in found if line.startswith(fault)]) == 1, found
    assert len(found) == 4


def test_a_nearly_black_frame_without_marks_is_named(single):
    np.savez(single / "pose" / "a.npz", pose=np.full((6, 99), 0.5, np.float32))
    frame_path(single / "face", "a", 2).write_bytes(encode_jpeg(crops(1)[0] // 40, 90))
    assert [line[:44] for line in check_corpus(single)] == ["face/a_f000000.jpg: frame 2 nearly black, wh"]


def test_metadata_is_looked_at_line_by_line(root):
    lines: list[dict[str, object]] = [{"video_id": "a", "fingerprint": "e1", "frames": 60}]
    lines += [{"video_id": "b", "fingerprint": "e2"}]
    lines += [{"video_id": "x"}, {"video_id": "a"}, {"video_id": "lost", "failure": "no film"}]
    text = "\n".join(["{", *map(json.dumps, lines), "[]"])
    (root / "metadata.jsonl").write_text(text)
    found = "\n".join(check_corpus(root))
    for fault in (
        "metadata.jsonl line 1: not JSON",
        "metadata.jsonl line 4: clip 'x' has no row in subs.csv",
        "metadata.jsonl line 5: clip 'a' came before",
        "metadata.jsonl line 7: one JSON object expected, came list",
        "metadata.jsonl: clip 'c' of subs.csv has no line here",
        "metadata.jsonl: clips of 2 extractors (1 by e1, 1 by e2)",
        "metadata.jsonl: frames 60 of clip 'a', but its streams have 6 frames",
    ):
        assert fault in found
    assert "lost" not in found


def test_of_many_faults_of_a_kind_the_first_are_listed_and_all_counted(root):
    table(root, *(f"n{number};x" for number in range(8000)), *(["n1;"] * 30), "n2;x;y", header="video_id;texto")
    found = check_corpus(root)
    assert len(found) < 180
    assert any("3 came" in line for line in found), "one fault among many of another kind"
    missing = [line for line in found if line.startswith("face/n") and "no such file" in line]
    assert len(missing) == 20
    assert found[found.index(missing[-1]) + 1] == "... and 7980 more like the last one"
    assert all("\n" not in line for line in found)


def test_a_folder_without_anything_is_said(tmp_path):
    found = check_corpus(tmp_path)
    assert any(line.startswith("subs.csv: no such file") for line in found)
    assert any("no stream in this folder" in line for line in found)
    with pytest.raises(FileNotFoundError, match="check=.*nowhere: no such folder"):
        check_corpus(tmp_path / "nowhere")


# ---------------------------------------------------------------- streams that a model will not see


@pytest.mark.parametrize("form", ["packed", "frames"])
def test_a_stream_that_is_seldom_or_never_seen_is_a_fault(tmp_path, form):
    root = write_corpus(tmp_path / "corpus", form)
    assert check_corpus(root, min_seen=0.8) == []  # 16 of 19 frames
    assert all("seen in 84.21%" in line for line in check_corpus(root, min_seen=0.9)[:3])
    for name, frames in FRAMES.items():
        write_features(root / "dino" / f"{name}.npy", np.full((frames, 4), np.nan, np.float32))
        pose(root, name, pose=np.tile(np.float32([0.5, 0.5, 0]), (frames, 33)))
    lines = check_corpus(root)
    assert [line.partition(" is ")[0] for line in lines] == ["stream 'dino'", "stream 'pose'"]
    assert all("never seen in any of 19 frames (3 clips)" in line for line in lines)


def test_a_pose_in_pixels_is_a_fault(root):
    points = np.random.default_rng(0).uniform(10, 40, (FRAMES["b"], 33, 3)).astype(np.float32)
    points[..., 2] = 1
    pose(root, "b", pose=points.reshape(len(points), -1))
    (line,) = check_corpus(root)
    assert line.startswith("pose/b.npz: no places in a picture of 1 x 1")
