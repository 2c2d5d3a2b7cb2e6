"""Tables of captions to cuts: which seconds of which film are a clip, and its sentence; all that is wrong is listed.

Nothing is guessed: a row whose times or text were damaged is rebuilt from what stands beside it or left out, and either
way it is a `Fault`. The readers here know nothing of where the films are; `slt.data.films` brings the two together.
"""

from __future__ import annotations

import ast
import csv
import html
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from slt.data import layout
from slt.spelling import clean

FORMATS = ("subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "none")
# Two layouts of LSA-T's table of clips are about; its first line says which, and with it the separator.
LSA_T_COLUMNS = {
    ";": ("id", "text", "video", "start", "end", "split"),
    ",": ("id", "label", "video", "start", "end", "splits"),
}


@dataclass(frozen=True)
class Fault:
    """A row of a table, or a film, that is not, or not quite, as it should be.

    Attributes:
        where: "meta.csv line 17", "film.srt cue 4", or the film's file name.
        video_id: "" where there is none.
        reason: what is wrong with it.
        dropped: True: not extracted; False: extracted and worth a look.
    """

    where: str
    video_id: str
    reason: str
    dropped: bool


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

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")
# The tags of SRT, WebVTT and of the HTML that subtitles are typed in, and no others: `a < b` and `<3` are text.
_TAG = re.compile(
    r"</?(?:i|b|u|s|c|em|strong|ruby|rt)(?:\.[\w.-]+)?\s*>"
    r"|</?(?:font|span|p|div|v|lang)(?:\.[\w.-]+)?(?:\s[^<>]*)?>"
    r"|<(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}>"  # WebVTT's karaoke times
    r"|\{\\[^{}]*\}",  # {\an8}: a place on the screen, from SubStation
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# `[música]`, `[llama a la puerta]`, `[♪]`: words that say what is heard. `[1]`, `[...]` and `[¿qué?]` are left alone.
_NOTE = r"\[(?=[^\[\]]*(?:[^\W\d_]|[♩♪♫♬]))[^\[\]\d¿¡?!]{1,80}\]"
# Round brackets hold words of the sentence; only what can be nothing else goes with them.
_ROUND = r"\(\s*(?:[♩♪♫♬][^()]*|m[úu]sica|music|aplausos|applause|risas|laughter)\s*\)"
_BEFORE_MARK = re.compile(rf"\s*(?:{_NOTE}|{_ROUND})(?=\s*[,.;:!?…)])", re.IGNORECASE)
_ANYWHERE = re.compile(rf"{_NOTE}|{_ROUND}|[♩♪♫♬]", re.IGNORECASE)
# What a spreadsheet leaves of a text that began with `=` or `-`, in English and Spanish.
_SPREADSHEET = re.compile(
    r"#\s?[¿¡]?(?:NOMBRE|NAME|REF|VALOR|VALUE|NUM|NULL|NULO|N/[AD]|DIV/0|¡DIV/0)[?!]?", re.IGNORECASE
)


def clean_caption(text: str) -> str:
    r"""Return the sentence of a caption: what is signed, without what its file format and its captioner added.

    In this order: HTML entities (`&amp;`, `&#39;`; only whole ones with their `;`) become their character, twice over
    where they were written twice over; the tags of subtitle formats go (`<i>`, `<font color=#fff>`, `<c.yellow>`,
    `<v Ana>`, `<00:01.000>`, `{\an8}`), `<br>` becomes a blank; notes in square brackets that hold words or music
    signs go with their content, and so do `(música)`, `(aplausos)`, `(risas)` and music signs; invisible characters go
    (U+200B, U+200C, U+FEFF, U+00AD and all others of their kind, and control characters); then NFC, runs of white space
    to one blank, ends stripped. Case, accents, `¿`, `¡`, hashtags, round brackets and all other marks stay.
    """
    for _ in range(2):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    text = _TAG.sub("", _BREAK.sub(" ", text))
    text = _ANYWHERE.sub(" ", _BEFORE_MARK.sub("", text))
    return clean(_visible(text))


def plain_name(text: str) -> str:
    """Return a file name or id as it is compared: NFC, without invisible characters, ends stripped."""
    return unicodedata.normalize("NFC", _visible(text)).strip()


def _visible(text: str) -> str:
    kinds = ("Cf", "Cc")
    return "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) not in kinds)


# ---------------------------------------------------------------- all formats


def read_captions(
    path: Path | str, *, format: str, unquoted: bool, min_seconds: float
) -> tuple[list[Caption], list[Fault]]:
    """Read a table of captions, in its order: the clips to extract with clean texts, and what is wrong with it.

    Args:
        path: the table; for srt and vtt the folder of subtitle files, each named like its film.
        format: one of `FORMATS` but none.
        unquoted: of subs: take all after the first `;` of a two-column table as text.
        min_seconds: shorter cuts are left out.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a table that cannot be read as a whole, or an id that is no file name or stands twice, naming file
            and line: which of the two is meant cannot be known.
    """
    path = Path(path)
    if unquoted and format != "subs":
        raise ValueError(f"captions.unquoted reads captions.format=subs only, came captions.format={format}")
    if not math.isfinite(min_seconds) or min_seconds < 0:
        raise ValueError(f"captions.min_seconds must be at least 0, came {min_seconds}")
    if format in ("srt", "vtt"):
        found = list(_subtitle_files(path, format))
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; captions.format={format} reads it, or give captions.path=")
    elif format == "subs":
        found = list(_unquoted(path) if unquoted else _whole_films(path))
    else:
        found = list({"cuts": _cuts, "lsa_t": _lsa_t, "subtitles": _subtitles_json}[format](path))
    captions: list[Caption] = []
    faults: list[Fault] = []
    places: dict[str, str] = {}
    for item in found:
        if isinstance(item, Caption):
            check_id(item.video_id, item.where)
            if item.video_id in places:
                there = places[item.video_id]
                raise ValueError(f"{item.where}: id {item.video_id!r} stands already in {there}; ids are unique")
            places[item.video_id] = item.where
            if reason := _unfit(item, min_seconds):
                item = Fault(item.where, item.video_id, reason, dropped=True)
        if isinstance(item, Fault):
            faults.append(item)
        else:
            captions.append(replace(item, text=clean_caption(item.text)))
    return captions, faults + overlaps(captions)


def check_id(name: str, where: str) -> None:
    """Raise ValueError unless `name` can be an id: it names files on every system and stands in a line of its own."""
    if not name:
        raise ValueError(f"{where}: empty id; every row names its clip")
    if name.startswith(("-", ".")) or any(sign in '/\\:*?"<>|;' or not sign.isprintable() for sign in name):
        raise ValueError(
            f"{where}: id {name!r} cannot name files; use letters, digits, `_` and `-`, and no `-` or `.` first"
        )
    if len(name.encode()) > 200:  # of the 255 bytes of a file name, with room for endings
        raise ValueError(f"{where}: id {name!r} is too long to name files; use at most 200 bytes")


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


def _span(caption: Caption) -> tuple[float, float]:
    return caption.start or 0.0, math.inf if caption.end is None else caption.end


def _unfit(caption: Caption, min_seconds: float) -> str:
    """Return why a caption cannot be a clip, "" where it can."""
    if _SPREADSHEET.fullmatch(caption.text.strip()):
        return f"the text is a spreadsheet's error, {caption.text.strip()!r}, and not a sentence"
    if not any(sign.isalnum() for sign in clean_caption(caption.text)):
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


def _table(path: Path, required: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, row) of a `;` table with the columns of `subs.csv`; errors as in `layout.read_table`."""
    for line, row, fault in layout.table_rows(path):
        if layout.lacks_only_text(fault):
            fault = ""  # an empty text is one row's fault and not the table's
        if fault:
            hint = "" if required else ". (captions.unquoted=true takes all after a row's first `;` as text)"
            raise ValueError(fault + hint)
        if missing := [column for column in required if column not in row]:
            raise ValueError(
                f"{path} line 1: no column {missing[0]!r}; captions.format=cuts reads `video_id;video;start;end;texto"
                "[;...]`; for whole films take captions.format=subs"
            )
        yield f"{path.name} line {line}", row


def _further(row: Mapping[str, str], taken: Iterable[str]) -> dict[str, str]:
    return {key: value.strip() for key, value in row.items() if key not in {"video_id", "texto", *taken}}


def _whole_films(path: Path) -> Iterator[Caption]:
    for where, row in _table(path):
        name = plain_name(row["video_id"])
        cut = {key: row[key] for key in ("start", "end") if row.get(key, "").strip()}
        if plain_name(row.get("video") or name) != name or cut:
            raise ValueError(
                f"{path.parent / where}: a cut of a film ({row.get('video', name)!r}, {cut}), but captions.format=subs "
                "takes whole films, each named by its id; take captions.format=cuts"
            )
        columns = _further(row, ("video", "start", "end"))
        yield Caption(where, name, name, None, None, row["texto"], columns)


def _unquoted(path: Path) -> Iterator[Caption]:
    header, *lines = read_text(path).split("\n")
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
        name, video = plain_name(row["video_id"]), plain_name(row["video"])
        texts = {key: row[key].strip() for key in ("start", "end")}
        times = {key: _seconds(text) for key, text in texts.items()}  # an empty field: the film's beginning, its end
        if bad := [f"{key} {texts[key]!r}" for key, time in times.items() if time is None and texts[key]]:
            reason = f"{' and '.join(bad)}: seconds as a plain decimal number of at least 0 expected, as in 12.5"
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
    text = read_text(path)
    header = text.partition("\n")[0].strip()
    for delimiter, names in LSA_T_COLUMNS.items():
        if set(names) <= set(header.split(delimiter)):
            break
    else:
        expected = " or ".join(f"`{delimiter.join(names)}`" for delimiter, names in LSA_T_COLUMNS.items())
        raise ValueError(f"{path} line 1: the columns {expected} expected, came {header[:200]!r}")
    rows = duration = unread = 0
    for where, row in _csv_rows(path, delimiter):
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
    if match := re.fullmatch(r"(?:signer_)?(\d+)(?:\.0)?", text, re.ASCII):
        return int(match[1])
    raise ValueError(f"{where}: column `infered_signer` must be signer_0, signer_1, ... or empty, came {text!r}")


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            columns = next(reader)
            line = reader.line_num + 1
            for fields in reader:
                if fields and len(fields) != len(columns):
                    todo = f"a field that holds `{delimiter}` must stand in double quotes"
                    text = f"{path} line {line}: {len(columns)} fields expected, {len(fields)} came; {todo}"
                    raise ValueError(text)
                if fields:
                    yield f"{path.name} line {line}", dict(zip(columns, fields, strict=True))
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{path} line {reader.line_num}: {error}; quotes inside a field are doubled") from error


# ---------------------------------------------------------------- subtitles


def _subtitles_json(path: Path) -> Iterator[Caption | Fault]:
    """Read `{title-YouTubeID: [[start, end, text], ...]}`; a clip is its film's name and its line, counted from 1."""
    films = layout.parse_json(read_text(path), path)
    if not isinstance(films, dict) or not all(isinstance(lines, list) for lines in films.values()):
        raise ValueError(f"{path}: expected {{film: [[start, end, text], ...]}} with times in seconds, came other JSON")
    for title, lines in films.items():
        video = plain_name(title)
        for number, line in enumerate(lines, 1):
            where, name = f"{path.name} {video!r} line {number}", f"{video}_{number}"
            match line:
                case [int() | float() as start, int() | float() as end, str() as text]:
                    yield Caption(where, name, video, float(start), float(end), text)
                case _:
                    yield Fault(where, name, f"[start, end, text] expected, came {str(line)[:100]}", dropped=True)


_TIME = {
    "srt": r"(\d+):([0-5]\d):([0-5]\d)(?:[,.](\d{3}))?",
    "vtt": r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})",
}
_TIMING = {kind: re.compile(rf"\s*{time}\s*-->\s*{time}(?:\s.*)?", re.ASCII) for kind, time in _TIME.items()}


