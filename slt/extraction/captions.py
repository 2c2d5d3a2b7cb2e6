"""Tables of captions to cuts: which seconds of which film are a clip, and its sentence; what is wrong is a `Fault`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

from slt.corpora import cues, layout, tables
from slt.corpora.elan import Elan, tiers_in
from slt.extraction import lsa_t
from slt.extraction.source import Fault, Source
from slt.files import existing, parse_json
from slt.text import clean, plain_name, visible

_MARK = re.compile(r"\s*[,.;:!?…)]")
# What a spreadsheet leaves of a text that began with `=` or `-`, in English and Spanish.
_SPREADSHEET = re.compile(
    r"#\s?[¿¡]?(?:NOMBRE|NAME|REF|VALOR|VALUE|NUM|NULL|NULO|N/[AD]|DIV/0|¡DIV/0)[?!]?", re.IGNORECASE
)
Items = Iterator[Source | Fault]


@dataclass(frozen=True)
class Captions:
    """A table of captions, or a folder of subtitle files, and how it is read: `captions` in conf/extract.yaml."""

    path: Path | str | None
    format: str
    unquoted: bool
    min_seconds: float
    language: str | None = None
    tier: str | None = None  # of ELAN's files, that of the sentences, and
    gloss_tier: str | None = None  # ... that of the glosses: a name, or a regular expression of several
    strip: Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.unquoted and self.format not in ("auto", "subs", "none"):
            raise ValueError(f"captions.unquoted reads captions.format=subs only, came captions.format={self.format}")
        if self.language is not None and self.format not in ("auto", *cues.FORMATS, "none"):
            raise ValueError(
                f"captions.language={self.language} is for srt and vtt files, came captions.format={self.format}"
            )

    @cached_property
    def patterns(self) -> dict[str, re.Pattern[str]]:
        """What is not said, by name; `^` and `$` are the ends of a line."""
        found = {}
        for name, pattern in (self.strip or {}).items():
            try:
                if pattern is not None:
                    found[str(name)] = re.compile(pattern, re.MULTILINE)
            except re.error as error:
                raise ValueError(f"captions.strip.{name}={pattern}: not a regular expression ({error})") from error
        return found

    def read(self, films: Collection[str] = ()) -> tuple[list[Source], list[Fault]]:
        """Return the clips in the table's order, with clean texts, and what is wrong; subtitle files are of `films`."""
        path = Path(self.path or "")
        taken: dict[str, Counter[str]] = {name: Counter() for name in self.patterns}
        places: dict[str, str] = {}
        clips: list[Source] = []
        faults: list[Fault] = []
        for item in self._items(path, films):
            if isinstance(item, Fault):
                faults.append(item)
                continue
            check_id(item.video_id, item.where)
            if item.video_id in places:
                there = places[item.video_id]
                raise ValueError(f"{item.where}: id {item.video_id!r} stands already in {there}; ids are unique")
            places[item.video_id] = item.where
            text = clean_caption(item.text, self.patterns, taken)
            if reason := self._unfit(item, text):
                faults.append(Fault(item.where, item.video_id, reason, dropped=True))
            else:
                clips.append(replace(item, text=text))
        for name, pieces in taken.items():
            if pieces:
                most = ", ".join(f"{piece!r} {count} times" for piece, count in pieces.most_common(3))
                reason = f"captions.strip.{name} took {pieces.total()} pieces out of the texts ({most})"
                faults.append(Fault(path.name, "", reason))
        return clips, [*faults, *_overlaps(clips), *_rolling(clips, path.name)]

    def _items(self, path: Path, films: Collection[str]) -> Items:
        if self.format in cues.FORMATS:
            return _subtitle_files(path, self.format, films, self.language)
        if self.format == "elan":
            return _elan_files(path, self.tier, self.gloss_tier)
        existing(path, f"a table, which captions.format={self.format} reads, or give captions.path=")
        readers: dict[str, Callable[[Path], Items]] = {
            "subs": _unquoted if self.unquoted else partial(_rows, read=_whole_film, required=()),
            "cuts": partial(_rows, read=_cut, required=("video", "start", "end")),
            "lsa_t": lsa_t.read_table,
            "subtitles": _subtitles_json,
        }
        return readers[self.format](path)

    def _unfit(self, clip: Source, text: str) -> str:
        """Return why a caption, of which `text` is left, cannot be a clip, "" where it can."""
        raw, (start, end) = clip.text.strip(), _span(clip)
        if _SPREADSHEET.fullmatch(raw):
            return f"the text is a spreadsheet's error, {raw!r}, and not a sentence"
        if not any(sign.isalnum() for sign in text):
            return f"no word is left of the text {raw!r}"
        if not math.isfinite(start) or math.isnan(end) or (clip.end is not None and math.isinf(end)):
            return f"times that are not finite: {start} to {end} s"
        if start < 0 or end <= start:
            return f"a cut of no length: {start} to {end} s"
        if end - start < self.min_seconds - 1e-9:
            return f"{end - start:.3f} s is shorter than captions.min_seconds={self.min_seconds}"
        return ""


