"""Subtitle files to timed lines: SubRip and WebVTT, with automatic captions that roll read as what is new in each cue.

No library: `pysubs2` takes WebVTT's notes and styles for text, and it and `webvtt-py` pass over damaged cues in
silence.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from slt.files import atomic
from slt.text import clean

FORMATS = ("srt", "vtt")
_TIME = {
    "srt": r"(\d{1,6}):([0-5]\d):([0-5]\d)(?:[,.](\d{3}))?",
    "vtt": r"(?:(\d{2,6}):)?([0-5]\d):([0-5]\d)\.(\d{3})",
}
_TIMING = {kind: re.compile(rf"\s*{time}\s*-->\s*{time}(?:\s.*)?", re.ASCII) for kind, time in _TIME.items()}
_EXAMPLE = {"srt": "00:00:01,000 --> 00:00:02,500", "vtt": "00:01.000 --> 00:02.500"}
# Also where its arrow was damaged: what stands under it must not become the text of the cue before.
_TIMES = re.compile(r"-->|^\s*\d{1,6}:\d\d\S{0,20}\s*[-–—>→]{1,5}\s*\d{1,6}:\d\d")
_KARAOKE = re.compile(r"<(?:(\d{2,6}):)?([0-5]\d):([0-5]\d)\.(\d{3})>", re.ASCII)
_NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
_LANGUAGE = re.compile(r"(.+?)\.([a-z]{2,3}(?:[-_][a-z0-9]+)*(?:\.(?:forced|sdh|cc|hi))?)", re.IGNORECASE)

ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")
# The tags of SRT, WebVTT and of the HTML that subtitles are typed in, and no others: `a < b` and `<3` are text.
TAG = re.compile(
    r"</?(?:i|b|u|s|c|em|strong|small|big|sub|sup|strike|tt|center|ruby|rt|rp)(?:\.[\w.-]+)?\s*>"
    r"|</?(?:font|span|p|div|v|lang|a|img|body)(?:\.[\w.-]+)?(?:\s[^<>]*)?>"
    rf"|{_KARAOKE.pattern}"
    r"|\{\\[^{}]*\}",  # {\an8}: a place on the screen, from SubStation
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s*/?>|\\N", re.IGNORECASE)


@dataclass(frozen=True)
class Cue:
    """What stands between two times, in seconds, of a subtitle file."""

    number: int  # in its file, from 1
    start: float
    end: float
    lines: list[str]  # as they are written
    fault: str = ""  # what is wrong with it; it cannot be read where it has no lines either


def plain_text(text: str) -> str:
    r"""Return text without the mark-up of its file format: entities, tags; `<br>` and `\N` become a line break."""
    for _ in range(2):  # `&amp;lt;i&amp;gt;`: written twice over
        text = ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return TAG.sub("", _BREAK.sub("\n", text).replace("\\h", " "))


def read_cues(text: str, kind: str) -> list[Cue]:
    """Read the cues of a file, damaged ones too, from its text with newlines as line ends."""
    if kind == "vtt" and not re.match(r"WEBVTT(?:[ \t\n]|$)", text):
        raise ValueError(f"line 1: `WEBVTT` expected, came {text[:40]!r}; is it SubRip? Then take format=srt")
    cues = []
    for number, (timing, block) in enumerate(_blocks(text, kind), 1):
        if match := _TIMING[kind].fullmatch(timing):
            start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
            lines = [line for line in block if clean(plain_text(line))]
            late = "its text stands under an empty line, which ends a cue of WebVTT" if lines and not block[0] else ""
            cues.append(Cue(number, start, end, lines, late if kind == "vtt" else ""))
        else:
            cues.append(Cue(number, 0, 0, [], f"times as in `{_EXAMPLE[kind]}` expected, came {timing[:100]!r}"))
    return cues


def stamp(seconds: float, mark: str) -> str:
    """Return `01:02:03,500`, with `mark` (a comma in SubRip, a point in WebVTT) before the milliseconds."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def write_srt(path: Path, lines: Iterable[tuple[float, float, str]]) -> None:
    """Write (start, end, text), in seconds, as SubRip; a text has no empty lines."""
    blocks = (f"{n}\n{stamp(start, ',')} --> {stamp(end, ',')}\n{text}\n\n"
              for n, (start, end, text) in enumerate(lines, 1))  # fmt: skip
    with atomic(path) as file:
        file.write("".join(blocks).encode())


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000


