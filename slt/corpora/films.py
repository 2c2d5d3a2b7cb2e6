"""What corpora of films share: sentences with times in films, which film is in which split, labels in pickles.

Their streams are extracted from the films (slt.extract) and lie beside the published tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from slt.corpora import cues, layout, tables
from slt.corpora.corpus import Row
from slt.corpora.pickles import read_pickle
from slt.corpora.published import Published
from slt.files import read_json
from slt.text import clean

PARTS = {"train": "train", "val": "dev", "test": "test"}
# What authors call the splits; BOBSL's `challenge_test` has no sentences that are given away, and is none of them.
SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(("val", "valid", "validation", "dev"), "val")
SPLITS |= dict.fromkeys(("test", "public_test"), "test")


class Films(Published):
    """A corpus whose rows have `film`, `start` and `end`: text, in seconds; both times "" where a clip is a film."""

    def lasting(self, split: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that end after they begin, under names that files can have; the others are a note."""
        files: dict[str, str] = {}
        short: list[str] = []
        for row in rows:
            start, end = row.columns["start"], row.columns["end"]
            if end and float(end) <= float(start):
                short.append(f"{row.id}, {start} to {end} s")
                continue
            name = layout.file_name(row.id)
            if files.setdefault(name, row.id) != row.id:
                raise ValueError(f"{self.home}: clips {files[name]!r} and {row.id!r} would have the same files, {name}")
            yield row if name == row.id else row._replace(file=name)
        self.note(split, short, "end before they begin and are left out")

    def note(self, split: str, found: list[str], what: str) -> None:
        """Add to `notes` that rows or films, of which there may be none, are so."""
        if found:
            self.notes.append(f"{split}: {len(found)} {what} (first: {found[0]})")


def parse_time(text: str, where: str, *, fps: float | None = None) -> float:
    """Return seconds of `12.5`, `00:01:02.500`, and, at `fps`, of frames: `00:01:02:25` and a whole number.

    ValueError, naming where it stands, for anything else.
    """
    text = text.strip()
    if fps is not None and re.fullmatch(r"\d+", text, re.ASCII):
        return int(text) / fps
    frames = r"(?::(?P<frame>\d\d?))?" if fps is not None else ""
    match = re.fullmatch(rf"(?:(?:(\d+):)?(\d\d?):)?(\d+(?:\.\d+)?){frames}", text, re.ASCII)
    if match is None:
        raise ValueError(f"{where}: a time as 12.5 or 00:01:02.500 expected, came {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups()[:3])
    frame = match["frame"] if fps is not None else None
    return 3600 * hours + 60 * minutes + seconds + (int(frame) / fps if frame and fps else 0.0)


def spell(seconds: float) -> str:
    """Return seconds as rows have them, to the millisecond."""
    return str(round(seconds, 3))


def read_labels(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (id, sentence) of a file of labels as Uni-Sign's authors publish them: a gzipped pickle, {clip: {...}}."""
    labels = read_pickle(path)
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: a pickle of {{clip: {{name, text, ...}}}} expected, came {type(labels).__name__}")
    for name, label in labels.items():
        if not isinstance(label, dict) or not isinstance(label.get("text"), str):
            raise ValueError(f"{path}: clip {name!r} has no `text`; copy the file again")
        yield str(name).removesuffix(".mp4"), label["text"]


def read_subtitles(path: Path) -> tuple[list[cues.Cue], int, int]:
    """Return the cues of a .srt or .vtt file that have words, lines that roll taken out.

    Also how many lines rolled, and how many cues are damaged and left out.
    """
    text = tables.read_text(path)[0].replace("\r\n", "\n").replace("\r", "\n")
    try:
        found, rolled = cues.unroll(cues.read_cues(text, path.suffix.lower()[1:]))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return [cue for cue in found if cue.lines], rolled, sum(bool(cue.fault) and not cue.lines for cue in found)


def cue_row(film: str, cue: cues.Cue, *, align: float = 0.0) -> Row:
    """Return a cue as a clip, named by its film and number; `align` seconds are added to its times."""
    start, end = max(cue.start + align, 0.0), max(cue.end + align, 0.0)
    columns = {"film": film, "start": spell(start), "end": spell(end)}
    return Row(f"{film}_{cue.number}", clean(cues.plain_text("\n".join(cue.lines))), columns)


def read_film_splits(path: Path) -> dict[str, str]:
    """Return film -> split of a table `film;split` or of a JSON {split: [film, ...]}, by any name of `SPLITS`.

    Films of other splits are not in it. ValueError for a film in two splits.
    """
    if path.suffix.lower() == ".json":
        value = read_json(path)
        if not all(isinstance(films, list) for films in value.values()):
            raise ValueError(f"{path}: {{split: [film, ...]}} expected")
        pairs = [(f"{path} {split}", str(film), str(split)) for split, films in value.items() for film in films]
    else:
        table = tables.read_table(path, ("film", "split"), known=("film", "split"), numbers=(), standard=";,\t")
        if not {"film", "split"} <= set(table.columns):
            raise ValueError(f"{path} line 1: the columns `film;split` expected, came {table.columns}")
        film, split = (table.columns.index(key) for key in ("film", "split"))
        for line, fields, fault in table.rows:
            if fault or len(fields) != len(table.columns):
                raise ValueError(
                    f"{path} line {line}: {fault or f'{len(table.columns)} fields expected, came {fields}'}"
                )
        pairs = [(f"{path} line {line}", fields[film].strip(), fields[split].strip()) for line, fields, _ in table.rows]
    return _split_of(pairs)


def _split_of(pairs: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for where, film, name in pairs:
        split = SPLITS.get(name.lower())
        if split is not None and found.setdefault(film, split) != split:
            raise ValueError(f"{where}: film {film!r} is in {found[film]}, too; a film belongs to one split")
    return found


def by_split(splits: Mapping[str, str], films: Iterable[str]) -> dict[str, list[str]]:
    """Return split -> those of the films, in their order, that are in it."""
    found: dict[str, list[str]] = {split: [] for split in PARTS}
    for film in films:
        if film in splits:
            found[splits[film]].append(film)
    return found
