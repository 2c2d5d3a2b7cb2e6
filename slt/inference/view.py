"""What is live, drawn for a screen and a recording."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from slt.extraction.regions import Regions
from slt.extraction.video import Picture
from slt.inference.overlay import Found, Overlay, Text
from slt.inference.recorder import Recorder
from slt.inference.session import Session
from slt.inference.sources import Shot, Source
from slt.inference.subtitles import clock

# A sentence stays on show for so long, and for so much longer per letter.
SHOWN_SECONDS, SHOWN_PER_LETTER = 2.0, 0.06
# The panel's numbers are read off by people.
PANEL_SECONDS = 0.5


class Screen(Protocol):
    """What shows pictures."""

    panel: bool

    def show(self, picture: Picture) -> bool:
        """Show an RGB picture (H, W, 3); return whether to go on."""


class View:
    """Draws what is live for a screen and a recording, which `stack` closes; where there is neither, nothing is drawn.

    Without a screen `panel` says whether the latency panel is drawn.
    """

    def __init__(
        self, source: Source, session: Session, screen: Screen | None, stack: ExitStack, *, panel: bool,
        record: Path | None,
    ) -> None:  # fmt: skip
        self._source, self._session, self._screen, self._stack = source, session, screen, stack
        self._with_panel, self._record = panel, record
        self._overlay: Overlay | None = None
        self._recorder: Recorder | None = None
        self._sentence, self._partial, self._until = "", False, 0.0
        self._panel: list[str] = []
        self._counted = -PANEL_SECONDS

    def say(self, sentence: str, *, partial: bool) -> None:
        """Put a sentence on show."""
        self._sentence, self._partial = sentence, partial
        shown = SHOWN_SECONDS + SHOWN_PER_LETTER * len(sentence)
        self._until = math.inf if partial else time.perf_counter() + shown

    def retract(self) -> None:
        """Take a partial sentence back."""
        if self._partial:
            self._sentence = ""

    def frame(self, regions: Regions, shot: Shot, *, signing: bool) -> bool:
        """Draw a frame, show and record it; return whether to go on."""
        if self._overlay is None:
            self._overlay = Overlay(regions.size, [stream.name for stream in self._session.translator.streams])
            if self._record is not None:
                recorder = Recorder(self._record, size=self._overlay.size, fps=self._source.fps, live=True)
                self._recorder = self._stack.enter_context(recorder)
        was = self._overlay.source
        if regions.size != was:
            raise ValueError(f"source={self._source.name}: pictures of {was} became {regions.size}; start again")
        if self._screen is None and self._recorder is None:
            return True
        with self._session.latency.timed("draw"):
            drawn = self._overlay.draw(shot.picture, Found.of(regions), self._text(shot.seconds, signing))
        if self._recorder is not None:
            self._recorder.write(shot.seconds, drawn)
        return self._screen is None or self._screen.show(drawn)

    def _text(self, seconds: float, signing: bool) -> Text:
        latency, now = self._session.latency, time.perf_counter()
        if now > self._until:
            self._sentence = ""
        wanted = self._with_panel if self._screen is None else self._screen.panel
        if wanted and now - self._counted >= PANEL_SECONDS:
            self._panel, self._counted = latency.lines(), now
        right = (f"{clock(seconds)}  {'signing' if signing else 'at rest'}",
                 f"{latency.rate:.1f} frames/s, {latency.dropped} dropped")  # fmt: skip
        return Text(self._sentence, self._partial and bool(self._sentence), right, self._panel if wanted else ())
