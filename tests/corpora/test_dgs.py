"""The Public DGS Corpus by its translation protocols: two signers, frames or times, glosses with their frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_poses, write_text

from slt.corpora.dgs import DGS

HEAD = "filename|camera|ger_text|gloss|start_time|stop_time"
FILES = {"train": "Train", "val": "Dev", "test": "Test"}


def protocol(root: Path, split: str, *rows: str) -> None:
    write_text(root / f"mDGS_Protocol_{FILES[split]}.csv", [HEAD, *rows])


@pytest.fixture
def released(tmp_path: Path) -> Path:
    root = tmp_path / "dgs"
    for split, count in COUNTS.items():
        names = [f"15{len(split)}-7{'AB'[number % 2]}-{number}" for number in range(count)]
        rows = [f"{name}|{name.partition('7')[2][0]}|das {n}|ICH1/2/8 GEHEN/10/29|{50 * n + 5}|{50 * n + 50}"
                for n, name in enumerate(names)]  # fmt: skip
        protocol(root, split, *rows)
        write_poses(root, names)
    return root


def test_a_row_is_a_sentence_of_one_of_two_signers(released: Path) -> None:
    corpus = DGS(released)
    assert [len(corpus.rows(split)) for split in COUNTS] == [*COUNTS.values()]
    first, second = corpus.rows("val")
    assert (first.id, first.text) == ("153-7A-0", "das 0")
    assert first.columns == {"gloss": "ICH1 GEHEN", "signer": "153-7A", "film": "153-7", "start": "0.1", "end": "1.0"}
    assert (second.id, second.columns["film"]) == ("153-7B-1", "153-7")
    assert [corpus.film(row) for row in (first, second)] == ["153-7_1a1", "153-7_1b1"]


def test_protocols_are_trained_on_and_scored(released: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("dgs", released, "dataset.only=[pose]")


def test_times_are_frames_seconds_or_clock_with_frames(released: Path) -> None:
    protocol(released, "val", "1A-0|A|a|X|718|951", "1B-1|B|b|X|14.36|19.02", "1A-2|A|c|X|00:01:02:25|00:01:03:49")
    times = [(row.columns["start"], row.columns["end"]) for row in DGS(released).rows("val")]
    assert times == [("14.36", "19.02"), ("14.36", "19.02"), ("62.5", "63.98")]


def test_a_camera_that_stands_in_its_column_alone_is_put_into_the_id(released: Path) -> None:
    protocol(released, "val", "158-1|A|a|X|0|50", "158-1|B|b|X|0|50")
    assert [row.id for row in DGS(released).rows("val")] == ["158A-1", "158B-1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("158A-1|B|a|X|0|50", "of another camera than B"),
        ("158A-1|C|a|X|0|50", "camera A or B expected"),
        ("158A-1|A|a|X|0|now", "a time as .* expected, came 'now'"),
        ("158A-1|A|a", "6 fields expected, 3 came"),
    ],
)
def test_a_row_that_does_not_fit_is_named(released: Path, row: str, message: str) -> None:
    protocol(released, "val", row)
    with pytest.raises(ValueError, match=rf"mDGS_Protocol_Dev.csv line 2: .*{message}"):
        DGS(released).rows("val")


def test_a_row_without_length_is_left_out_with_a_note_and_quotes_are_text(released: Path) -> None:
    protocol(released, "val", '1A-0|A|"ja|X|50|50', '1A-1|A|"ja" sagt er|X|50|90')
    corpus = DGS(released)
    assert [row.text for row in corpus.rows("val")] == ['"ja" sagt er']
    assert corpus.notes == ["val: 1 end before they begin and are left out (first: 1A-0, 1.0 to 1.0 s)"]
