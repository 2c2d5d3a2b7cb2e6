"""Films with subtitle files and a list of which film is in which split: WMT-SLT's SRF and FocusNews, and BOBSL.

"Findings of the First WMT Shared Task on Sign Language Translation" (Müller et al., WMT 2022); "BBC-Oxford British
Sign Language Dataset" (Albanie et al., 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from slt.corpora.corpus import Row
from slt.corpora.cues import FORMATS
from slt.corpora.films import SPLITS, Films, by_split, cue_row, read_film_splits, read_subtitles


class Subtitled(Films):
    """A .srt or .vtt file a film; a clip is a subtitle, named `<film>_<number>`.

    Args:
        root: the folder.
        subtitles: pattern, below the root, of the files.
        splits: pattern, below the root, of a table `film;split` or of a JSON {split: [film, ...]}; None = the files lie
            in or below folders named train, dev and test.
        align: seconds that are added to both times of a subtitle. Subtitles follow the sound, and an interpreter signs
            seconds later; those that were aligned with the signing need none.
    """

    expects = "subtitle files, and what says which film is in which split"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}

    def __init__(self, root: Path | str, *, subtitles: str, splits: str | None, align: float) -> None:
        super().__init__(root)
        self.subtitles, self.table, self.align = subtitles, splits, align

    def read(self, split: str) -> Iterator[Row]:
        early: list[str] = []
        rows: list[Row] = []
        damaged: list[str] = []
        for film in self._films[split]:
            found, _, broken = read_subtitles(self._files[film])
            damaged += [film] * bool(broken)
            for cue in found:
                row = cue_row(film, cue, align=self.align)
                gone = cue.end + self.align <= 0 < cue.end
                early += [row.id] * gone
                rows += [row] * (not gone)
        yield from self.lasting(split, rows)
        self.note(split, early, f"subtitles are before the film with align={self.align:g} and left out")
        self.note(split, damaged, "films have subtitles that cannot be read, left out")

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Subtitle file by film."""
        names = set(self._listed or ())
        found: dict[str, Path] = {}
        for path in sorted(self.home.glob(self.subtitles)):
            if path.suffix.lower()[1:] not in FORMATS:
                continue
            shorter = path.stem.rpartition(".")[0]  # without its language, FILM.de.srt
            film = shorter if path.stem not in names and shorter in names else path.stem
            if (other := found.setdefault(film, path)) != path:
                places = " and ".join(str(each.relative_to(self.home)) for each in (other, path))
                raise ValueError(f"{self.home}: {places} are of one film; choose with dataset.corpus.subtitles=PATTERN")
        if not found:
            raise FileNotFoundError(f"{self.home}: no .srt or .vtt as {self.subtitles}; expected {self.expects}")
        return found

    @cached_property
    def _listed(self) -> dict[str, str] | None:
        return None if self.table is None else read_film_splits(self.file(self.table))

    @cached_property
    def _films(self) -> dict[str, list[str]]:
        listed = self._listed
        if listed is None:
            folders = {film: path.relative_to(self.home).parts[:-1] for film, path in self._files.items()}
            named = {film: [SPLITS[part.lower()] for part in parts if part.lower() in SPLITS]
                     for film, parts in folders.items()}  # fmt: skip
            listed = {film: splits[-1] for film, splits in named.items() if splits}
        self.note("splits", [film for film in listed if film not in self._files], "films have no subtitles here")
        self.note("splits", [film for film in self._files if film not in listed], "films are in no split")
        return by_split(listed, self._files)
