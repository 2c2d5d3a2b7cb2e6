"""Where live pictures come from: a camera, or a film that is played at its own pace as if it were one."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from slt.extraction.signers import Pictures
from slt.extraction.video import Picture, frames_at, probe, read_frames, target_rate
from slt.inference.films import film_length

# Before it is translated a camera is watched for so long, to choose the signer among the people there.
LOOK_SECONDS = 2.0


class Shot(NamedTuple):
    """A live picture."""

    seconds: float  # since the first one
    picture: Picture  # RGB (H, W, 3)
    taken: float  # when it was there to be looked at, by `time.perf_counter`
    decoding: float  # seconds that it took to decode


class LiveSource(Protocol):
    """What gives pictures as time goes by."""

    name: str  # for messages and files
    fps: float  # frames a second, nominally: dark pictures may come slower from a camera
    look_seconds: float  # of `pictures`

    def pictures(self, seconds: Sequence[float]) -> Iterable[tuple[float, Picture]]:
        """Give single pictures for the choice of the signer, before `shots`."""

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give the pictures, each when it is due, until there are no more or `stop` is set.

        The second comes a frame's time after `ready` is set: whoever takes them opens its models with the first.
        """

    def close(self) -> None:
        """Free the device."""


class Pace:
    """The clock of a live source: it begins with the first picture, and again when `ready` is set."""

    def __init__(self, ready: threading.Event) -> None:
        self._ready, self._origin = ready, 0.0
        self._running = False

    def origin(self, now: float) -> float:
        """Return when second 0 was."""
        if not self._running:
            self._running, self._origin = True, now
        return self._origin

    def given(self) -> None:
        """Wait after the first picture; what came while the models were opened is past."""
        if not self._ready.is_set():
            self._ready.wait()
            self._origin = time.perf_counter()


class PacedFilm:
    """A film at its own pace, which is `fps` frames a second; None = its own, up to `max_fps`.

    Raises:
        FileNotFoundError, ValueError: no such film, or none that can be read.
    """

    def __init__(self, path: Path, *, fps: float | None, max_fps: float) -> None:
        self.path, self.name = path, path.stem
        film = probe(path)
        self.fps = target_rate(film, fps, max_fps)
        # Who signs is chosen as the extraction of this film chooses: out of all of it.
        self.look_seconds = film_length(film, self.fps)
        self.pictures: Pictures = partial(frames_at, path)

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give frame k at k / fps seconds."""
        frames, pace = read_frames(self.path, fps=self.fps), Pace(ready)
        while True:
            begin = time.perf_counter()
            frame = next(frames, None)
            now = time.perf_counter()
            if frame is None:
                return
            due = pace.origin(now) + frame[0]
            if stop.wait(max(0.0, due - now)):
                return
            yield Shot(*frame, max(now, due), now - begin)
            pace.given()

    def close(self) -> None:
        """Nothing is open between the pictures."""


class LiveCamera(ABC):
    """A live source whose pictures come when they come; `name` and `fps` as in `LiveSource`."""

    def __init__(self, name: str, fps: float) -> None:
        self.name, self.fps, self.look_seconds = name, fps, LOOK_SECONDS

    @abstractmethod
    def _grab(self) -> float | None:
        """Wait for the next picture; return when it was taken, None where none come any more."""

    @abstractmethod
    def _retrieve(self) -> Picture:
        """Return the picture that was grabbed, RGB (H, W, 3)."""

    @abstractmethod
    def _earliest(self, earliest: float, seconds: float) -> float:
        """Return the second before which no picture is given, after one at `seconds` that had its own `earliest`."""

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        """Watch, and give the pictures at some seconds from now."""
        begin = time.perf_counter()
        for second in seconds:
            while (taken := self._grab()) is not None and taken - begin < second:
                pass
            if taken is None:
                return
            yield taken - begin, self._retrieve()

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give pictures until `stop` is set or none come any more."""
        pace, earliest = Pace(ready), -0.25 / self.fps
        while not stop.is_set() and (taken := self._grab()) is not None:
            seconds = taken - pace.origin(taken)
            if seconds < earliest:
                continue
            earliest = self._earliest(earliest, seconds)
            begin = time.perf_counter()
            yield Shot(seconds, self._retrieve(), taken, time.perf_counter() - begin)
            pace.given()


class Camera(LiveCamera):
    """A camera by its number, 0 the first; a faster one than `max_fps` is asked to be slower, and else thinned to it.

    Raises:
        ValueError: no such camera, or it gives no picture.
    """

    def __init__(self, number: int, *, max_fps: float) -> None:
        self.number = number
        with _silent():
            self._device: Any = cv2.VideoCapture(number)
        if not self._device.isOpened() or not self._device.grab():
            self._device.release()
            raise ValueError(
                f"source={number}: no camera with this number gives a picture here; is it connected, and not in use by "
                "another program? A film's path can stand in its place"
            )
        self._device.set(cv2.CAP_PROP_FPS, max_fps)
        self._device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what waits in the driver would be shown late
        stated = float(self._device.get(cv2.CAP_PROP_FPS))
        super().__init__(f"camera{number}", min(stated if 1 <= stated <= 1000 else max_fps, max_fps))

    def close(self) -> None:
        """Let others use the camera."""
        self._device.release()

    def _earliest(self, earliest: float, seconds: float) -> float:
        # A quarter of a frame's room: cameras are not clocks. What is thinned here was never asked for.
        return max(earliest + 1 / self.fps, seconds - 0.25 / self.fps)

    def _grab(self) -> float:
        if not self._device.grab():
            raise ValueError(f"source={self.number}: the camera gives no more pictures; is it still connected?")
        return time.perf_counter()

    def _retrieve(self) -> Picture:
        there, picture = self._device.retrieve()
        if not there:
            raise ValueError(f"source={self.number}: the camera gave a picture that cannot be read")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCV tells standard error of every way in which it cannot open a camera; our message says it once."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
