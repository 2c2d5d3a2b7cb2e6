"""Timed captions as text: on the screen, in SRT and in WebVTT."""

from __future__ import annotations

import html
import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from slt.corpora.cues import stamp
from slt.files import atomic
from slt.inference.onnx import Hypothesis
from slt.text import loop

# Two such lines are what a reader of subtitles takes in at once; longer sentences get a third.
LINE = 42
# What stands in place of a sentence that a model left empty: SRT and WebVTT have no empty caption.
NOTHING = "…"
# What stands before the sentences of a segment that a model is not sure enough of.
NOT_UNDERSTOOD = "[not understood]"


@dataclass(frozen=True)
class Caption:
    """A segment of a film and its sentences: the one caption that films, cameras, corpora and `slt.load` give.

    Below a confidence of `abstain` it does not count as understood.
    """

    start: float  # seconds from where the source begins
    end: float
    hypotheses: tuple[Hypothesis, ...]  # best first
    seen: Mapping[str, float] = field(default_factory=dict)  # stream -> share of the segment's frames that show it
    abstain: float | None = None
    signer: int | None = None  # who signs, 1 the first who did in this source; None where no face tells

    @property
    def confidence(self) -> float | None:
        """The probability that the best sentence is good; None where the model does not say."""
        return self.hypotheses[0].confidence if self.hypotheses else None

    @property
    def understood(self) -> bool:
        return self.abstain is None or self.confidence is None or self.confidence >= self.abstain

    @property
    def shown(self) -> str:
        """What a viewer reads: the best sentence, or that it was not understood, and what it may be."""
        if self.understood:
            return self.text
        return f"{NOT_UNDERSTOOD} {' / '.join(self.maybe)}".strip()

    @property
    def maybe(self) -> list[str]:
        """What one that was not understood may be: the different sentences of the n-best that are no loops."""
        texts = dict.fromkeys(composed(one.text) for one in self.hypotheses if loop(one.text) is None)
        return [text for text in texts if text]

    @property
    def score(self) -> float:
        """The best sentence's, log-probability over length (see `Hypothesis`); minus infinity where there is none."""
        return self.hypotheses[0].score if self.hypotheses else -math.inf

    @property
    def alternatives(self) -> tuple[Hypothesis, ...]:
        """The other sentences of the n-best, best first."""
        return self.hypotheses[1:]

    def __str__(self) -> str:
        return describe(self)

    @property
    def text(self) -> str:
        """The best sentence as it is shown, `NOTHING` where there is none."""
        return composed(self.hypotheses[0].text) or NOTHING if self.hypotheses else NOTHING

    @property
    def loops(self) -> bool:
        """Whether the best sentence ends in a loop, which no score tells: it is not to be trusted."""
        return bool(self.hypotheses) and loop(self.hypotheses[0].text) is not None


def composed(text: str) -> str:
    """Return a sentence in Unicode's composed form (NFC), so that `ñ` is one character; of a loop its first round."""
    text = unicodedata.normalize("NFC", text).strip()
    end = loop(text)
    return text if end is None else text[:end].rstrip() + NOTHING


def describe(caption: Caption) -> str:
    """Return a caption as it is printed: its times, sentence, score and confidence, then the others of the n-best.

    Of one that was not understood all are others. Who signs is said of all but the first signer.
    """
    head = f"[{clock(caption.start)} - {clock(caption.end)}]"
    if not caption.hypotheses:
        return f"{head}  {caption.text}"
    sure = [] if caption.confidence is None else [f"confidence {caption.confidence:.2f}"]
    sure += [] if caption.signer in (None, 1) else [f"signer {caption.signer}"]
    sure += ["it repeats itself"] if caption.loops else []
    others = list(enumerate(caption.hypotheses, 1))
    if caption.understood:
        score = f"{others.pop(0)[1].score:.2f}"
        lines = [f"{head}  {caption.text}  ({', '.join([score, *sure])})"]
    else:
        lines = [f"{head}  {NOT_UNDERSTOOD}  ({', '.join(sure)})"]
    lines += [f"{'':>{len(head)}}  {place}. {composed(one.text)}  ({one.score:.2f})" for place, one in others]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Return `01:02.5` for 62.5, with hours where there are any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:" if hours else "") + f"{minutes:02}:{rest // 10:02}.{rest % 10}"


class Subtitles:
    """SRT and WebVTT that grow caption by caption, so that hours of camera are on disk when the power goes.

    Who signs stands in WebVTT, as the voice of a caption, from where a second signs on; SRT has no place for it.
    """

    def __init__(self, srt: IO[bytes], vtt: IO[bytes]) -> None:
        self.count = 0
        self._srt, self._vtt = srt, vtt
        self._several = False
        vtt.write(b"WEBVTT\n\n")

    def add(self, caption: Caption) -> None:
        """Write a caption to both."""
        self.count += 1
        # SRT has no mark of its encoding; UTF-8 without a byte order mark is what players read. In WebVTT `&`, `<` and
        # `>` are markup.
        self._several |= caption.signer is not None and caption.signer > 1
        voice = f"<v signer {caption.signer}>" if self._several and caption.signer else ""
        srt = f"{self.count}\n{_block(caption, caption.shown, ',')}"
        vtt = _block(caption, html.escape(caption.shown, quote=False), ".", voice)
        for file, text in ((self._srt, srt), (self._vtt, vtt)):
            file.write(text.encode())
            file.flush()


def write_subtitles(captions: Iterable[Caption], *, srt: Path, vtt: Path) -> None:
    """Write both files whole, or neither."""
    with atomic(srt) as one, atomic(vtt) as other:
        subtitles = Subtitles(one, other)
        for caption in captions:
            subtitles.add(caption)


def _block(caption: Caption, text: str, mark: str, voice: str = "") -> str:
    return f"{stamp(caption.start, mark)} --> {stamp(caption.end, mark)}\n{voice}{_wrapped(text)}\n\n"


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text, LINE, break_on_hyphens=False)
    # Balanced, as narrow as so many lines can be: two lines of like length read better than a full one and a word.
    widths = range(max(1, len(text) // len(lines)), LINE) if len(lines) > 1 else ()
    for width in widths:
        narrow = textwrap.wrap(text, width, break_on_hyphens=False)
        if len(narrow) == len(lines):
            return "\n".join(narrow)
    return "\n".join(lines)
