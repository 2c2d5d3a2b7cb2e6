"""What the page shows of a film: its sentences, the player, the form for corrections, files to take along, details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slt.inference.elan import write_elan
from slt.inference.films import FilmResult
from slt.inference.onnx import Hypothesis
from slt.inference.page.html import part, timeline
from slt.inference.subtitles import Caption, write_subtitles

Change = dict[str, Any]  # part of the page -> what it shows now

# Parts of a result.
RESULT = ("said", "player", "correct", "nbest", "timeline", "timings")
# A caption is no longer than this; what is longer is no caption.
LONGEST = 2000


def nothing(text: Mapping[str, str]) -> Change:
    """Return the page without a result."""
    return {**dict.fromkeys(RESULT, ""), "status": "", "said": part("sentences", (), text)}


def shown(result: FilmResult, film: Path, key: str, text: Mapping[str, str], *, keeps: bool) -> Change:
    """Return what the page shows of a result; `key` is what a correction has to say, `keeps` offers to keep it."""
    if not any(marks.any() for marks in result.seen.values()):
        return {**nothing(text), "status": part("message", text["nobody"].format(name=film.name))}
    captions, files = result.segments, {kind: _address(path) for kind, path in written(film).items()}
    return {
        "status": "" if captions else part("message", text["no_signing"].format(name=film.name)),
        "said": part("sentences", captions, text, True),
        "player": part("player", _address(film), files, text),
        "correct": part("form", captions, key, keeps, text) if captions else "",
        "nbest": part("nbest", captions, text),
        "timeline": timeline(result.seen, captions, result.duration, text),
        "timings": part("timings", "\n".join(result.latency.lines()[:-1]), text),
    }


def corrected(captions: Sequence[Caption], words: Sequence[str]) -> tuple[Caption, ...]:
    """Return captions with a visitor's words; those that differ count as understood, what the model said as another.

    ValueError for other than a text a caption.
    """
    if len(words) != len(captions) or not all(isinstance(one, str) and len(one) <= LONGEST for one in words):
        raise ValueError(f"{len(captions)} texts of up to {LONGEST} characters expected, came {len(words)}")
    return tuple(_corrected(one, " ".join(said.split())) for one, said in zip(captions, words, strict=True))


def _corrected(caption: Caption, words: str) -> Caption:
    if not words or (words == caption.text and caption.understood):
        return caption
    others = tuple(one for one in caption.hypotheses if one.text.strip() != words)
    return replace(caption, hypotheses=(Hypothesis(words, 0.0, (), 1.0), *others))


def written(film: Path) -> dict[str, Path]:
    """Return the files of a film's result by kind."""
    return {kind: film.parent / "out" / f"{film.stem}.{kind}" for kind in ("mp4", "srt", "vtt", "eaf")}


def write_files(captions: Sequence[Caption], film: Path, text: Mapping[str, str]) -> list[Caption]:
    """Write subtitles and ELAN's file of a film anew; return captions as they stand there.

    What was not understood is said to be so in the page's language.
    """
    captions, files = [_told(one, text) for one in captions], written(film)
    write_subtitles(captions, srt=files["srt"], vtt=files["vtt"])
    write_elan(captions, files["eaf"], film)
    return captions


def _told(caption: Caption, text: Mapping[str, str]) -> Caption:
    if caption.understood:
        return caption
    said = f"[{text['not_understood']}] {' / '.join(caption.maybe)}".strip()
    return replace(caption, hypotheses=(replace(caption.hypotheses[0], text=said), *caption.hypotheses), abstain=None)


def _address(path: Path) -> str:
    """Return where the browser gets a file of the page's folder."""
    return f"gradio_api/file={quote(str(path))}"
