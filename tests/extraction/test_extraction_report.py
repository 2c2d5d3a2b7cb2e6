"""The page over an extracted corpus: what it counts, what it shows first, and that it is one file of equal bytes."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from slt.corpora import layout
from slt.drawing.charts import draw_histogram
from slt.extraction import report as overview
from slt.extraction.contact_sheet import Moment, draw_sheet
from slt.extraction.report import choose_worst, write_overview
from slt.extraction.source import Source
from slt.streams.packed import write_frames, write_packed
from slt.streams.pose import DETECTED, FOLLOWED, NOT_SEEN
from slt.streams.skeleton import MEDIAPIPE

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}
ALL = FOLDERS | {"pose": "pose"}
FRAMES, SIZE = 20, (64, 48)
VOID = {"meta", "img", "br", "link", "input", "hr"}


def marks_of(stream: str) -> np.ndarray:
    """All marks come up: the face is always detected, the left hand is lost at first, the right one followed late."""
    steps = np.arange(FRAMES)
    if stream == "left_hand":
        return np.where(steps < 10, NOT_SEEN, DETECTED).astype(np.uint8)
    return np.where((steps >= 10) & (stream == "right_hand"), FOLLOWED, DETECTED).astype(np.uint8)


def line(name: str, **changes: Any) -> dict[str, Any]:
    """A line of metadata.jsonl."""
    marks = {stream: marks_of(stream) for stream in FOLDERS}
    made = {"extractor": "stub", "version": 2, "fingerprint": "e1", "parameters": {}, "seconds": 1.5}
    return {
        "video_id": name, "film": f"{name}.mp4", "start": None, "end": None, "fps": 10.0, "film_fps": 25.0,
        "frames": FRAMES, "size": list(SIZE),
        "seen": {stream: float((values > 0).mean()) for stream, values in marks.items()},
        "followed": {stream: float((values == FOLLOWED).mean()) for stream, values in marks.items()},
        "box": {"face": 12.0, "left_hand": 8.5, "right_hand": None},
        "signer": {"certainty": 1.0, "persons": 1, "unsure": False, "box": None}, **made, **changes,
    }  # fmt: skip


def write_clip(root: Path, name: str, *, packed: bool = True) -> None:
    points = np.full((FRAMES, 75, 3), 0.5, np.float32)
    points[:, :, :2] += np.random.default_rng(0).uniform(-0.3, 0.3, (FRAMES, 75, 2)).astype(np.float32)
    arrays = {"pose": points.reshape(FRAMES, -1), "size": np.array(SIZE)}
    for stream, folder in FOLDERS.items():
        marks, crops = marks_of(stream), np.full((FRAMES, 8, 8, 3), 90, np.uint8)
        arrays |= {f"seen_{folder}": marks, f"box_{folder}": np.full((FRAMES, 3), 20, np.float32)}
        if packed:
            path = root / folder / f"{name}.safetensors"
            write_packed(path, crops, marks, encoding="raw", quality=90, extractor="e1")
        else:
            write_frames(root / folder, name, crops, quality=90)
    (root / "pose").mkdir(exist_ok=True)
    np.savez(root / "pose" / f"{name}.npz", **arrays)


def write_corpus(root: Path, lines: list[dict[str, Any]], *, packed: bool = True) -> Path:
    root.mkdir(exist_ok=True)
    layout.write_metadata(root / "metadata.jsonl", lines)
    names = [each["video_id"] for each in lines if "failure" not in each]
    for name in names:
        write_clip(root, name, packed=packed)
    return root


@pytest.fixture
def asked(monkeypatch) -> list[Any]:
    """What was asked of films; they show an even grey."""
    calls: list[Any] = []

    def frames_at(source, seconds):
        calls.append((source.path, list(seconds), source.start))
        for second in seconds:
            yield second, np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)

    monkeypatch.setattr(overview, "frames_at", frames_at)
    return calls


@pytest.fixture
def films(tmp_path) -> dict[str, Source]:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"film")
    return {name: Source(name, tmp_path / f"{name}.mp4", text=f"¿el <b>niño</b> {name} & más?") for name in "ab"}


def page(root: Path, films: dict[str, Source], worst: int = 12, folders: dict[str, str] = ALL) -> str:
    return write_overview(root, films, folders, worst=worst).read_text(encoding="utf-8")


def sheets(text: str) -> list[np.ndarray]:
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR) for each in data]


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_well_formed_file_that_asks_for_nothing(tmp_path, asked, films):
    failure = {"video_id": "lost", "film": "lost.mp4", "failure": "lost.mp4: no such <film>"}
    text = page(write_corpus(tmp_path / "out", [line("a"), line("b"), failure]), films)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert "default-src 'none'" in text
    assert "<script" not in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_what_the_corpus_says_is_escaped(tmp_path, asked, films):
    failure = {"video_id": "lost", "film": "lost.mp4", "failure": "lost.mp4: no such <film>"}
    text = page(write_corpus(tmp_path / "out", [line("a"), failure]), films)
    assert '<q lang="es">¿el &lt;b&gt;niño&lt;/b&gt; a &amp; más?</q>' in text
    assert "no such &lt;film&gt;" in text
    assert "<b>" not in text


def test_the_same_corpus_gives_the_same_bytes(tmp_path, asked, films):
    root = write_corpus(tmp_path / "out", [line("a"), line("b")])
    first = page(root, films)
    layout.write_metadata(root / "metadata.jsonl", [line("a", seconds=9.9), line("b", seconds=0.1)])
    assert page(root, films) == first
    assert sorted(path.name for path in root.glob("*report*")) == ["report.html"]


def test_streams_are_counted_in_frames(tmp_path, asked, films):
    seen = {"face": 0.0, "left_hand": 0.5, "right_hand": 1.0}
    lines = [line("a", frames=300), line("b", frames=100, seen=seen, followed={})]
    text = page(write_corpus(tmp_path / "out", lines), films, worst=0)
    rows = re.findall(r'<tr><th scope="row">([\w ]+)</th>.*?<td class="number">([\d.]+ %)</td>', text, re.DOTALL)
    assert rows == [("face", "75.0 %"), ("left hand", "50.0 %"), ("right hand", "100.0 %")]
    assert "<dd>40.0 s, 400 frames</dd>" in text
    assert 'class="followed" style="width:37.50%"' in text, "half of the right hand's frames in three quarters of all"
    assert all(title in text for title in ("length", "frame rate", "face: share seen", "left hand: side of the box"))
    assert "right hand: side of the box" not in text, "it was never boxed"


def test_failures_and_unsure_signers_are_listed_with_reasons(tmp_path, asked, films):
    unsure = {"certainty": 0.41, "persons": 3, "unsure": True, "box": [1, 2, 30, 40]}
    lines = [line("a", signer=unsure), line("b"), {"video_id": "c", "film": "c.mp4", "failure": "cut short"}]
    text = page(write_corpus(tmp_path / "out", lines), films)
    assert re.search(r'<th scope="row">c</th><td>c.mp4</td><td>cut short</td>', text)
    assert re.search(r'<th scope="row">a</th><td>a.mp4</td><td class="number">0.41</td><td class="number">3</td>', text)
    assert "Signer unsure: 0.41, 3 people" in text
    assert "and 1 of which nothing was extracted" in text


def test_faults_of_the_tables_are_counted_by_reason(tmp_path, asked, films):
    root = write_corpus(tmp_path / "out", [line("a")])
    reasons = ["a spreadsheet's error, '#NAME?', is no sentence", "a spreadsheet's error, '#N/A', is no sentence"]
    rows = [f"meta.csv line {n};v{n};{reason};true" for n, reason in enumerate(reasons, 2)]
    rows += [f"meta.csv line {n};v{n};overlaps v{n - 1} (meta.csv line {n - 1}) by 0.{n} s;false" for n in range(5, 8)]
    (root / "faults.csv").write_text("\n".join(["where;video_id;reason;dropped", *rows, ""]))
    text = page(root, films)
    found = re.findall(r'<tr><td class="number">(\d+)</td><td>(\w+)</td><td>(meta.csv line \d)', text)
    assert found == [("3", "yes", "meta.csv line 5"), ("2", "no", "meta.csv line 2")]


def test_a_table_of_faults_that_is_none_is_named(tmp_path, asked, films):
    root = write_corpus(tmp_path / "out", [line("a")])
    (root / "faults.csv").write_text(f"where;video_id;reason;dropped\n{'x' * 200_000}\n")
    with pytest.raises(ValueError, match=r"faults\.csv: not a table"):
        page(root, films)


def test_the_worst_come_first_and_unsure_signers_take_up_to_half():
    def fact(name: str, share: float, certainty: float = 1.0) -> Any:
        signer = {"certainty": certainty, "persons": 2, "unsure": certainty < 0.6}
        return overview.Fact(line(name, seen={"face": 1.0, "left_hand": share}, signer=signer))

    clips = [fact("good", 1.0), fact("bad", 0.0), fact("fair", 0.6), fact("u1", 0.9, 0.5), fact("u2", 0.9, 0.2),
             fact("u3", 0.9, 0.4)]  # fmt: skip
    assert [clip.video_id for clip in choose_worst(clips, 4)] == ["u2", "u3", "bad", "fair"]
    assert [clip.video_id for clip in choose_worst(clips, 1)] == ["u2"]
    assert [clip.video_id for clip in choose_worst(clips[:3], 12)] == ["bad", "fair", "good"]
    assert choose_worst(clips, 0) == []


@pytest.mark.parametrize("packed", [True, False])
def test_a_sheet_shows_six_frames_of_the_cut_with_their_crops(tmp_path, asked, films, packed):
    root = write_corpus(tmp_path / "out", [line("a", start=3.0, end=5.0)], packed=packed)
    films["a"] = replace(films["a"], start=3.0)
    text = page(root, films)
    [(path, seconds, start)] = asked
    assert (path.name, start) == ("a.mp4", 3.0)
    assert seconds == [0.1, 0.5, 0.8, 1.1, 1.5, 1.8]
    [sheet] = sheets(text)
    assert sheet.shape[1] > 1000
    assert "from 3.00 s" in text
    assert "any more" not in text


@pytest.mark.parametrize(("leading", "asked_for"), [(1, ""), (9, "mirrored=true")])
def test_the_page_says_where_the_left_hand_leads_and_asks_whether_films_are_mirrored(
    tmp_path, asked, films, leading, asked_for
):
    moved = [{"left_hand": 9.0 if n < leading else 1.0, "right_hand": 5.0} for n in range(10)]
    root = write_corpus(tmp_path / "out", [line(f"c{n}", moved=each) for n, each in enumerate(moved)])
    text = page(root, {}, worst=0)
    assert f"{leading} of 10 clips in which a hand moves" in text
    assert ("mirrored=true" in text) == bool(asked_for)


@pytest.mark.parametrize("gone", ["absent", "unnamed", "unreadable"])
def test_a_film_that_is_gone_leaves_crops_and_landmarks_and_is_said(tmp_path, asked, films, gone, monkeypatch):
    root = write_corpus(tmp_path / "out", [line("a")])
    if gone == "absent":
        films["a"].path.unlink()
    if gone == "unreadable":

        def broken(*_, **__):
            raise ValueError("not a film")

        monkeypatch.setattr(overview, "frames_at", broken)  # fmt: skip
    text = page(root, {} if gone == "unnamed" else films)
    assert len(sheets(text)) == 1
    assert ("is not read again (not a film)" if gone == "unreadable" else "a.mp4 is not there any more") in text


def test_a_clip_whose_files_are_broken_is_said_and_the_page_written(tmp_path, asked, films):
    root = write_corpus(tmp_path / "out", [line("a"), line("b")])
    (root / "face" / "b.safetensors").write_bytes(b"?")
    text = page(root, films)
    assert len(sheets(text)) == 1
    assert re.search(r"No sheet: .*b\.safetensors: not a readable clip of packed crops", text)


def test_a_corpus_of_key_points_alone_has_sheets_of_skeletons(tmp_path, asked):
    root = write_corpus(tmp_path / "out", [line("a", seen={"pose": 0.9}, followed={}, box={}, film="keypoints.h5")])
    for folder in FOLDERS.values():
        (root / folder / "a.safetensors").unlink()
    text = page(root, {})
    assert len(sheets(text)) == 1
    assert "any more" not in text


def test_other_folders_are_those_of_the_extraction(tmp_path, asked, films):
    root = write_corpus(tmp_path / "out", [line("a")])
    (root / "face").rename(root / "gesicht")
    other = sheets(page(root, films, folders={**ALL, "face": "gesicht"}))
    assert other[0].shape == sheets(page(write_corpus(tmp_path / "two", [line("a")]), films))[0].shape


def test_nothing_extracted_is_a_page_too(tmp_path):
    text = page(write_corpus(tmp_path / "out", [{"video_id": "c", "film": "c.mp4", "failure": "cut short"}]), {})
    assert "No clip was extracted." in text
    assert "cut short" in text


def test_thousands_of_clips_are_one_page(tmp_path):
    failed = [{"video_id": f"f{n}", "film": f"f{n}.mp4", "failure": "?"} for n in range(1000)]
    root = write_corpus(tmp_path / "out", [*failed])
    layout.write_metadata(
        root / "metadata.jsonl", [*failed, *(line(f"c{n}", film=f"{n % 50}.mp4") for n in range(8000))]
    )
    text = page(root, {}, worst=0)
    assert "<dd>8,000</dd>" in text
    assert "And 800 more, in metadata.jsonl." in text
    assert len(text) < 500_000


def moment(mark: int) -> Moment:
    crop = np.full((8, 8, 3), 200, np.uint8)
    points = np.zeros((75, 3), np.float32)
    film = np.full((48, 64, 3), 128, np.uint8)
    crops, marks, boxes = {"left_hand": crop}, {"left_hand": mark}, {"left_hand": (32.0, 24.0, 20.0)}
    return Moment("0 s", film, points, MEDIAPIPE, crops, marks, boxes)


def test_seen_followed_and_not_seen_are_told_apart_without_colour():
    grey = [draw_sheet([moment(mark)], size=SIZE, signer=None).mean(-1) for mark in (NOT_SEEN, DETECTED, FOLLOWED)]
    half = grey[0].shape[0] // 2
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for part in (slice(None, half), slice(half, None)):  # the box in the film, and the crop with its word
            assert np.abs(grey[one][part] - grey[other][part]).max() > 60


def test_the_signer_s_place_is_outlined():
    plain, outlined = (draw_sheet([moment(0)], size=SIZE, signer=box) for box in (None, (10, 10, 50, 40)))
    assert np.abs(plain.astype(int) - outlined).max() > 60


def test_a_standing_picture_is_not_stretched():
    sheet = draw_sheet([moment(1)], size=(48, 640), signer=None)
    assert sheet.shape[0] < 700


def test_a_histogram_says_in_words_what_it_shows():
    svg = draw_histogram("length", [1.0, 2.0, 6.0], axis="seconds", counted="clips", limits=None, bins=10)
    assert 'aria-label="length: 3 clips, seconds from 1 to 6, median 2"' in svg
    assert draw_histogram("length", [4.0] * 3, axis="s", counted="clips", limits=None, bins=10).startswith("<svg")
    assert draw_histogram("length", [], axis="s", counted="clips", limits=None, bins=10) == ""
    assert json.dumps(svg).isascii()
