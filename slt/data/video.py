"""The first stage: a film becomes a stream of upright RGB pictures at an even rate, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Film:
    """What a film says of itself before its pictures are decoded.

    Attributes:
        path: the file.
        fps: frames/s on average, as the container gives it.
        duration: seconds of picture, None where the container does not say.
    """

    path: Path
    fps: float
    duration: float | None


def probe(path: Path | str) -> Film:
    """Read the rate and the length of a film without decoding it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a film that FFmpeg reads, or a file without a picture.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        film = _film(path, stream)
        if container.format.name == "gif" and film.duration:
            # A gif's stated rate is that of its shortest delay, rounded to 10 ms; its pictures are few enough to count.
            film = replace(film, fps=sum(1 for packet in container.demux(stream) if packet.size) / film.duration)
        return film


def target_rate(film: Film, fps: float | None, max_fps: float) -> float:
    """Return the frames/s at which a film is read: `fps` where that is set, else the film's own up to `max_fps`."""
    return float(fps) if fps is not None else min(film.fps, max_fps)


def read_frames(path: Path | str, *, fps: float) -> Iterator[tuple[float, Picture]]:
    """Stream a film as (seconds, RGB picture (H, W, 3)), upright, with square pixels, `fps` pictures a second.

    Frame k shows the film at k / fps seconds after its first picture. It is chosen by timestamps, so that a film of
    variable rate keeps its pace and sound, and a film read at its own rate gives each of its pictures once.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a film, no picture in it, a picture that cannot be decoded, or a film that ends early.
    """
    path = Path(path)
    if fps <= 0:
        raise ValueError(f"{path}: the target rate must be above 0 frames/s, came {fps}")
    with _opened(path) as (container, stream):
        film = _film(path, stream)
        last = -1.0
        pictures = _timed(path, container, stream)
        for seconds, frame in sample(pictures, fps=fps, last_duration=1 / film.fps):
            last = seconds
            yield seconds, _upright(frame, stream.sample_aspect_ratio)
    if last < 0:
        raise ValueError(f"{path}: the film holds no picture; remove it or export it again")
    # A film whose download was cut still opens, says its full length and merely stops.
    if film.duration is not None and last < 0.9 * film.duration - 2 / min(fps, film.fps):
        raise ValueError(
            f"{path}: the pictures end after {last:.2f} s of {film.duration:.2f} s; the file is cut short, "
            "copy it again"
        )


def sample(items: Iterable[tuple[float, Item]], *, fps: float, last_duration: float) -> Iterator[tuple[float, Item]]:
    """Choose for each instant k / fps the item that lies nearest in time.

    Args:
        items: (seconds, item) in the order of time; the first is the origin of the instants.
        fps: instants a second.
        last_duration: seconds for which the last item is on show.
    """
    k = 0
    origin = held_at = 0.0
    held: Item | None = None
    for seconds, item in items:
        if held is None:
            origin = seconds
        seconds -= origin
        while held is not None and k / fps <= (held_at + seconds) / 2:
            yield k / fps, held
            k += 1
        held, held_at = item, seconds
    # A quarter of an instant's room: timestamps are rounded (in a gif to 10 ms), and the end is not one more picture.
    while held is not None and k / fps < held_at + last_duration - 0.25 / fps:
        yield k / fps, held
        k += 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'reading films needs PyAV: pip install "slt[media]" ({error})') from error
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such film")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: no picture in this file, only {[s.type for s in container.streams]}")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except av.error.FFmpegError as error:  # raised by what stands in the caller's `with` too: decoding
        raise ValueError(f"{path}: not a film that can be read ({error.strerror}); export or copy it again") from error


def _film(path: Path, stream: Any) -> Film:
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise ValueError(f"{path}: the film does not say its frame rate; export it again, for example as mp4")
    duration = float(stream.duration * stream.time_base) if stream.duration else None
    return Film(path, float(rate), duration)


def _timed(path: Path, container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    last = float("-inf")
    for frame in container.decode(stream):
        if frame.time is None:
            raise ValueError(f"{path}: a picture without a timestamp after {last:.2f} s; export it again as mp4")
        if frame.time > last:  # what is shown for no time at all was not seen by anybody
            last = frame.time
            yield last, frame


def _upright(frame: Any, pixel_shape: Fraction | None) -> Picture:
    picture: Picture = frame.to_ndarray(format="rgb24")
    if pixel_shape and pixel_shape != 1:
        width = round(picture.shape[1] * float(pixel_shape))
        picture = np.asarray(cv2.resize(picture, (width, picture.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    turns = round(frame.rotation / 90) % 4  # telephones store a standing film lying, with the turn beside it
    return np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)
