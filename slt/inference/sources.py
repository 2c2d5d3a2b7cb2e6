"""Where live pictures come from: a camera, or a film that is played at its own pace as if it were one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
    """A live picture.

    Attributes:
        seconds: since the first one.
        picture: RGB (H, W, 3).
        taken: when it was there to be looked at, by `time.perf_counter`.
        decoding: seconds that it took to decode.
    """

    seconds: float
    picture: Picture
    taken: float
    decoding: float


class LiveSource(Protocol):
    """What gives pictures as time goes by.

    Attributes:
        name: for messages and files.
        fps: frames a second, nominally: dark pictures may come slower from a camera.
        look_seconds: of `pictures`.
    """

    name: str
    fps: float
    look_seconds: float

    def pictures(self, seconds: Sequence[float]) -> Iterable[tuple[float, Picture]]:
        """Give single pictures for the choice of the signer, before `shots`."""

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give the pictures, each when it is due, until there are no more or `stop` is set.

        The second comes a frame's time after `ready` is set: whoever takes them opens its models with the first.
        """

    def close(self) -> None:
        """Free the device."""


class PacedFilm:
    """A film at its own pace.

    Args:
        path: the film.
        fps: frames a second; None = its own, up to `max_fps`.
        max_fps: see `fps`.

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
        frames = read_frames(self.path, fps=self.fps)
        origin: float | None = None
        while True:
            begin = time.perf_counter()
            frame = next(frames, None)
            now = time.perf_counter()
            if frame is None:
                return
            origin = now if origin is None else origin
            if stop.wait(max(0.0, origin + frame[0] - now)):
                return
            yield Shot(frame[0], frame[1], max(now, origin + frame[0]), now - begin)
            if not ready.is_set():
                ready.wait()
                origin = time.perf_counter()

    def close(self) -> None:
        """Nothing is open between the pictures."""


class Camera:
    """A camera by its number.

    Args:
        number: 0 is the first.
        max_fps: a faster camera is asked to be slower, and else thinned to it.

    Raises:
        ValueError: no such camera, or it gives no picture.
    """

    def __init__(self, number: int, *, max_fps: float) -> None:
        self.name, self.look_seconds = f"camera{number}", LOOK_SECONDS
        self.number, self.max_fps = number, max_fps
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
        self.fps = min(stated if 1 <= stated <= 1000 else max_fps, max_fps)

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        """Watch, and give the pictures at some seconds from now."""
        begin = time.perf_counter()
        for second in seconds:
            while True:
                taken = self._grab()
                if taken - begin >= second:
                    break
            yield taken - begin, self._retrieve()

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give pictures until `stop` is set."""
        origin: float | None = None
        due = 0.0
        while not stop.is_set():
            taken = self._grab()
            origin = taken if origin is None else origin
            seconds = taken - origin
            # A quarter of a frame's room: cameras are not clocks. What is thinned here was never asked for.
            if seconds < due - 0.25 / self.fps:
                continue
            due = max(due + 1 / self.fps, seconds)
            begin = time.perf_counter()
            yield Shot(seconds, self._retrieve(), taken, time.perf_counter() - begin)
            if not ready.is_set():
                ready.wait()
                origin = time.perf_counter()

    def close(self) -> None:
        """Let others use the camera."""
        self._device.release()

    def _grab(self) -> float:
        if not self._device.grab():
            raise ValueError(f"source={self.number}: the camera gives no more pictures; is it still connected?")
        return time.perf_counter()

    def _retrieve(self) -> Picture:
        there, picture = self._device.retrieve()
        if not there:
            raise ValueError(f"source={self.number}: the camera gave a picture that cannot be read")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


class _silent:
    """OpenCV tells standard error of every way in which it cannot open a camera; our message says it once."""

    def __enter__(self) -> None:
        self._level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def __exit__(self, *_: object) -> None:
        cv2.utils.logging.setLogLevel(self._level)
