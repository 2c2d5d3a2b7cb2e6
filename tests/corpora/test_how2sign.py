"""How2Sign as published: re-aligned tables, tables without re-alignment, and Uni-Sign's labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_pickle, write_poses, write_text

from slt.corpora.films import PARTS
from slt.corpora.how2sign import How2Sign

HEAD = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART{0}\tEND{0}\tSENTENCE"


def line(film: str, number: int, start: float, end: float, text: str) -> str:
    name = f"{film}-5-rgb_front"
    return f"{film}\t{name}\t{film}_{number}\t{film}_{number}-5-rgb_front\t{start}\t{end}\t{text}"


def table(root: Path, split: str, *lines: str, kind: str = "_REALIGNED", end: str = "\n") -> None:
    write_text(root / f"how2sign{kind.lower()}_{split}.csv", [HEAD.format(kind), *lines], end=end)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    root = tmp_path / "how2sign"
    for split, count in COUNTS.items():
        rows = [line(f"-{split}", number, number, number + 0.5, f"We turn it {number}.") for number in range(count)]
        table(root, split, *rows, end="\r\n" if split == "val" else "\n")
        write_poses(root, [f"-{split}_{number}-5-rgb_front" for number in range(count)])
    return root


def test_the_tables_name_clips_films_and_times(released: Path) -> None:
    corpus = How2Sign(released)
    assert [len(corpus.rows(split)) for split in PARTS] == [*COUNTS.values()]
    row = corpus.rows("val")[1]
    assert (row.id, row.text, row.file) == ("-val_1-5-rgb_front", "We turn it 1.", "")
    assert row.columns == {"film": "-val-5-rgb_front", "start": "1", "end": "1.5"}
    assert corpus.notes == []


def test_they_are_trained_on_and_scored(released: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("how2sign", released, "dataset.only=[pose]")


def test_a_quote_is_text_and_ends_nothing(released: Path) -> None:
    table(released, "val", line("a", 0, 0, 1, '"Hi!"'), line("a", 1, 1, 2, 'the 2" one'), line("a", 2, 2, 3, '"Well,'))
    assert [row.text for row in How2Sign(released).rows("val")] == ['"Hi!"', 'the 2" one', '"Well,']


def test_a_row_that_ends_before_it_begins_is_left_out_with_a_note(released: Path) -> None:
    table(released, "val", line("a", 0, 2, 2, "none"), line("a", 1, 1, 2, "one"))
    corpus = How2Sign(released)
    assert [row.text for row in corpus.rows("val")] == ["one"]
    assert corpus.notes == ["val: 1 end before they begin and are left out (first: a_0-5-rgb_front, 2 to 2 s)"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\tb\tc", "line 2: 7 fields expected, 3 came"),
        (line("a", 0, 0, 0, "x").replace("0\t0", "0\tx"), "line 2: .*'x'"),
    ],
)
def test_a_damaged_row_is_named(released: Path, row: str, message: str) -> None:
    table(released, "val", row)
    with pytest.raises(ValueError, match=rf"how2sign_realigned_val.csv {message}"):
        How2Sign(released).rows("val")


def test_the_release_without_realignment_and_the_labels_are_read_where_there_is_nothing_better(tmp_path: Path) -> None:
    table(tmp_path, "val", line("-a", 3, 1, 2, "one"), kind="")
    name = "-a_3-5-rgb_front.mp4"
    write_pickle(tmp_path / "labels.test", {name: {"name": name, "gloss": "", "text": "two", "video_path": name}})
    corpus = How2Sign(tmp_path)
    assert corpus.rows("val")[0].columns == {"film": "-a-5-rgb_front", "start": "1", "end": "2"}
    (row,) = corpus.rows("test")
    assert (row.id, row.text) == ("-a_3-5-rgb_front", "two")
    assert row.columns == {"film": "-a-5-rgb_front", "start": "", "end": ""}
    with pytest.raises(FileNotFoundError, match="how2sign_realigned_train.csv"):
        corpus.rows("train")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "tables"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not on this machine (../shared/data/tables)")
def test_the_real_tables_and_labels_name_the_same_clips() -> None:
    tables, labels = How2Sign(REAL / "how2sign"), How2Sign(REAL / "how2sign_unisign")
    assert [len(tables.rows(split)) for split in ("val", "test")] == [8, 8]
    assert [len(labels.rows(split)) for split in ("train", "test")] == [8, 8]
    same = {row.id: row for row in tables.rows("test")}
    found = [row for row in labels.rows("test") if row.id in same]
    assert found
    assert all(same[row.id].text == row.text for row in found)
    assert all(same[row.id].columns["film"] == row.columns["film"] for row in found)
    assert tables.rows("val")[0].id == "-d5dN54tH2E_0-1-rgb_front"
    assert tables.notes == labels.notes == []
