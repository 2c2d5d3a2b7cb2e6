"""Where the time goes between a picture and its caption: milliseconds of each stage, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

STAGES = ("decode", "landmarks", "crops", "encoder", "decoder", "draw")
CAPTION = "sign to caption"
# The newest values of each stage are kept: the 95th percentile is then known to about half a per cent.
KEPT = 4096


class Latency:
    """What each stage took, counted from several threads."""

    def __init__(self) -> None:
        self.frames = 0  # that went through all of the extraction
        self.dropped = 0  # that were never looked at, because the machine was too slow
        self._lock = threading.Lock()
        self._stages: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in (*STAGES, CAPTION)}
        self._counts: Counter[str] = Counter()
        self._began: float | None = None
        self._last = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Count what one pass through a stage took."""
        with self._lock:
            self._stages[stage].append(seconds)
            self._counts[stage] += 1

    def frame(self, took: Mapping[str, float]) -> None:
        """Count a frame that is extracted, and what the stages of the extraction took for it."""
        for stage, seconds in took.items():
            self.add(stage, seconds)
        self._last = time.perf_counter()
        self._began = self._last if self._began is None else self._began
        self.frames += 1

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what the body of the `with` takes."""
        begin = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - begin)

    @property
    def rate(self) -> float:
        """Frames a second, from the first frame to the last."""
        if self._began is None or self._last <= self._began:
            return 0.0
        return (self.frames - 1) / (self._last - self._began)

    def milliseconds(self) -> dict[str, tuple[int, float, float]]:
        """Return for each stage that ran how often, and median and 95th percentile of the newest, in milliseconds."""
        with self._lock:
            kept = {name: list(values) for name, values in self._stages.items() if values}
        both = {name: (np.percentile(values, (50, 95)) * 1000).tolist() for name, values in kept.items()}
        return {name: (self._counts[name], *pair) for name, pair in both.items()}

    def lines(self) -> list[str]:
        """Return the panel: a head, a line a stage, frames a second, and how many were dropped."""
        rows = [f"{'milliseconds':<16}{'median':>8}{'95 %':>8}"]
        rows += [f"{name:<16}{_short(median):>8}{_short(high):>8}"
                 for name, (_, median, high) in self.milliseconds().items()]  # fmt: skip
        came = self.frames + self.dropped
        dropped = f"{self.dropped} of {came} dropped ({self.dropped / max(came, 1):.1%})"
        return [*rows, f"{self.rate:.1f} frames/s", dropped]


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:.0f}"


def timed_frames(frames: Iterable[Any], latency: Latency) -> Iterator[Any]:
    """Give the same frames and count what each takes to be decoded."""
    source = iter(frames)
    while True:
        begin = time.perf_counter()
        frame = next(source, None)
        if frame is None:
            return
        latency.add("decode", time.perf_counter() - begin)
        yield frame