def _subtitle_files(folder: Path, kind: str) -> Iterator[Caption | Fault]:
    """Read each `<film>.srt` or `<film>.vtt` of a folder; a clip is its film's name and its cue, counted from 1.

    Read here and not by a library: those that are well kept pass over a damaged cue without a word, or refuse the whole
    file for one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"captions.path={folder}: no such folder; expected one with .{kind} files beside films")
    files = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() == f".{kind}")
    if not files:
        raise FileNotFoundError(f"{folder}: no .{kind} file; each film has one of its name, or take another format")
    for path in files:
        text = read_text(path)
        cues = _srt_cues(text) if kind == "srt" else _vtt_cues(path, text)
        for number, (timing, lines) in enumerate(cues, 1):
            where, video = f"{path.name} cue {number}", plain_name(path.stem)
            if match := _TIMING[kind].fullmatch(timing):
                parts = [int(part or 0) for part in match.groups()]
                start, end = (
                    hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
                    for hours, minutes, seconds, milliseconds in (parts[:4], parts[4:])
                )
                yield Caption(where, f"{video}_{number}", video, start, end, " ".join(lines))
            else:
                example = "00:00:01,000 --> 00:00:02,500" if kind == "srt" else "00:01.000 --> 00:02.500"
                reason = f"times as in `{example}` expected, came {timing[:100]!r}"
                yield Fault(where, f"{video}_{number}", reason, dropped=True)


# Also where its arrow was damaged: what stands under it must not become the text of the cue before.
_TIMES = re.compile(r"-->|^\s*\d+:\d\d\S*\s*[-–—>→]+\s*\d+:\d\d")


def _srt_cues(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (line of times, lines of text); a text goes on to the next line of times, over blank lines too."""
    lines = text.split("\n")
    timings = [number for number, line in enumerate(lines) if _TIMES.search(line)]
    before = [line for line in lines[: timings[0] if timings else None] if line.strip()]
    numbered = timings and before == [lines[timings[0] - 1]] and before[0].strip().isdigit()
    if before and not numbered:
        yield before[0], []  # text without times
    for first, following in pairwise([*timings, len(lines)]):
        rest = lines[first + 1 : following]
        if following < len(lines) and rest and rest[-1].strip().isdigit():
            rest.pop()  # the number of the next cue
        yield lines[first], [line for line in rest if line.strip()]


def _vtt_cues(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (line of times, lines of text) of each cue of a WebVTT file (W3C, section 4)."""
    head, *blocks = re.split(r"\n{2,}", re.sub(r"\n[ \t]+(?=\n)", "\n", text).rstrip("\n"))
    if not re.match(r"WEBVTT(?:[ \t\n]|$)", head):
        raise ValueError(f"{path} line 1: `WEBVTT` expected, came {head[:40]!r}; is it SubRip? Then take format=srt")
    for block in blocks:
        lines = [line for line in block.split("\n") if line.strip()]
        timing = next((number for number, line in enumerate(lines[:2]) if "-->" in line), None)
        if timing is not None:
            yield lines[timing], lines[timing + 1 :]
        elif lines and not re.match(r"(?:NOTE|STYLE|REGION)(?:\s|$)", lines[0]):
            yield lines[0], []  # a block without times


def read_text(path: Path) -> str:
    """Read utf-8, with or without a mark at its start, with line ends of any system as one newline.

    Raises:
        ValueError: it is not utf-8, which is what subtitle files of old are not.
    """
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not utf-8 at byte {error.start} (perhaps latin-1, or utf-16); save it as utf-8"
        ) from error
