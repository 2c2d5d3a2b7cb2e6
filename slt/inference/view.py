"""What is live, drawn for a screen and a recording."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from slt.extraction.regions import Regions
from slt.extraction.video import Picture
from slt.inference.films import MARKED, marks_of
from slt.inference.latency import Latency
from slt.inference.overlay import Found, Overlay, Text
from slt.inference.recorder import Recorder
from slt.inference.sources import LiveSource, Shot
from slt.inference.subtitles import clock
from slt.models.signature import StreamSpec

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
    """Draws what is live for a screen and a recording; where there is neither, nothing is drawn."""

    def __init__(
        self,
        source: LiveSource,
        streams: Sequence[StreamSpec],
        latency: Latency,
        screen: Screen | None,
        record: Path | None,
        *,
        panel: bool,
    ) -> None:
        self._source, self._names, self._latency = source, [stream.name for stream in streams], latency
        self._screen, self._record = screen, record
        self._overlay: Overlay | None = None
        self._size: tuple[int, int] | None = None
        self._recorder: Recorder | None = None
        self._sentence, self._partial, self._until = "", False, 0.0
        self._with_panel = panel
        self._panel: list[str] = []
        self._counted = -PANEL_SECONDS

    def say(self, sentence: str, *, partial: bool) -> None:
        """Put a sentence on show."""
        self._sentence, self._partial = sentence, partial
        shown = SHOWN_SECONDS + SHOWN_PER_LETTER * len(sentence)
        self._until = float("inf") if partial else time.perf_counter() + shown

    def retract(self) -> None:
        """Take a partial sentence back."""
        if self._partial:
            self._sentence = ""

    def frame(self, regions: Regions, shot: Shot, *, signing: bool) -> bool:
        """Draw a frame, show and record it; return whether to go on."""
        if self._size not in (None, regions.size):
            raise ValueError(f"source={self._source.name}: pictures of {self._size} became {regions.size}; start again")
        self._size = regions.size
        if self._screen is None and self._record is None:
            return True
        with self._latency.timed("draw"):
            drawn = self._draw(regions, shot, signing)
        if self._recorder is not None:
            self._recorder.write(shot.seconds, drawn)
        return self._screen is None or self._screen.show(drawn)

    def _draw(self, regions: Regions, shot: Shot, signing: bool) -> Picture:
        if self._overlay is None:
            self._overlay = Overlay(regions.size, MARKED, self._names)
            if self._record is not None:
                self._recorder = Recorder(self._record, size=self._overlay.size, fps=self._source.fps, live=True)
        now = time.perf_counter()
        if now > self._until:
            self._sentence = ""
        panel: Sequence[str] = ()
        if self._with_panel if self._screen is None else self._screen.panel:
            if now - self._counted >= PANEL_SECONDS:
                self._panel, self._counted = self._latency.lines(), now
            panel = self._panel
        state = "signing" if signing else "at rest"
        right = (f"{clock(shot.seconds)}  {state}",
                 f"{self._latency.rate:.1f} frames/s, {self._latency.dropped} dropped")  # fmt: skip
        text = Text(self._sentence, self._partial and bool(self._sentence), right, panel)
        return self._overlay.draw(shot.picture, Found(regions.points, regions.boxes, marks_of(regions)), text)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            self._recorder.close()