def clean_caption(text: str, strip: Mapping[str, re.Pattern[str]], taken: Mapping[str, Counter[str]]) -> str:
    r"""Return the sentence of a caption, without what its file format and its captioner added.

    In this order: entities, tags, what `strip` finds (counted in `taken`), invisible characters, blanks. All else
    stays.
    """
    text = cues.plain_text(text)
    for name, pattern in strip.items():
        taken[name].update(clean(match[0]) for match in pattern.finditer(text))
        text = pattern.sub(lambda match: "\0" if _MARK.match(match.string, match.end()) else " ", text)
    text = clean(text).replace(" \0", "").replace("\0", "")  # `hola [risas], chau`: no blank before the comma
    return clean(visible(text))


def check_id(name: str, where: str) -> None:
    if not name:
        raise ValueError(f"{where}: empty id; every row names its clip")
    if fault := layout.id_fault(name):
        raise ValueError(f"{where}: id {name!r} {fault}")


def _span(clip: Source) -> tuple[float, float]:
    return clip.start or 0.0, math.inf if clip.end is None else clip.end


def _by_film(clips: Iterable[Source]) -> dict[str, list[Source]]:
    films: dict[str, list[Source]] = {}
    for clip in clips:
        films.setdefault(clip.video or clip.video_id, []).append(clip)
    return {film: sorted(cuts, key=_span) for film, cuts in films.items()}


def _overlaps(clips: Iterable[Source]) -> Iterator[Fault]:
    """List the cuts that begin before an earlier one of their film has ended; they are extracted all the same."""
    for cuts in _by_film(clip for clip in clips if clip.start is not None or clip.end is not None).values():
        last = cuts[0]
        for cut in cuts[1:]:
            if (shared := min(_span(last)[1], _span(cut)[1]) - _span(cut)[0]) > 1e-6:
                reason = f"overlaps {last.video_id} ({last.where}) by {shared:.3f} s"
                yield Fault(cut.where, cut.video_id, reason)
            last = max(last, cut, key=lambda clip: _span(clip)[1])


def _rolling(clips: Iterable[Source], where: str) -> Iterator[Fault]:
    """Say in how many films most captions begin with the words that the one before ends with; they stay as they are."""
    found = []
    for film, cuts in _by_film(clips).items():
        words = [cut.text.split() for cut in cuts]
        repeats = sum(
            any(before[-count:] == after[:count] for count in range(2, min(len(before), len(after), 40) + 1))
            for before, after in pairwise(words)
        )
        if repeats >= max(3, len(words) / 2):
            found.append(film)
    if found:
        reason = (
            f"most captions of {len(found)} films, the first is {found[0]!r}, begin with the words that the one before "
            "ends with; do they come from automatic captions that roll? Read those srt or vtt files (captions.format)"
        )
        yield Fault(where, "", reason)


def _rows(path: Path, read: Callable[[Path, int, Mapping[str, str]], Source | Fault], required: Iterable[str]) -> Items:
    for line, row, fault in layout.table_rows(path):
        if fault.startswith(layout.NOTE):
            yield Fault(path.name, "", fault.removeprefix(f"{layout.NOTE}{path}: "))
            continue
        if fault and not layout.lacks_only_text(fault):  # an empty text is one row's fault and not the table's
            hint = ". (captions.unquoted=true takes all after a row's first `;` as text)"
            raise ValueError(fault + hint * (not required and "fields expected" in fault))
        if missing := [column for column in required if column not in row]:
            raise ValueError(
                f"{path} line 1: no column {missing[0]!r}; captions.format=subs takes whole films, without times"
            )
        yield read(path, line, row)


def _further(row: Mapping[str, str]) -> dict[str, str]:
    own = ("video_id", "texto", "video", "start", "end")
    return {key: value.strip() for key, value in row.items() if key not in own}


def _whole_film(path: Path, line: int, row: Mapping[str, str]) -> Source:
    name = plain_name(row["video_id"])
    cut = {key: row[key] for key in ("start", "end") if row.get(key, "").strip()}
    if plain_name(row.get("video") or name) != name or cut:
        raise ValueError(
            f"{path} line {line}: a cut, {row.get('video', name)!r} {cut}, of a film: take captions.format=cuts"
        )
    return Source(name, text=row["texto"], columns=_further(row), where=f"{path.name} line {line}")


def _cut(path: Path, line: int, row: Mapping[str, str]) -> Source | Fault:
    where, name, video = f"{path.name} line {line}", plain_name(row["video_id"]), plain_name(row["video"])
    texts = {key: row[key].strip() for key in ("start", "end")}
    times = {
        key: tables.parse_seconds(text) for key, text in texts.items()
    }  # an empty field: the film's beginning or end
    if bad := [f"{key} {texts[key]!r}" for key, time in times.items() if time is None and texts[key]]:
        hint = "; a comma may mean decimals or thousands here" if "," in "".join(bad) else ""
        reason = f"{' and '.join(bad)}: seconds as a plain decimal number of at least 0 expected, as in 12.5{hint}"
        return Fault(where, name, reason, dropped=True)
    if not video:
        return Fault(where, name, "no film is named in the column `video`", dropped=True)
    start, end = times["start"], times["end"]
    return Source(name, start=start, end=end, text=row["texto"], video=video, columns=_further(row), where=where)


