"""Films with subtitles that follow the sound: WMT-SLT and BOBSL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_poses, write_text

from slt.corpora.subtitled import Subtitled

SRT = [
    "1",
    "00:00:01,000 --> 00:00:02,500",
    "Guten <i>Abend</i>.",
    "",
    "2",
    "00:00:03,000 --> 00:00:04,000",
    "Es regnet.",
]
VTT = ["WEBVTT", "", "00:00:01.000 --> 00:00:02.500", "Good evening.", "", "00:00:03.000 --> 00:00:04.000", "It rains."]
FOLDERS = {"train": "train", "val": "dev", "test": "test"}


def srf(root: Path, **keys: Any) -> Subtitled:
    return Subtitled(root, **{"subtitles": "**/*", "splits": None, "align": 0.0, **keys})


@pytest.fixture
def wmt(tmp_path: Path) -> Path:
    root = tmp_path / "srf"
    for split, part in FOLDERS.items():
        for film in range(COUNTS[split] // 2):
            write_text(root / part / "subtitles" / f"{part}.2020-0{film}.srt", SRT)
            write_poses(root, [f"{part}.2020-0{film}_{number}" for number in (1, 2)])
    return root


@pytest.fixture
def bobsl(tmp_path: Path) -> Path:
    root = tmp_path / "bobsl"
    names = {"train": "train", "val": "val", "test": "public_test"}
    episodes = {names[split]: [f"{split}{n}" for n in range(count // 2)] for split, count in COUNTS.items()}
    (root / "metadata").mkdir(parents=True)
    (root / "metadata" / "subset2episode.json").write_text(json.dumps({**episodes, "challenge_test": ["held"]}))
    for name in [name for films in episodes.values() for name in films]:
        write_text(root / "subtitles" / "audio-aligned" / f"{name}.vtt", VTT)
        write_poses(root, [f"{name}_1", f"{name}_2"])
    return root


def test_folders_named_by_split_are_read(wmt: Path) -> None:
    corpus = srf(wmt)
    assert [len(corpus.rows(split)) for split in COUNTS] == [*COUNTS.values()]
    row = corpus.rows("val")[0]
    assert (row.id, row.text) == ("dev.2020-00_1", "Guten Abend.")
    assert row.columns == {"film": "dev.2020-00", "start": "1.0", "end": "2.5"}
    assert corpus.notes == []


def test_films_with_subtitles_are_trained_on_and_scored(wmt: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("wmt_slt", wmt, "dataset.only=[pose]")


def test_episodes_of_a_list_are_trained_on_and_scored(bobsl: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("bobsl", bobsl, "dataset.only=[pose]", "dataset.corpus.align=0.5")


def test_subtitles_are_moved_to_the_signing(wmt: Path) -> None:
    later, earlier = srf(wmt, align=2.7).rows("val"), srf(wmt, align=-1.5)
    assert [later[0].columns[key] for key in ("start", "end")] == ["3.7", "5.2"]
    assert [earlier.rows("val")[0].columns[key] for key in ("start", "end")] == ["0.0", "1.0"]
    gone = srf(wmt, align=-2.5)
    assert [row.id for row in gone.rows("val")] == ["dev.2020-00_2"]
    assert gone.notes == ["val: 1 subtitles are before the film with align=-2.5 and left out (first: dev.2020-00_1)"]
    assert srf(wmt).fingerprint != srf(wmt, align=2.7).fingerprint


def test_a_table_says_which_film_is_where_and_what_is_amiss(wmt: Path) -> None:
    rows = ["film;split", "train.2020-00;dev", "train.2020-01;train", "gone;test", "test.2020-00;test"]
    write_text(wmt / "splits.csv", rows)
    (wmt / "train" / "subtitles" / "train.2020-01.srt").rename(wmt / "train" / "subtitles" / "train.2020-01.de.srt")
    corpus = srf(wmt, splits="splits.csv")
    found = {split: [row.columns["film"] for row in corpus.rows(split)] for split in COUNTS}
    assert found == {"train": ["train.2020-01"] * 2, "val": ["train.2020-00"] * 2, "test": ["test.2020-00"] * 2}
    assert corpus.notes == [
        "splits: 1 films have no subtitles here (first: gone)",
        "splits: 2 films are in no split (first: dev.2020-00)",
    ]
    write_text(wmt / "splits.csv", [*rows, "gone;train"])
    with pytest.raises(ValueError, match=r"splits.csv line 6: film 'gone' is in test, too"):
        srf(wmt, splits="splits.csv").rows("val")


def test_subtitles_of_two_kinds_are_never_mixed(bobsl: Path) -> None:
    write_text(bobsl / "subtitles" / "signing-aligned" / "train0.vtt", VTT)
    with pytest.raises(ValueError, match=r"audio-aligned/train0.vtt and .*dataset.corpus.subtitles=PATTERN"):
        srf(bobsl, splits="**/subset2episode.json").rows("val")
    chosen = srf(bobsl, splits="**/subset2episode.json", subtitles="subtitles/audio-aligned/*")
    assert len(chosen.rows("train")) == COUNTS["train"]


def test_damaged_subtitles_are_left_out_with_a_note_and_an_empty_folder_is_refused(wmt: Path, tmp_path: Path) -> None:
    write_text(wmt / "dev" / "subtitles" / "dev.2020-00.srt", [*SRT, "", "3", "0:00:5 -> 0:00:06", "Nichts."])
    corpus = srf(wmt)
    assert len(corpus.rows("val")) == COUNTS["val"]
    assert corpus.notes == ["val: 1 films have subtitles that cannot be read, left out (first: dev.2020-00)"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.srt or \.vtt"):
        srf(tmp_path / "empty").rows("val")
