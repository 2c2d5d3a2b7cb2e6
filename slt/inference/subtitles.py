"""Timed captions as text: on the screen, in SRT and in WebVTT."""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from slt.inference.onnx import Hypothesis

# Two such lines are what a reader of subtitles takes in at once; longer sentences get a third.
LINE = 42
# What stands in place of a sentence that a model left empty: SRT and WebVTT have no empty caption.
NOTHING = "…"


@dataclass(frozen=True)
class Caption:
    """A segment of a film and its sentences.

    Attributes:
        start: seconds.
        end: seconds.
        hypotheses: best first.
    """

    start: float
    end: float
    hypotheses: tuple[Hypothesis, ...]

    @property
    def text(self) -> str:
        """Return the best sentence in Unicode's composed form (NFC), so that `ñ` is one character."""
        text = unicodedata.normalize("NFC", self.hypotheses[0].text).strip() if self.hypotheses else ""
        return text or NOTHING


def describe(caption: Caption) -> str:
    """Return a caption as it is printed: its times, sentence and score, then the other sentences of the n-best."""
    head = f"[{clock(caption.start)} - {clock(caption.end)}]"
    if not caption.hypotheses:
        return f"{head}  {caption.text}"
    lines = [f"{head}  {caption.text}  ({caption.hypotheses[0].score:.2f})"]
    lines += [
        f"{'':>{len(head)}}  {place}. {unicodedata.normalize('NFC', one.text)}  ({one.score:.2f})"
        for place, one in enumerate(caption.hypotheses[1:], 2)
    ]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Return `01:02.5` for 62.5, with hours where there are any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:" if hours else "") + f"{minutes:02}:{rest // 10:02}.{rest % 10}"


def srt_block(number: int, caption: Caption) -> str:
    """Return a caption as SRT has it: number, times, text, an empty line."""
    times = f"{_stamp(caption.start, ',')} --> {_stamp(caption.end, ',')}"
    return f"{number}\n{times}\n{_wrapped(caption.text)}\n\n"


def vtt_block(caption: Caption) -> str:
    """Return a caption as WebVTT has it; `&`, `<` and `>` are markup there and are written as such."""
    text = caption.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{_stamp(caption.start, '.')} --> {_stamp(caption.end, '.')}\n{_wrapped(text)}\n\n"


def write_subtitles(captions: Iterable[Caption], *, srt: Path, vtt: Path) -> None:
    """Write both files whole, or neither."""
    files = SubtitleFiles(srt=srt.with_name(f".{srt.name}.part"), vtt=vtt.with_name(f".{vtt.name}.part"))
    try:
        with files:
            for caption in captions:
                files.add(caption)
    except BaseException:
        files.discard()
        raise
    files.srt.replace(srt)
    files.vtt.replace(vtt)


class SubtitleFiles:
    """SRT and WebVTT that grow caption by caption, so that hours of camera are on disk when the power goes.

    Args:
        srt: path, overwritten.
        vtt: path, overwritten.
    """

    def __init__(self, *, srt: Path, vtt: Path) -> None:
        self.srt, self.vtt = srt, vtt
        self.count = 0
        # SRT has no mark of its encoding; UTF-8 without a byte order mark is what players read.
        self._srt = srt.open("w", encoding="utf-8", newline="\n")
        self._vtt = vtt.open("w", encoding="utf-8", newline="\n")
        self._vtt.write("WEBVTT\n\n")

    def add(self, caption: Caption) -> None:
        """Write a caption to both."""
        self.count += 1
        self._srt.write(srt_block(self.count, caption))
        self._vtt.write(vtt_block(caption))
        for file in (self._srt, self._vtt):
            file.flush()

    def close(self) -> None:
        """Close both."""
        for file in (self._srt, self._vtt):
            file.flush()
            with suppress(OSError):  # a pipe has nothing to keep
                os.fsync(file.fileno())
            file.close()

    def discard(self) -> None:
        """Remove both."""
        for path in (self.srt, self.vtt):
            path.unlink(missing_ok=True)

    def __enter__(self) -> SubtitleFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _stamp(seconds: float, mark: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _wrapped(text: str) -> str:
    # Balanced: two lines of like length read better than a full one and a word.
    lines = textwrap.wrap(text, LINE, break_on_hyphens=False)
    if len(lines) > 1:
        narrow = next(
            width
            for width in range(max(1, len(text) // len(lines)), LINE + 1)
            if len(textwrap.wrap(text, width, break_on_hyphens=False)) == len(lines)
        )
        lines = textwrap.wrap(text, narrow, break_on_hyphens=False)
    return "\n".join(lines)
