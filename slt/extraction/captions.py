"""Tables of captions to cuts: which seconds of which film are a clip, and its sentence; all that is wrong is listed.

Nothing is guessed: a row whose times or text were damaged is rebuilt from what stands beside it or left out, and either
way it is a `Fault`. The readers here know nothing of where the films are; `sources` brings the two together.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from slt.corpora import layout, tables
from slt.extraction import cues
from slt.extraction.cues import plain_text
from slt.extraction.source import Fault
from slt.files import parse_json
from slt.text import clean, plain_name, visible

FORMATS = ("subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "none")
# Two layouts of LSA-T's table of clips are about; its first line says which, and with it the separator.
LSA_T_COLUMNS = {
    ";": ("id", "text", "video", "start", "end", "split"),
    ",": ("id", "label", "video", "start", "end", "splits"),
}


@dataclass(frozen=True)
class Caption:
    """One clip as a table of captions has it.

    Attributes:
        where: file and line, for messages.
        video_id: the clip.
        video: the film, by its name without ending.
        start: seconds in the film; None = its beginning.
        end: seconds in the film; None = its end.
        text: the sentence.
        columns: further columns of the table that a corpus keeps, such as gloss and signer.
        person: whose key points are the signer's, where a file holds those of several people.
    """

    where: str
    video_id: str
    video: str
    start: float | None
    end: float | None
    text: str
    columns: Mapping[str, str] = field(default_factory=dict)
    person: int = 0


# ---------------------------------------------------------------- text

_MARK = re.compile(r"\s*[,.;:!?…)]")
# What a spreadsheet leaves of a text that began with `=` or `-`, in English and Spanish.
_SPREADSHEET = re.compile(
    r"#\s?[¿¡]?(?:NOMBRE|NAME|REF|VALOR|VALUE|NUM|NULL|NULO|N/[AD]|DIV/0|¡DIV/0)[?!]?", re.IGNORECASE
)


def strip_patterns(strip: Mapping[str, str | None] | None) -> dict[str, re.Pattern[str]]:
    """Compile `captions.strip`: name -> regular expression, in which `^` and `$` are the ends of a line; None = none.

    Raises:
        ValueError: one that is no regular expression.
    """
    patterns = {}
    for name, pattern in (strip or {}).items():
        try:
            if pattern is not None:
                patterns[str(name)] = re.compile(pattern, re.MULTILINE)
        except re.error as error:
            raise ValueError(f"captions.strip.{name}={pattern}: not a regular expression ({error})") from error
    return patterns


def clean_caption(
    text: str,
    strip: Mapping[str, re.Pattern[str]] | None = None,
    taken: dict[str, Counter[str]] | None = None,
) -> str:
    r"""Return the sentence of a caption: what is signed, without what its file format and its captioner added.

    In this order: HTML entities (`&amp;`, `&#39;`; only whole ones with their `;`) become their character, twice over
    where they were written twice over; the tags of subtitle formats go (`<i>`, `<font color=#fff>`, `<c.yellow>`,
    `<v Ana>`, `<00:01.000>`, `{\an8}`), `<br>` becomes a blank; what the expressions of `strip` find goes; invisible
    characters go (U+200B, U+200C, U+FEFF, U+00AD and all others of their kind, and control characters); then NFC, runs
    of white space to one blank, ends stripped. Case, accents, `¿`, `¡`, hashtags and all other marks stay.

    Args:
        text: of the caption, with its line breaks.
        strip: see `strip_patterns`.
        taken: name of the expression -> what it found, counted up here.
    """
    text = plain_text(text)
    for name, pattern in (strip or {}).items():
        if taken is not None:
            taken.setdefault(name, Counter()).update(clean(match[0]) for match in pattern.finditer(text))
        text = pattern.sub(lambda match: "\0" if _MARK.match(match.string, match.end()) else " ", text)
    text = clean(text).replace(" \0", "").replace("\0", "")  # `hola [risas], chau`: no blank before the comma
    return clean(visible(text))


# ---------------------------------------------------------------- all formats


def read_captions(
    path: Path | str,
    *,
    format: str,
    unquoted: bool,
    min_seconds: float,
    language: str | None = None,
    strip: Mapping[str, str | None] | None = None,
    films: Collection[str] = (),
) -> tuple[list[Caption], list[Fault]]:
    """Read a table of captions, in its order: the clips to extract with clean texts, and what is wrong with it.

    Args:
        path: the table; for srt and vtt the folder of subtitle files, each named like its film.
        format: one of `FORMATS` but none.
        unquoted: of subs: take all after the first `;` of a two-column table as text.
        min_seconds: shorter cuts are left out.
        language: of subtitle files, see `cues.choose_languages`.
        strip: regular expressions of what is not said, see `strip_patterns`.
        films: names of the films, for subtitle files.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a table that cannot be read as a whole, or an id that is no file name or stands twice, naming file
            and line: which of the two is meant cannot be known.
    """
    path = Path(path)
    if unquoted and format != "subs":
        raise ValueError(f"captions.unquoted reads captions.format=subs only, came captions.format={format}")
    if language is not None and format not in cues.FORMATS:
        raise ValueError(f"captions.language={language} chooses among srt and vtt files, came captions.format={format}")
    if not math.isfinite(min_seconds) or min_seconds < 0:
        raise ValueError(f"captions.min_seconds must be at least 0, came {min_seconds}")
    patterns = strip_patterns(strip)
    if format in cues.FORMATS:
        found = list(_subtitle_files(path, format, films, language))
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; captions.format={format} reads it, or give captions.path=")
    elif format == "subs":
        found = list(_unquoted(path) if unquoted else _whole_films(path))
    else:
        found = list({"cuts": _cuts, "lsa_t": _lsa_t, "subtitles": _subtitles_json}[format](path))
    captions: list[Caption] = []
    faults: list[Fault] = []
    places: dict[str, str] = {}
    taken: dict[str, Counter[str]] = {}
    for item in found:
        if isinstance(item, Caption):
            check_id(item.video_id, item.where)
            if item.video_id in places:
                there = places[item.video_id]
                raise ValueError(f"{item.where}: id {item.video_id!r} stands already in {there}; ids are unique")
            places[item.video_id] = item.where
            text = clean_caption(item.text, patterns, taken)
            if reason := _unfit(item, text, min_seconds):
                item = Fault(item.where, item.video_id, reason, dropped=True)
            else:
                captions.append(replace(item, text=text))
        if isinstance(item, Fault):
            faults.append(item)
    for name, pieces in taken.items():
        if pieces:
            most = ", ".join(f"{piece!r} {count} times" for piece, count in pieces.most_common(3))
            reason = f"captions.strip.{name} took {pieces.total()} pieces out of the texts ({most})"
            faults.append(Fault(path.name, "", reason, dropped=False))
    return captions, faults + overlaps(captions) + _rolling(captions, path.name)


def check_id(name: str, where: str) -> None:
    """Raise ValueError unless `name` can be an id, as `layout.id_fault` has it."""
    if not name:
        raise ValueError(f"{where}: empty id; every row names its clip")
    if fault := layout.id_fault(name):
        raise ValueError(f"{where}: id {name!r} {fault}")


def overlaps(captions: Iterable[Caption]) -> list[Fault]:
    """List the cuts that begin before an earlier one of their film has ended; they are extracted all the same."""
    films: dict[str, list[Caption]] = {}
    for caption in captions:
        if caption.start is not None or caption.end is not None:
            films.setdefault(caption.video, []).append(caption)
    faults = []
    for cuts in films.values():
        last: Caption | None = None
        for cut in sorted(cuts, key=_span):
            if last is not None and (shared := min(_span(last)[1], _span(cut)[1]) - _span(cut)[0]) > 1e-6:
                reason = f"overlaps {last.video_id} ({last.where}) by {shared:.3f} s"
                faults.append(Fault(cut.where, cut.video_id, reason, dropped=False))
            if last is None or _span(cut)[1] > _span(last)[1]:
                last = cut
    return faults


def _rolling(captions: Iterable[Caption], where: str) -> list[Fault]:
    """Say in how many films most captions begin with the words that the one before ends with; they stay as they are."""
    films: dict[str, list[Caption]] = {}
    for caption in captions:
        films.setdefault(caption.video, []).append(caption)
    found = []
    for film, cuts in films.items():
        words = [cut.text.split() for cut in sorted(cuts, key=_span)]
        repeats = sum(
            any(before[-count:] == after[:count] for count in range(2, min(len(before), len(after), 40) + 1))
            for before, after in pairwise(words)
        )
        if repeats >= max(3, len(words) / 2):
            found.append(film)
    if not found:
        return []
    reason = (
        f"most captions of {len(found)} films, the first is {found[0]!r}, begin with the words that the one before "
        "ends with; do they come from automatic captions that roll? Read those srt or vtt files (captions.format)"
    )
    return [Fault(where, "", reason, dropped=False)]


def _span(caption: Caption) -> tuple[float, float]:
    return caption.start or 0.0, math.inf if caption.end is None else caption.end


def _unfit(caption: Caption, text: str, min_seconds: float) -> str:
    """Return why a caption, of which `text` is left, cannot be a clip, "" where it can."""
    if _SPREADSHEET.fullmatch(caption.text.strip()):
        return f"the text is a spreadsheet's error, {caption.text.strip()!r}, and not a sentence"
    if not any(sign.isalnum() for sign in text):
        return f"no word is left of the text {caption.text.strip()!r}"
    start, end = _span(caption)
    if not math.isfinite(start) or math.isnan(end) or (caption.end is not None and math.isinf(end)):
        return f"times that are not finite: {start} to {end} s"
    if start < 0 or end <= start:
        return f"a cut of no length: {start} to {end} s"
    if end - start < min_seconds - 1e-9:
        return f"{end - start:.3f} s is shorter than captions.min_seconds={min_seconds}"
    return ""


# ---------------------------------------------------------------- tables


def _seconds(text: str) -> float | None:
    """Read a plain decimal number; what a spreadsheet made of one ('16.532.999.999', '12,5') is None, never guessed."""
    return float(text) if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII) else None


def _table(path: Path, required: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str] | Fault]]:
    """Yield (where, row) of a table with the columns of `subs.csv`, and a Fault for another form than the standard one.

    Raises:
        ValueError: as in `layout.read_table`.
    """
    for line, row, fault in layout.table_rows(path):
        if fault.startswith(layout.NOTE):
            yield path.name, Fault(path.name, "", fault.removeprefix(f"{layout.NOTE}{path}: "), dropped=False)
            continue
        if layout.lacks_only_text(fault):
            fault = ""  # an empty text is one row's fault and not the table's
        if fault:
            hint = ". (captions.unquoted=true takes all after a row's first `;` as text)"
            raise ValueError(fault + hint * (not required and "fields expected" in fault))
        if missing := [column for column in required if column not in row]:
            raise ValueError(
                f"{path} line 1: no column {missing[0]!r}; captions.format=cuts reads `video_id;video;start;end;texto"
                "[;...]`; for whole films take captions.format=subs"
            )
        yield f"{path.name} line {line}", row


def _further(row: Mapping[str, str], taken: Iterable[str]) -> dict[str, str]:
    return {key: value.strip() for key, value in row.items() if key not in {"video_id", "texto", *taken}}


def _whole_films(path: Path) -> Iterator[Caption | Fault]:
    for where, row in _table(path):
        if isinstance(row, Fault):
            yield row
            continue
        name = plain_name(row["video_id"])
        cut = {key: row[key] for key in ("start", "end") if row.get(key, "").strip()}
        if plain_name(row.get("video") or name) != name or cut:
            raise ValueError(
                f"{path.parent / where}: a cut of a film ({row.get('video', name)!r}, {cut}), but captions.format=subs "
                "takes whole films, each named by its id; take captions.format=cuts"
            )
        columns = _further(row, ("video", "start", "end"))
        yield Caption(where, name, name, None, None, row["texto"], columns)


def _unquoted(path: Path) -> Iterator[Caption | Fault]:
    text, encoding = _read(path)
    if encoding:
        yield _encoded(path, encoding)
    header, *lines = text.split("\n")
    if header.strip() != "video_id;texto":
        raise ValueError(f"{path} line 1: `video_id;texto` expected with captions.unquoted=true, came {header!r}")
    for number, line in enumerate(lines, 2):
        name, _, text = (part.strip() for part in line.partition(";"))
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
        if line.strip():
            yield Caption(f"{path.name} line {number}", plain_name(name), plain_name(name), None, None, text)


def _cuts(path: Path) -> Iterator[Caption | Fault]:
    for where, row in _table(path, ("video", "start", "end")):
        if isinstance(row, Fault):
            yield row
            continue
        name, video = plain_name(row["video_id"]), plain_name(row["video"])
        texts = {key: row[key].strip() for key in ("start", "end")}
        times = {key: _seconds(text) for key, text in texts.items()}  # an empty field: the film's beginning, its end
        if bad := [f"{key} {texts[key]!r}" for key, time in times.items() if time is None and texts[key]]:
            hint = "; a comma may mean decimals or thousands here" if "," in "".join(bad) else ""
            reason = f"{' and '.join(bad)}: seconds as a plain decimal number of at least 0 expected, as in 12.5{hint}"
            yield Fault(where, name, reason, dropped=True)
        elif not video:
            yield Fault(where, name, "no film is named in the column `video`", dropped=True)
        else:
            columns = _further(row, ("video", "start", "end"))
            yield Caption(where, name, video, times["start"], times["end"], row["texto"], columns)


def _lsa_t(path: Path) -> Iterator[Caption | Fault]:
    """Read LSA-T's own table; its times come from `start` and `end` or, where those were damaged, from `split`.

    `duration` is not read: a spreadsheet took its decimal point for a thousands separator in nearly all rows. How many
    disagree with the times is one fault at the end.
    """
    forms = LSA_T_COLUMNS.values()
    known = {"duration", "signers_amount", "infered_signer", *(column for names in forms for column in names)}
    table = tables.read_table(path, *forms, known=known, numbers=("start", "end"), standard=";,")
    names = next((names for names in forms if set(names) <= set(table.columns)), None)
    if names is None:
        expected = " or ".join(f"`{delimiter.join(names)}`" for delimiter, names in LSA_T_COLUMNS.items())
        raise ValueError(f"{path} line 1: the columns {expected} expected, came {str(table.columns)[:200]}")
    if table.note:
        yield Fault(path.name, "", table.note, dropped=False)
    rows = duration = unread = 0
    for line, cells, error in table.rows:
        if error:
            raise ValueError(f"{path} line {line}: {error}; quotes inside a field are doubled")
        if len(cells) != len(table.columns):
            todo = f"a field that holds `{table.delimiter}` must stand in double quotes"
            raise ValueError(f"{path} line {line}: {len(table.columns)} fields expected, {len(cells)} came; {todo}")
        where, row = f"{path.name} line {line}", dict(zip(table.columns, cells, strict=True))
        name, video = plain_name(row["id"]), plain_name(row["video"])
        split, texts = row[names[5]], (row["start"].strip(), row["end"].strip())
        times = (_seconds(texts[0]), _seconds(texts[1]))
        if not video:
            yield Fault(where, name, "no film is named in the column `video`", dropped=True)
            continue
        if None in times:
            rebuilt = _times_of_lines(split)
            done = f"not both plain numbers: start {texts[0]!r}, end {texts[1]!r}"
            reason = f"{done}; times rebuilt from {names[5]!r}" if rebuilt else f"{done}, and no times in {names[5]!r}"
            yield Fault(where, name, reason, dropped=rebuilt is None)
            if rebuilt is None:
                continue
            times = rebuilt
        start, end = (round(time, 6) for time in times if time is not None)  # 165.32999999999998 is 165.33
        stated, rows = _seconds(row.get("duration", "0").strip()), rows + 1
        unread += stated is None
        duration += stated is not None and "duration" in row and abs(stated - (end - start)) > 0.01
        yield Caption(where, name, video, start, end, row[names[1]], person=_person(row, path.parent / where))
    if unread or duration:
        reason = (
            f"the column `duration` is no plain number in {unread} of {rows} rows and differs from end - start by more "
            f"than 0.01 s in {duration} more; it is not used"
        )
        yield Fault(path.name, "", reason, dropped=False)


def _times_of_lines(text: str) -> tuple[float, float] | None:
    """Return the first start and last end of `[(line, start, end), ...]` in Python's spelling; None where it is not."""
    try:
        lines = ast.literal_eval(text.strip())
        times = [(float(start), float(end)) for _, start, end in lines]
        return min(start for start, _ in times), max(end for _, end in times)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _person(row: Mapping[str, str], where: Any) -> int:
    """Return n of the `signer_n` that LSA-T's authors took for the signer; with one person there is nothing to take."""
    text = row.get("infered_signer", "").strip()
    if not text or row.get("signers_amount", "").strip() in ("0", "1"):
        return 0
    if match := re.fullmatch(r"(?:signer_)?(\d{1,9})(?:\.0)?", text, re.ASCII):
        return int(match[1])
    raise ValueError(f"{where}: column `infered_signer` must be signer_0, signer_1, ... or empty, came {text!r}")