def _blocks(text: str, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (line of times, lines of text); of text without times its first line, alone.

    In SubRip a text goes on to the next line of times; in WebVTT to the first empty line (W3C, section 4), unless an
    editor has taken away the one blank that its first line was.
    """
    lines = text.split("\n")
    timings = [number for number, line in enumerate(lines) if _TIMES.search(line)]
    for first, following in pairwise([-1, *timings, len(lines)]):
        rest = lines[first + 1 : following]
        alone = len(rest) < 2 or not rest[-2].strip()
        if following < len(lines) and rest and (rest[-1].strip().isdigit() or (kind == "vtt" and alone)):
            rest.pop()  # the name of the next cue
        late = first >= 0 and len(rest) > 1 and not rest[0] and rest[1] != "" and not _NO_CUE.match(rest[1])
        end = rest.index("", late) if kind == "vtt" and "" in rest[late:] else len(rest)
        if first >= 0:
            yield lines[first], rest[:end]
        elif kind == "srt":
            end = 0  # nothing stands before the first cue
        for block in re.split(r"\n\s*\n", "\n".join(rest[end:]).strip("\n")):
            if block.strip() and not _NO_CUE.match(block):
                yield block.split("\n")[0], []


def unroll(cues: Sequence[Cue]) -> tuple[list[Cue], int]:
    """Take out of captions that roll what each cue repeats of the one before; return them and how many lines went.

    Automatic captions show lines of which all but the last stood there before. A line with karaoke times is new;
    without them a file rolls where most cues begin with a line of several words that the cue before ended with, and go
    on.
    """
    pairs = list(pairwise(cue for cue in cues if cue.lines))
    counts = [_repeated(before, cue) for before, cue in pairs]
    evidence = sum(count > 0 and _rolls(before, cue, count) for (before, cue), count in zip(pairs, counts, strict=True))
    if not evidence or 2 * evidence < len(pairs):
        return list(cues), 0
    kept = {cue.number: count for (_, cue), count in zip(pairs, counts, strict=True)}
    out: list[Cue] = []
    for cue in cues:
        count = kept.get(cue.number, 0)
        if not count or len(cue.lines) > count:
            out.append(replace(cue, start=_first_word(cue, count), lines=cue.lines[count:]))
        elif out and TAG.search(cue.lines[-1]):  # the same words with another one of them marked
            out[-1] = replace(out[-1], end=max(out[-1].end, cue.end))
    return out, sum(counts)


def _plain(cue: Cue) -> list[str]:
    return [clean(plain_text(line)) for line in cue.lines]


def _repeated(before: Cue, cue: Cue) -> int:
    """Return how many of the first lines of a cue are the last ones of the cue before."""
    old, lines = _plain(before), _plain(cue)
    new = next((number for number, line in enumerate(cue.lines) if _KARAOKE.search(line)), len(lines))
    return max(count for count in range(min(new, len(old)) + 1) if old[len(old) - count :] == lines[:count])


def _rolls(before: Cue, cue: Cue, count: int) -> bool:
    """Whether the first `count` lines of a cue, which stood before, can hardly have been said again."""
    karaoke = any(_KARAOKE.search(line) for line in cue.lines)
    instant = cue.end - cue.start < 0.05
    return karaoke or instant or (before.lines != cue.lines and " " in " ".join(_plain(cue)[:count]))


def _first_word(cue: Cue, count: int) -> float:
    """Return when what is new in a cue begins: at its first karaoke time, where nothing stands before that."""
    time = _KARAOKE.match(cue.lines[count].lstrip()) if len(cue.lines) > count else None
    return min(max(cue.start, _seconds(time.groups())), cue.end) if time else cue.start


def choose_languages(
    stems: Collection[str], films: Collection[str], language: str | None
) -> tuple[dict[str, str], Mapping[str, str]]:
    """Find which film each subtitle file belongs to, by their stems: `Title [id].es.vtt` to `Title [id].mp4`.

    "es" takes a film's `es`, else its `es-419`, else its one file. Returns film -> file, and film -> why none is taken.
    """
    found: dict[str, dict[str, str]] = {}
    for stem in stems:
        match = None if stem in films else _LANGUAGE.fullmatch(stem)
        film, tag = (match[1], match[2]) if match and (match[1] in films or not films) else (stem, "")
        found.setdefault(film, {})[tag] = stem
    chosen, without = {}, {}
    for film, files in found.items():
        tags = list(files)
        if language is not None and tags != [""]:
            tags = [tag for tag in files if tag.lower() == language.lower()]
            tags = tags or [tag for tag in files if re.split(r"[-_.]", tag.lower())[0] == language.lower()]
            tags = tags or [tag for tag in files if not tag]
        if len(tags) > 1:
            raise ValueError(
                f"captions.language={language or 'null'}: {film!r} has subtitles in "
                f"{', '.join(tag or 'a language that is not named' for tag in tags)}; choose one of these"
            )
        if tags:
            chosen[film] = files[tags[0]]
        else:
            without[film] = f"no subtitles in captions.language={language}; there are {', '.join(files)}"
    return chosen, without
