"""Where pictures come from: a film, also at its own pace as if it were live, or a camera."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from slt.extraction.video import Film, Picture, frames_at, probe, read_frames, target_rate

# Before it is translated a camera is watched for so long, to choose the signer among the people there.
LOOK_SECONDS = 2.0


class Shot(NamedTuple):
    """A live picture."""

    seconds: float  # since the first one
    picture: Picture  # RGB (H, W, 3)
    taken: float  # when it was there to be looked at, by `time.perf_counter`
    decoding: float  # seconds that it took to decode


class Source(ABC):
    """What gives pictures, as time goes by."""

    path: Path | None = None  # of a film
    name: str  # for messages and files
    fps: float  # frames a second, nominally: dark pictures may come slower from a camera
    look_seconds: float  # of `pictures`

    @abstractmethod
    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        """Give single pictures for the choice of the signer, before all others."""

    @abstractmethod
    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give the pictures, each when it is due, until there are no more or `stop` is set.

        The second comes a frame's time after `ready` is set: whoever takes them opens its models with the first.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the device."""


class FilmSource(Source):
    """A film, at `fps` frames a second; None = its own, up to `max_fps`."""

    def __init__(self, path: Path, *, fps: float | None, max_fps: float) -> None:
        self.path: Path = path
        self.name = path.stem
        film = probe(path)
        self.fps = target_rate(film, fps, max_fps)
        self.look_seconds = film_length(film, self.fps)  # who signs is chosen out of all of it

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        return frames_at(self.path, seconds)

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give frame k at k / fps seconds."""
        frames, origin = read_frames(self.path, fps=self.fps), None
        while True:
            begin = time.perf_counter()
            frame = next(frames, None)
            now = time.perf_counter()
            if frame is None:
                return
            origin = now if origin is None else origin
            due = origin + frame[0]
            if stop.wait(max(0.0, due - now)):
                return
            yield Shot(*frame, max(now, due), now - begin)
            if not ready.is_set():
                ready.wait()
                origin = time.perf_counter()

    def close(self) -> None:
        pass


class FramesSource(Source):
    """Pictures in memory, or what stands for them: T of them at `fps` frames a second."""

    def __init__(self, frames: Any, *, fps: float, name: str) -> None:
        self.path, self.name, self.fps = Path(name), name, fps
        self.frames, self.look_seconds = frames, len(frames) / fps

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        places = [min(int(second * self.fps + 1e-6), len(self.frames) - 1) for second in seconds]
        return ((place / self.fps, self.frames[place]) for place in places)

    def timed(self) -> Iterator[tuple[float, Any]]:
        """Give each with its second."""
        return ((n / self.fps, frame) for n, frame in enumerate(self.frames))

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        raise NotImplementedError  # what is in memory has come already

    def close(self) -> None:
        pass


def film_length(film: Film, rate: float, limit: float = math.inf) -> float:
    """Return the seconds of a film; one that does not say them (a recorded stream) is read to its end, or `limit`."""
    if film.duration is not None:
        return film.duration
    count = 0
    for count, _ in enumerate(read_frames(film.path, fps=rate), 1):
        if count / rate > limit:
            break
    return count / rate


class LiveCamera(Source):
    """A source whose pictures come when they come."""

    def __init__(self, name: str, fps: float) -> None:
        self.name, self.fps, self.look_seconds = name, fps, LOOK_SECONDS
        self.ended = threading.Event()  # set by whoever wants no more of its pictures

    @abstractmethod
    def _grabs(self) -> Iterator[tuple[float, Callable[[], Picture]]]:
        """Wait for the next picture and the next; give when each was taken, and what returns it, RGB (H, W, 3)."""

    @abstractmethod
    def _earliest(self, earliest: float, seconds: float) -> float:
        """Return the second before which no picture is given, after one at `seconds` that had its own `earliest`."""

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        """Watch, and give the pictures at some seconds from now."""
        wanted, begin = deque(seconds), time.perf_counter()
        for taken, retrieve in self._grabs():
            if taken - begin >= wanted[0]:
                yield taken - begin, retrieve()
                wanted.popleft()
            if not wanted:
                return

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        origin, earliest = None, -0.25 / self.fps
        for taken, retrieve in self._grabs():
            if stop.is_set() or self.ended.is_set():
                return
            origin = taken if origin is None else origin
            seconds = taken - origin
            if seconds < earliest:
                continue
            earliest = self._earliest(earliest, seconds)
            begin = time.perf_counter()
            yield Shot(seconds, retrieve(), taken, time.perf_counter() - begin)
            if not ready.is_set():  # what came while the models were opened is past
                ready.wait()
                origin = time.perf_counter()


class Camera(LiveCamera):
    """A camera by its number, 0 the first; one faster than `max_fps` is asked to be slower, or else thinned to it."""

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
        self._device.release()

    def _earliest(self, earliest: float, seconds: float) -> float:
        # A quarter of a frame's room: cameras are not clocks. What is thinned here was never asked for.
        return max(earliest + 1 / self.fps, seconds - 0.25 / self.fps)

    def _grabs(self) -> Iterator[tuple[float, Callable[[], Picture]]]:
        while self._device.grab():
            yield time.perf_counter(), self._retrieve
        raise ValueError(f"source={self.number}: the camera gives no more pictures; is it still connected?")

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
