"""The clips of a published corpus, and the films that they are cut from: its rows say what captions say elsewhere."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slt.corpora import layout
from slt.corpora.corpus import Row
from slt.corpora.published import Empty, Published
from slt.extraction.captions import check_id
from slt.extraction.footage import find_footage
from slt.extraction.source import Fault, Source
from slt.extraction.sources import Footage, boxed
from slt.text import clean, plain_name

log = logging.getLogger(__name__)
KEPT = ("gloss", "signer")  # columns that go to subs.csv; film and times do anyway


@dataclass(frozen=True)
class AsPublished:
    """Which clips are in which split, as the corpus has it; in `Splitting`'s place."""

    splits: Mapping[str, Sequence[str]]
    nobody: bool  # clips in which no person is found are in the splits too

    def deal(self, sources: Sequence[Source]) -> dict[str, list[str]]:
        """Return the ids of those clips that are to be extracted; a split of none is left out."""
        there = {source.video_id for source in sources}
        kept = {split: [name for name in ids if name in there] for split, ids in self.splits.items()}
        return {split: ids for split, ids in kept.items() if ids}


def published_sources(
    folder: Path, footage: Footage, corpus: Published, *, nobody: bool
) -> tuple[list[Source], list[Fault], AsPublished]:
    """Find the films of a corpus' clips, and list what is not there.

    A clip is the film that has its own name, where there is one (corpora are given away cut, too), else the seconds of
    the film that its row names. Its id is what its files are called. Films that are gone are faults, and stop nothing.
    """
    films = find_footage(folder, footage.kind)
    sources: dict[str, Source] = {}
    faults: list[Fault] = []
    splits: dict[str, list[str]] = {}
    gone: Counter[str] = Counter()
    for split, rows in _rows(corpus, faults).items():
        splits[split] = []
        for row in rows:
            name, where = layout.file_name(row.file or row.id), f"{corpus.home.name}, {split}"
            check_id(name, where)
            if name in sources:
                raise ValueError(f"{where}: clip {name!r} is in another split too, or has the name of another's files")
            found = _source(row, name, films, corpus.film(row))
            if isinstance(found, str):
                faults.append(Fault(where, name, found, dropped=True))
                gone[found] += 1
            else:
                splits[split].append(name)
                sources[name] = footage.as_filmed(found)
    faults += [Fault(corpus.home.name, "", note) for note in corpus.notes]
    if gone:
        log.warning("%d clips of %d films are not in %s: see faults.csv", gone.total(), len(gone), folder)
    if not sources:
        why = next(iter(gone), "no clip")
        raise ValueError(f"{corpus.home}: none of its clips has a film in source={folder}: {why}")
    clips = [*sources.values()]
    if footage.boxes is not None:
        clips, unused = boxed(clips, Path(footage.boxes))
        faults += unused
    return clips, faults, AsPublished(splits, nobody)


def _rows(corpus: Published, faults: list[Fault]) -> dict[str, Sequence[Row]]:
    found = {}
    for split in corpus.splits:
        try:
            found[split] = corpus.rows(split)
        except (FileNotFoundError, Empty) as error:
            faults.append(Fault(corpus.home.name, "", f"split {split} is left out: {error}"))
    return found


def _source(row: Row, name: str, films: Mapping[str, Path], film: str) -> Source | str:
    """Return a clip with its film, or why there is none."""
    columns = {key: row.columns[key] for key in KEPT if key in row.columns}
    clip = Source(name, text=clean(row.text), columns=columns, where=name)
    for own in (plain_name(row.id), name):
        if own in films:
            return replace(clip, path=films[own])
    times = [row.columns.get(key, "") for key in ("start", "end")]
    if not film or not all(times):
        return f"no film named {name!r} in the source, and no times of another"
    if plain_name(film) not in films:
        return f"film {film!r} is not in the source: it is gone, or not fetched yet"
    start, end = map(float, times)
    return replace(clip, path=films[plain_name(film)], video=plain_name(film), start=start, end=end)
