"""A folder of films and captions, looked over before anything is extracted: what there is, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slt.corpora.counts import words_of
from slt.extraction.captions import Captions
from slt.extraction.footage import find_footage, probe
from slt.extraction.run import AT_ONCE, foresee
from slt.extraction.source import Fault, Source
from slt.extraction.sources import Footage, find_sources
from slt.text import clean

NAMED = 5  # files that a line names; the rest is counted


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        folder: that was looked at.
        format: of the captions, as `captions.format` has it.
        films: path -> seconds, None where the film does not say its length.
        unreadable: films that cannot be opened, path -> why.
        clips: that can be extracted, in the order of the captions.
        failing: clips that cannot, and why: their film is not there, not readable or too short.
        faults: rows and films that the captions leave out, and what in them is worth a look.
    """

    folder: Path
    format: str
    films: Mapping[Path, float | None]
    unreadable: Mapping[Path, str]
    clips: Sequence[Source]
    failing: Sequence[tuple[Source, str]]
    faults: Sequence[Fault]

    @cached_property
    def without(self) -> list[str]:
        """Films without captions, by their file names."""
        names = {path.name for path in [*self.films, *self.unreadable]}
        return [fault.where for fault in self.faults if fault.where in names and fault.dropped and not fault.video_id]

    @property
    def absent(self) -> list[str]:
        """Films that captions name and that are not there."""
        return [*dict.fromkeys(clip.path.name for clip, _ in self.failing if not clip.path.exists())]

    @property
    def failing_films(self) -> int:
        """How many films have clips that fail, which is what `max_failures` bounds."""
        return len({clip.path.name for clip, _ in self.failing})

    def seconds(self, clip: Source) -> float:
        """Return how long a clip is; 0 where nothing says it."""
        length = self.films.get(clip.path) or 0.0
        return max((length if clip.end is None else clip.end) - (clip.start or 0.0), 0.0)

    def lines(self) -> list[str]:
        """Return what was found, and below it what is missing, a line each."""
        texts = [clip.text for clip in self.clips]
        words = Counter(word for text in texts for word in words_of(text))
        repeated = {text: count for text, count in Counter(map(clean, texts)).items() if count > 1}
        signers = Counter(clip.columns.get("signer", "") for clip in self.clips)
        unnamed = signers.pop("", 0)
        minutes = sum(filter(None, self.films.values())) / 60
        signed = sum(map(self.seconds, self.clips))
        once = sum(count == 1 for count in words.values())
        lines = [
            f"{self.folder}: what there is",
            f"  films: {len(self.films) + len(self.unreadable)}, {minutes:.1f} minutes",
            f"  captions: {self.format}",
            f"  clips: {len(texts)} sentences, {signed:.0f} s of signing by their times",
            f"  words: {words.total()}, {len(words)} different ones, {once} of them once",
            f"  repeated sentences: {len(repeated)}, in {sum(repeated.values())} clips",
            f"  signers: {len(signers)}" + (f"; {unnamed} clips do not name theirs" if unnamed else ""),
        ]
        return [*lines, *self.missing()]

    def missing(self) -> list[str]:
        """Return what is missing, a line each; none where all is there."""
        kinds = {
            "films without captions": self.without,
            "captions without a film": self.absent,
            "films that cannot be read": [f"{path.name} ({why})" for path, why in self.unreadable.items()],
            "clips that cannot be cut": [f"{clip.video_id} ({why})" for clip, why in self.failing
                                         if clip.path in self.films],
            "rows left out": [f"{fault.where} ({fault.reason})" for fault in self.faults
                              if fault.dropped and fault.where not in self.without],
            "worth a look": [f"{fault.where}: {fault.reason}" for fault in self.faults if not fault.dropped],
        }  # fmt: skip
        found = [f"  {kind}: {some(names)}" for kind, names in kinds.items() if names]
        return [f"{self.folder}: what is missing or amiss", *found] if found else []


def some(names: Iterable[str]) -> str:
    """Return how many names there are, and the first few of them."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return f"{len(listed)}: {'; '.join(listed[:NAMED])}{more}"


def survey(source: Path, footage: Footage, captions: Captions) -> Survey:
    """Look over a folder of films: every film is opened, none is decoded but where a cut may go beyond its end."""
    films: dict[Path, float | None] = {}
    unreadable: dict[Path, str] = {}

    def look(path: Path) -> float | str | None:
        try:
            return probe(footage.as_filmed(Source(path.stem, path))).duration
        except (ValueError, OSError) as error:
            return str(error)

    paths = [*find_footage(source, footage.kind).values()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, found in zip(paths, pool.map(look, paths), strict=True):
            if isinstance(found, str):
                unreadable[path] = found
            else:
                films[path] = found
    clips, faults = find_sources(source, footage, captions)
    wrong = {fault.video_id: fault.reason for fault in foresee(clips, kind=footage.kind)}
    kept = [clip for clip in clips if clip.video_id not in wrong]
    failing = [(clip, wrong[clip.video_id]) for clip in clips if clip.video_id in wrong]
    return Survey(source, captions.format, films, unreadable, kept, failing, faults)
