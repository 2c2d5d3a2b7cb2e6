"""iSign: a byte-order mark, words among the sentences, and ids with dashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import write_text
from pose_files import write_holistic

from slt.corpora.isign import ISign
from slt.corpora.splits import split_of

pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')

FILMS = [f"-y-{n}" for n in range(40)]
SPLITS = {film: split_of(film, val=0.05, test=0.05) for film in FILMS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    first = [next(film for film in FILMS if SPLITS[film] == split) for split in ("val", "test")]
    lines = ["uid,text"]
    for film in [*FILMS[:5], *first]:
        for number in (1, 2):
            lines.append(f'{film}-{number},"Hello, {number}"')
            write_holistic(tmp_path / f"iSign-poses_v1.1/{film}-{number}.pose", 6)
    lines += ["abc_w,hello", "abd_w,world"]
    write_text(tmp_path / "iSign_v1.1.csv", lines, encoding="utf-8-sig", end="\r\n")
    return tmp_path


def test_the_byte_order_mark_is_none_of_the_first_column(root: Path) -> None:
    row = ISign(root).rows("train")[0]
    assert row.text == "Hello, 1"


def test_a_film_is_what_stands_before_the_last_dash_and_stays_on_one_side(root: Path) -> None:
    corpus = ISign(root)
    for split in ("train", "val", "test"):
        films = [row.columns["film"] for row in corpus.rows(split)]
        assert films
        assert {SPLITS[film] for film in films} == {split}


def test_single_words_are_left_out_and_counted(root: Path) -> None:
    corpus = ISign(root)
    assert not any(row.id.endswith("_w") for split in ("train", "val", "test") for row in corpus.rows(split))
    assert corpus.notes == ["iSign_v1.1.csv: 2 single words are left out (first: 'abc_w')"]


def test_a_uid_without_a_film_is_named(root: Path) -> None:
    write_text(root / "iSign_v1.1.csv", ["uid,text", "clip,hello"])
    with pytest.raises(ValueError, match=r"iSign_v1\.1\.csv line 2: uid 'clip'"):
        ISign(root).rows("train")


def test_poses_are_trained_on_and_scored(root: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("isign", root, "streams.pose.num_features=16")
