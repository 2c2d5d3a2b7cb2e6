"""YouTube-ASL (Uthus et al., NeurIPS 2023): a list of films and the captions that people made for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.cues import FORMATS
from slt.corpora.films import Films, cue_row, read_subtitles


class YouTubeASL(Films):
    """`youtube_asl_video_ids.txt`, a film a line, and captions `<film>.en.vtt`, `.en-GB.srt` ... beside or below.

    There is no official split. A film's is drawn by the first eight hexadecimal digits of the sha256 of its id, modulo
    100: 0 is val, 1 is test, all else train, so that it stays when films come or go.

    Films without captions here are gone, and noted. Captions that roll are automatic: they are what a machine heard,
    and those films are left out unless there are others of theirs.
    """

    expects = "youtube_asl_video_ids.txt, and captions as <film>.en.vtt"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}  # 610,193 captions of 11,093 films in all

    def read(self, split: str) -> Iterator[Row]:
        gone: list[str] = []
        rolling: list[str] = []
        damaged: list[str] = []
        rows: list[Row] = []
        for film in self._films[split]:
            files = [read_subtitles(path) for path in self._captions.get(film, ())]
            kept = next((found for found in files if not found[1]), None)
            if kept is None:
                (rolling if files else gone).append(film)
                continue
            rows += [cue_row(film, cue) for cue in kept[0]]
            damaged += [film] * bool(kept[2])
        yield from self.lasting(split, rows)
        self.note(split, gone, "films have no captions here: they are gone, or not fetched yet")
        self.note(split, rolling, "films have automatic captions alone, which roll, and are left out")
        self.note(split, damaged, "films have captions that cannot be read, left out")

    @cached_property
    def _films(self) -> dict[str, list[str]]:
        lines = tables.read_text(self.file("*youtube_asl_video_ids.txt"))[0].splitlines()
        films: dict[str, list[str]] = {split: [] for split in self.splits}
        for film in dict.fromkeys(line.strip() for line in lines if line.strip()):
            films[draw(film)].append(film)
        return films

    @cached_property
    def _captions(self) -> dict[str, list[Path]]:
        """Caption files by film: `en` before its kinds, as `en-GB`."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.home.rglob("*"), key=lambda path: (len(path.stem), path)):
            film, _, language = path.stem.rpartition(".")
            if path.suffix.lower()[1:] in FORMATS and language.lower().startswith("en"):
                found.setdefault(film, []).append(path)
        return found


def draw(film: str) -> str:
    """Return the split that a film's id gives it, 98 / 1 / 1 of a hundred."""
    place = int(hashlib.sha256(film.encode()).hexdigest()[:8], 16) % 100
    return {0: "val", 1: "test"}.get(place, "train")