# ---------------------------------------------------------------- subtitles


def _subtitles_json(path: Path) -> Iterator[Caption | Fault]:
    """Read `{title-YouTubeID: [[start, end, text], ...]}`; a clip is its film's name and its line, counted from 1."""
    text, encoding = _read(path)
    if encoding:
        yield _encoded(path, encoding)
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
                    yield Caption(where, name, video, float(start), float(end), text)
                case _:
                    yield Fault(where, name, f"[start, end, text] expected, came {str(line)[:100]}", dropped=True)


def _subtitle_files(folder: Path, kind: str, films: Collection[str], language: str | None) -> Iterator[Caption | Fault]:
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
    for film, reason in without.items():
        yield Fault(film, "", reason, dropped=True)
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
                yield Caption(where, name, video, cue.start, cue.end, "\n".join(cue.lines))
    for encoding, names in foreign.items():
        yield _encoded(folder, f"{encoding} in {len(names)} of {len(chosen)} files, the first is {names[0]}")
    if rolled:
        reason = (
            f"captions that roll in {rolled} of {len(chosen)} files: {lines} lines that repeat the cue before are left "
            "out, each line is a clip with the times of the cue that brings it"
        )
        yield Fault(folder.name, "", reason, dropped=False)


def _read(path: Path) -> tuple[str, str]:
    """Read a file with line ends of any system as one newline, and its encoding where that is not utf-8."""
    text, encoding = tables.read_text(path)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _encoded(path: Path, encoding: str) -> Fault:
    return Fault(path.name, "", f"not in utf-8, read as {encoding}", dropped=False)