def _unquoted(path: Path) -> Items:
    text, encoding = _read(path)
    yield from _encoded(path, encoding)
    header, *lines = text.split("\n")
    if header.strip() != "video_id;texto":
        raise ValueError(f"{path} line 1: `video_id;texto` expected with captions.unquoted=true, came {header!r}")
    for number, line in enumerate(lines, 2):
        name, _, text = (part.strip() for part in line.partition(";"))
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
        if line.strip():
            yield Source(plain_name(name), text=text, where=f"{path.name} line {number}")


def _subtitles_json(path: Path) -> Items:
    """Read `{title-YouTubeID: [[start, end, text], ...]}`; a clip is its film's name and its line, counted from 1."""
    text, encoding = _read(path)
    yield from _encoded(path, encoding)
    films = parse_json(text, path)
    if not isinstance(films, dict) or not all(isinstance(lines, list) for lines in films.values()):
        raise ValueError(f"{path}: expected {{film: [[start, end, text], ...]}} with times in seconds, came other JSON")
    for title, lines in films.items():
        video = plain_name(title)
        for number, line in enumerate(lines, 1):
            where, name = f"{path.name} {video!r} line {number}", f"{video}_{number}"
            match line:
                case [int() | float() as start, int() | float() as end, str() as text] if (
                    max(abs(start), abs(end)) < 1e9  # not their sum: an integer may be too large for a float
                ):
                    yield Source(name, start=float(start), end=float(end), text=text, video=video, where=where)
                case _:
                    yield Fault(where, name, f"[start, end, text] expected, came {str(line)[:100]}", dropped=True)


def _subtitle_files(folder: Path, kind: str, films: Collection[str], language: str | None) -> Items:
    """Read the subtitles of each film in a folder and below; a clip is its film's name and its cue, counted from 1."""
    if not folder.is_dir():
        raise FileNotFoundError(f"captions.path={folder}: no such folder; expected one with .{kind} files beside films")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() == f".{kind}"):
        if (other := files.setdefault(plain_name(path.stem), path)) != path:
            raise ValueError(f"{path}: {other.name} has the same name, and films are known by it; remove one of them")
    if not files:
        raise FileNotFoundError(f"{folder}: no .{kind} file; each film has one of its name, or take another format")
    chosen, without = cues.choose_languages(files, films, language)
    yield from (Fault(film, "", reason, dropped=True) for film, reason in without.items())
    rolled = lines = 0
    foreign: dict[str, list[str]] = {}
    for video, stem in chosen.items():
        path = files[stem]
        text, encoding = _read(path)
        if encoding:
            foreign.setdefault(encoding, []).append(path.name)
        try:
            found, repeated = cues.unroll(cues.read_cues(text, kind))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
        rolled, lines = rolled + (repeated > 0), lines + repeated
        for cue in found:
            where, name = f"{path.name} cue {cue.number}", f"{video}_{cue.number}"
            if cue.fault:
                yield Fault(where, name, cue.fault, dropped=not cue.lines)
            if cue.lines or not cue.fault:
                text = "\n".join(cue.lines)
                yield Source(name, start=cue.start, end=cue.end, text=text, video=video, where=where)
    for encoding, names in foreign.items():
        yield from _encoded(folder, f"{encoding} in {len(names)} of {len(chosen)} files, the first is {names[0]}")
    if rolled:
        reason = (
            f"captions that roll in {rolled} of {len(chosen)} files: {lines} lines that repeat the cue before are left "
            "out, each line is a clip with the times of the cue that brings it"
        )
        yield Fault(folder.name, "", reason)


def _elan_files(folder: Path, tier: str | None, gloss_tier: str | None) -> Items:
    """Read the .eaf files in a folder and below; a clip is its film's name and its annotation, counted from 1."""
    if tier is None:
        there = ", ".join(tiers_in(folder))
        raise ValueError(f"captions.tier is missing: the one of the sentences; the .eaf files have {there}")
    corpus = Elan(folder, tier=tier, gloss_tier=gloss_tier)
    for row in corpus.sentences():
        columns = {key: row.columns[key] for key in ("gloss", "signer") if key in row.columns}
        start, end = float(row.columns["start"]), float(row.columns["end"])
        video, number = plain_name(row.columns["film"]), row.id.rpartition("_")[2]
        where = f"{row.columns['film']}.eaf, {start:g} s"
        yield Source(
            f"{video}_{number}", start=start, end=end, text=row.text, video=video, columns=columns, where=where
        )
    yield from (Fault(folder.name, "", note) for note in corpus.notes)


def _read(path: Path) -> tuple[str, str]:
    """Read a file with line ends of any system as one newline, and its encoding where that is not utf-8."""
    text, encoding = tables.read_text(path)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _encoded(path: Path, encoding: str) -> Items:
    if encoding:
        yield Fault(path.name, "", f"not in utf-8, read as {encoding}")
