"""YouTube-ASL as published: a list of films, and captions of which some are gone and some are a machine's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_poses, write_text

from slt.corpora.youtube_asl import YouTubeASL, draw

CUES = [
    "WEBVTT",
    "",
    "00:01.000 --> 00:02.500",
    "They <i>sign</i>",
    "it &amp; go.",
    "",
    "00:03.000 --> 00:04.000",
    "So.",
]
ROLLING = [
    "WEBVTT", "",
    "00:00.000 --> 00:02.000", " ", "we<00:00:00.500><c> turn</c><00:00:01.000><c> it</c>", "",
    "00:02.000 --> 00:02.010", "we turn it", " ", "",
    "00:02.010 --> 00:04.000", "we turn it", "and<00:00:02.500><c> go</c>", "",
    "00:04.000 --> 00:04.010", "and go", " ", "",
]  # fmt: skip


def films(split: str, count: int) -> list[str]:
    """The first ids whose hash gives them this split."""
    found = (f"-film{number}" for number in range(10_000))
    return [name for name, _ in zip((name for name in found if draw(name) == split), range(count), strict=False)]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    root = tmp_path / "youtube"
    names = [name for split, count in COUNTS.items() for name in films(split, count // 2)]
    write_text(root / "youtube_asl_video_ids.txt", names)
    for name in names:
        write_text(root / "captions" / f"{name}.en.vtt", CUES)
        write_poses(root, [f"{name}_1", f"{name}_2"])
    return root


def test_captions_are_clips_and_films_are_split_by_their_ids(released: Path) -> None:
    corpus = YouTubeASL(released)
    assert [len(corpus.rows(split)) for split in COUNTS] == [*COUNTS.values()]
    film = films("val", 1)[0]
    row = corpus.rows("val")[0]
    assert (row.id, row.text) == (f"{film}_1", "They sign it & go.")
    assert row.columns == {"film": film, "start": "1.0", "end": "2.5"}
    assert corpus.notes == []


def test_they_are_trained_on_and_scored(released: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("youtube_asl", released, "dataset.only=[pose]")


def test_the_split_of_a_film_never_changes() -> None:
    assert [draw(name) for name in ("dQw4w9WgXcQ", *films("val", 1), *films("test", 1))] == ["train", "val", "test"]
    counts = [draw(f"film{number}") for number in range(20_000)]
    assert 0.975 < counts.count("train") / len(counts) < 0.985


def test_films_that_are_gone_are_counted_and_nothing_stops(released: Path) -> None:
    gone = films("train", 5)[3:]
    with (released / "youtube_asl_video_ids.txt").open("a") as file:
        file.write("\n".join([*gone, gone[0], "\n"]))
    corpus = YouTubeASL(released)
    assert len(corpus.rows("train")) == COUNTS["train"]
    assert corpus.notes == [
        f"train: 2 films have no captions here: they are gone, or not fetched yet (first: {gone[0]})"
    ]


def test_automatic_captions_are_left_out_unless_people_made_others(released: Path) -> None:
    first, second = films("train", 2)
    for name in (first, second):
        write_text(released / "captions" / f"{name}.en.vtt", ROLLING)
    write_text(released / "captions" / f"{second}.en-GB.srt", ["1", "00:00:01,000 --> 00:00:02,000", "By hand."])
    corpus = YouTubeASL(released)
    ids = [row.id for row in corpus.rows("train")]
    assert not any(name.startswith(f"{first}_") for name in ids)
    assert [row.text for row in corpus.rows("train") if row.columns["film"] == second] == ["By hand."]
    assert corpus.notes == [
        f"train: 1 films have automatic captions alone, which roll, and are left out (first: {first})"
    ]


def test_captions_of_other_languages_are_not_read(released: Path) -> None:
    (film,) = films("test", 1)
    (released / "captions" / f"{film}.en.vtt").rename(released / "captions" / f"{film}.es.vtt")
    with pytest.raises(ValueError, match="split test: no clip"):
        YouTubeASL(released).rows("test")
