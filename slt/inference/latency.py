"""Where the time goes between a picture and its caption: milliseconds of each stage, in bounded memory."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from slt.extraction.geometry import Box, Picture, Points
from slt.extraction.landmarks import Landmarker, Landmarks
from slt.extraction.regions import Extractor, Regions
from slt.extraction.signers import Signer

STAGES = ("decode", "landmarks", "crops", "encoder", "decoder", "draw")
CAPTION = "sign to caption"
# Values kept of each stage, a fair sample of all that came: the 95th percentile is then known to about half a per cent.
KEPT = 4096


class Reservoir:
    """A sample of all values so far in which each is as likely as any other (Vitter 1985, algorithm R)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.count = size, 0
        self.values: list[float] = []
        self._random = random.Random(seed)

    def add(self, value: float) -> None:
        """Take a value; it replaces one of those kept, or is forgotten."""
        self.count += 1
        if len(self.values) < self.size:
            self.values.append(value)
        elif (place := self._random.randrange(self.count)) < self.size:
            self.values[place] = value


class Latency:
    """What each stage took, counted from several threads.

    Attributes:
        frames: that went through all of the extraction.
        dropped: that were never looked at, because the machine was too slow.
    """

    def __init__(self) -> None:
        self.frames = self.dropped = 0
        self._lock = threading.Lock()
        self._stages = {name: Reservoir(KEPT, seed) for seed, name in enumerate((*STAGES, CAPTION))}
        self._began: float | None = None
        self._last = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Count what one pass through a stage took."""
        with self._lock:
            self._stages[stage].add(seconds)

    def frame(self) -> None:
        """Count a frame that is done."""
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
        """Return frames a second, from the first frame to the last."""
        if self._began is None or self._last <= self._began:
            return 0.0
        return (self.frames - 1) / (self._last - self._began)

    def milliseconds(self) -> dict[str, tuple[int, float, float]]:
        """Return for each stage that ran how often, and its median and 95th percentile in milliseconds."""
        with self._lock:
            kept = {name: (stage.count, list(stage.values)) for name, stage in self._stages.items() if stage.count}
        found = {}
        for name, (count, values) in kept.items():
            median, high = np.percentile(values, (50, 95)) * 1000
            found[name] = count, float(median), float(high)
        return found

    def lines(self) -> list[str]:
        """Return the panel: a head, a line a stage, frames a second, and how many were dropped."""
        rows = [f"{'milliseconds':<16}{'median':>8}{'95 %':>8}"]
        rows += [f"{name:<16}{_short(median):>8}{_short(high):>8}"
                 for name, (_, median, high) in self.milliseconds().items()]  # fmt: skip
        came = self.frames + self.dropped
        share = self.dropped / max(came, 1)
        return [*rows, f"{self.rate:.1f} frames/s", f"{self.dropped} of {came} dropped ({share:.1%})"]


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:.0f}"


class _Timed:
    """A landmarker whose looks are timed."""

    def __init__(self, inner: Landmarker, latency: Latency) -> None:
        self.inner, self.latency = inner, latency
        self.parameters = inner.parameters
        self.taken = 0.0

    def start(self, box: Box | None) -> None:
        self.inner.start(box)

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        begin = time.perf_counter()
        found = self.inner.find(seconds, picture)
        passed = time.perf_counter() - begin
        self.taken += passed
        self.latency.add("landmarks", passed)
        return found

    def people(self, picture: Picture) -> list[Points]:
        return self.inner.people(picture)

    def close(self) -> None:
        self.inner.close()


def timed_stream(
    extractor: Extractor, frames: Iterable[tuple[float, Picture]], *, fps: float, signer: Signer, latency: Latency
) -> Generator[Regions, None, None]:
    """Extract as `Extractor.stream` does, and count landmarks and crops; what the frames themselves take is neither."""
    inner = extractor.landmarker
    landmarker = _Timed(inner, latency)
    waited = 0.0

    def given() -> Iterator[tuple[float, Picture]]:
        nonlocal waited
        source = iter(frames)
        while True:
            begin = time.perf_counter()
            frame = next(source, None)
            waited += time.perf_counter() - begin
            if frame is None:
                return
            yield frame

    extractor.landmarker = landmarker
    try:
        stream = extractor.stream(given(), fps=fps, signer=signer)
        while True:
            begin, waited, landmarker.taken = time.perf_counter(), 0.0, 0.0
            regions = next(stream, None)
            if regions is None:
                return
            latency.add("crops", time.perf_counter() - begin - waited - landmarker.taken)
            latency.frame()
            yield regions
    finally:
        extractor.landmarker = inner


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
