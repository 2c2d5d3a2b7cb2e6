"""OpenASL as published: its table and Uni-Sign's labels, whose ids hold colons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_pickle, write_poses, write_text

from slt.corpora.films import PARTS
from slt.corpora.openasl import OpenASL

HEAD = "vid\tyid\tstart\tend\traw-text\ttokenized-text\tgloss\tsplit"
NAMES = {"train": "train", "val": "valid", "test": "test"}


def line(film: str, split: str, number: int, text: str, *, last: float = 0.5) -> str:
    start, end = (f"00:01:{number + more:06.3f}" for more in (0, last))
    return f"{film}-{start}-{end}\t{film}\t{start}\t{end}\t{text}\t{text.lower()}\t\t{split}"


def rows(**texts: str) -> list[str]:
    """The rows of a table; `valid='...'` has one more."""
    lines = [
        line(f"{split}Film", name, number, f"They sign {number}.")
        for split, name in NAMES.items()
        for number in range(COUNTS[split])
    ]
    return [HEAD, *lines, *(line("more", split, 0, text) for split, text in texts.items())]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    root = tmp_path / "openasl"
    write_text(root / "openasl-v1.0.tsv", rows())
    for split, count in COUNTS.items():
        write_poses(root, [f"{split}Film-00_01_{n:06.3f}-00_01_{n + 0.5:06.3f}" for n in range(count)])
    return root


def test_the_table_gives_the_splits_and_files_without_colons(released: Path) -> None:
    corpus = OpenASL(released)
    assert [len(corpus.rows(split)) for split in PARTS] == [*COUNTS.values()]
    row = corpus.rows("val")[1]
    assert (row.id, row.text) == ("valFilm-00:01:01.000-00:01:01.500", "They sign 1.")
    assert row.file == "valFilm-00_01_01.000-00_01_01.500"
    assert row.columns == {"film": "valFilm", "start": "61.0", "end": "61.5"}
    assert corpus.notes == []


def test_it_is_trained_on_and_scored(released: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("openasl", released, "dataset.only=[pose]")


def test_columns_are_read_by_name_and_quotes_are_text(tmp_path: Path) -> None:
    order = [5, 7, 0, 6, 1, 4, 3, 2]
    lines = ["\t".join(row.split("\t")[place] for place in order) for row in rows(valid='"Well," he', train='"Hi!"')]
    write_text(tmp_path / "openasl-v1.0.tsv", lines, end="\r\n")
    corpus = OpenASL(tmp_path)
    assert [corpus.rows(split)[-1].text for split in ("val", "train")] == ['"Well," he', '"Hi!"']


def test_an_unknown_split_and_a_row_of_other_length_are_named(tmp_path: Path) -> None:
    write_text(tmp_path / "openasl-v1.0.tsv", rows(held="text"))
    with pytest.raises(ValueError, match=r"openasl-v1.0.tsv line 12: split 'held'; train, valid or test expected"):
        OpenASL(tmp_path).rows("train")
    write_text(tmp_path / "openasl-v1.0.tsv", [*rows(), "a\tb"])
    with pytest.raises(ValueError, match=r"openasl-v1.0.tsv line 12: 8 fields expected, 2 came"):
        OpenASL(tmp_path).rows("train")


def test_a_sentence_that_ends_before_it_begins_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_text(tmp_path / "openasl-v1.0.tsv", [*rows(), line("odd", "test", 3, "none", last=-1)])
    corpus = OpenASL(tmp_path)
    assert len(corpus.rows("test")) == COUNTS["test"]
    assert corpus.notes == [
        "test: 1 end before they begin and are left out (first: odd-00:01:03.000-00:01:02.000, 63.0 to 62.0 s)"
    ]


def test_labels_have_the_ids_of_the_table(tmp_path: Path) -> None:
    name = "film-00:00:05.333-00:00:11.166.mp4"
    write_pickle(tmp_path / "labels.dev", {name: {"name": name, "gloss": "", "text": " I am  Ed.", "video_path": name}})
    (row,) = OpenASL(tmp_path).rows("val")
    assert (row.id, row.file, row.text) == (name[:-4], "film-00_00_05.333-00_00_11.166", "I am Ed.")
    assert row.columns == {"film": "film", "start": "5.333", "end": "11.166"}
    write_pickle(tmp_path / "labels.test", {"film.mp4": {"name": "film.mp4", "text": "a"}})
    with pytest.raises(ValueError, match=r"labels.test: clip 'film': FILM-00:00:01.000-00:00:02.500 expected"):
        OpenASL(tmp_path).rows("test")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "tables" / "openasl_unisign"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real labels are not on this machine (../shared/data/tables)")
def test_the_real_labels_are_read() -> None:
    corpus = OpenASL(REAL)
    assert [len(corpus.rows(split)) for split in ("val", "test")] == [8, 8]
    assert corpus.rows("test")[0].id == "Mci9oyb5V2E-00:00:05.333-00:00:11.166"
    assert corpus.notes == []
