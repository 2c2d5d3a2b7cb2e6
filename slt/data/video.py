"""The first stage: a film becomes a stream of upright RGB pictures at an even rate, one in memory at a time."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Item = TypeVar("Item")

# Captions are timed by the sound, whose track commonly ends a little after the last picture: so many seconds after it
# a cut may still end (or half a picture's time, where that is more).
END_ROOM = 0.1
# The next picture that is asked for is decoded up to when it is this near, in seconds, and else sought: about the
# distance of keyframes in films from the net.
REACH = 2.0


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
        film = _film(path, container, stream)
        if container.format.name == "gif" and film.duration:
            # A gif's stated rate is that of its shortest delay, rounded to 10 ms; its pictures are few enough to count.
            film = replace(film, fps=sum(1 for packet in container.demux(stream) if packet.size) / film.duration)
        return film


def target_rate(film: Film, fps: float | None, max_fps: float) -> float:
    """Return the frames/s at which a film is read: `fps` where that is set, else the film's own up to `max_fps`."""
    return float(fps) if fps is not None else min(film.fps, max_fps)


def read_frames(
    path: Path | str, *, fps: float, start: float | None = None, end: float | None = None
) -> Iterator[tuple[float, Picture]]:
    """Stream a film, or a cut of it, as (seconds, RGB picture (H, W, 3)), upright, with square pixels, `fps` a second.

    Times in the film count from its first picture. Frame k shows the film at start + k / fps. It is chosen by
    timestamps, so that a film of variable rate keeps its pace and sound, a film read at its own rate gives each of its
    pictures once, and a cut gives the very pictures that the whole film gives there. Of a cut only its pictures and
    those back to the keyframe before it are decoded.

    Args:
        path: the film.
        fps: pictures a second.
        start: where a cut begins, seconds; None = the film's first picture.
        end: where it ends, seconds; None = the film's end. It may lie past that by `END_ROOM`, and then the cut ends
            with the film.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a film, no picture in it, a picture that cannot be decoded, a film that ends early, or a cut of
            no length or past the film's end.
    """
    path = Path(path)
    if fps <= 0:
        raise ValueError(f"{path}: the target rate must be above 0 frames/s, came {fps}")
    first, until = start or 0.0, math.inf if end is None else end
    cut = f"{path}: the cut from {first:g} s to {'the end' if end is None else f'{end:g} s'}"
    if not (0 <= first < math.inf) or math.isnan(until) or (end is not None and math.isinf(end)) or until <= first:
        raise ValueError(f"{cut} has no length in a film, whose times begin at 0; mend its times")
    film = probe(path)
    reached = -math.inf
    given = 0

    def pictures() -> Iterator[tuple[float, _Shown]]:
        nonlocal reached
        for seconds, shown in _pictures(path, first):
            reached = seconds
            yield seconds - first, shown
            if seconds >= until:
                return
        # The last picture of a variable rate may stand for long, and is then given twice: where it begins and ends.
        stays = reached + shown.duration - 1 / film.fps
        if reached + 0.5 / film.fps < stays <= (film.duration or 0) - 0.5 / film.fps:
            reached = stays
            yield stays - first, shown

    for seconds, shown in sample(pictures(), fps=fps, last_duration=1 / film.fps, origin=0.0, length=until - first):
        given += 1
        yield seconds, _upright(shown)
    last = reached + 1 / film.fps
    room = max(END_ROOM, 0.5 / film.fps)
    # A film whose download was cut still opens, says its full length and merely stops.
    early = film.duration is not None and reached < 0.9 * film.duration - 2 / min(fps, film.fps)
    if early and (end is None or last < min(until, film.duration or 0) - room):
        raise ValueError(
            f"{path}: the pictures end after {max(reached, 0):.2f} s of {film.duration:.2f} s; the file is cut short, "
            "copy it again"
        )
    if not given or (end is not None and last < until - room):
        raise ValueError(f"{cut} goes past the end of the film at {last:.2f} s; mend its times or take the right film")


def frames_at(
    path: Path | str, seconds: Sequence[float], *, start: float | None = None
) -> Iterator[tuple[float, Picture]]:
    """Give single pictures of a film: for each of `seconds`, (that second, the RGB picture (H, W, 3) nearest to it).

    Each picture is decoded when it is asked for, and little more than it: keyframes lead over what lies between.

    Args:
        path: the film.
        seconds: in any order; ascending is fastest. Before the first picture it is the first, past the last the last.
        start: where a cut begins, from which `seconds` count; None = the film's first picture.

    Raises:
        FileNotFoundError, ValueError: as in `read_frames`.
    """
    path = Path(path)
    stream: Iterator[tuple[float, _Shown]] = iter(())
    before: tuple[float, _Shown] | None = None
    after: tuple[float, _Shown] | None = None
    for second in seconds:
        goal = (start or 0.0) + second
        known = before or after
        if known is None or goal < known[0] or (after is not None and goal > after[0] + REACH):
            stream = _pictures(path, max(goal, 0.0))
            before, after = None, next(stream)
        while after is not None and after[0] < goal:
            before, after = after, next(stream, None)
        near = min((item for item in (before, after) if item), key=lambda item: abs(item[0] - goal))
        yield second, _upright(near[1])


def sample(
    items: Iterable[tuple[float, Item]],
    *,
    fps: float,
    last_duration: float,
    origin: float | None = None,
    length: float = math.inf,
) -> Iterator[tuple[float, Item]]:
    """Choose for each instant k / fps after `origin` the item that lies nearest in time.

    Args:
        items: (seconds, item) in the order of time.
        fps: instants a second.
        last_duration: seconds for which the last item is on show.
        origin: seconds of the first instant; None = those of the first item.
        length: seconds after `origin` in which instants lie.
    """
    k = 0
    held_at = 0.0
    held: Item | None = None
    # A quarter of an instant's room: timestamps are rounded (in a gif to 10 ms), and the end is not one more picture.
    room = 0.25 / fps
    stop = max(length - room, 1e-9)  # the shortest cut has one picture
    for seconds, item in items:
        origin = seconds if origin is None else origin
        seconds -= origin
        # Within a microsecond of the middle it is the earlier item: the same for a cut and for the whole.
        while held is not None and k / fps <= (held_at + seconds) / 2 + 1e-6 and k / fps < stop:
            yield k / fps, held
            k += 1
        held, held_at = item, seconds
    while held is not None and k / fps < min(held_at + last_duration - room, stop):
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
        with av.open(str(path), metadata_errors="replace") as container:  # tags in latin-1 are no fault of the film
            # The cover of a sound file is a stream of one picture.
            covers = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & covers]
            if not streams:
                raise ValueError(f"{path}: no picture in this file, only {[s.type for s in container.streams]}")
            # One thread decodes beside whoever takes the pictures. FFmpeg's own choice, a thread a core, each with its
            # pictures, gains nothing where a process a core runs, and at 720p takes 288 MB with 64 of them, not 73.
            streams[0].thread_type, streams[0].thread_count = "AUTO", 2
            yield container, streams[0]
    except av.error.FFmpegError as error:  # raised by what stands in the caller's `with` too: decoding
        raise ValueError(f"{path}: not a film that can be read ({error.strerror}); export or copy it again") from error


def _film(path: Path, container: Any, stream: Any) -> Film:
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise ValueError(f"{path}: the film does not say its frame rate; export it again, for example as mp4")
    return Film(path, float(rate), _duration(container, stream))


def _duration(container: Any, stream: Any) -> float | None:
    """Return the seconds of picture: Matroska has them in a tag, `00:01:02.500000000`, or only those of the whole."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tags = [value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")]
    if tags and (match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tags[0])):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    alone = len(container.streams) == 1  # a sound track may be longer than the picture
    return container.duration / 1e6 if container.duration and alone else None


class _Shown(NamedTuple):
    frame: Any
    duration: float
    pixel_shape: Fraction | None


def _pictures(path: Path, since: float) -> Iterator[tuple[float, _Shown]]:
    """Decode (seconds after the film's first picture, picture) from a keyframe at or before `since`, or from the first.

    Raises:
        ValueError: no picture.
    """
    with _opened(path) as (container, stream):
        timed = _timed(path, container, stream)
        origin, shown = next(timed, (0.0, None))
        if shown is None:
            raise ValueError(f"{path}: the film holds no picture; remove it or export it again")
        if since < 0.5 or not _seeks(container, stream):  # so near to the beginning, seeking saves nothing
            yield 0.0, shown
            yield from ((time - origin, shown) for time, shown in timed)
            return
        for back in (0, 0.25, 0.5, 1, 2, 4, 8, 16):
            sought = _sought(path, container, stream, origin + max(since - back, 0))
            time, shown = next(sought, (math.inf, None))
            # A keyframe is sought by when it is decoded, which is before it is shown: that may be after `since`.
            if time - origin <= since and shown is not None:
                yield time - origin, shown
                yield from ((time - origin, shown) for time, shown in sought)
                return
            if back >= since:
                break
    with _opened(path) as (container, stream):  # opened anew: not every format goes back to its beginning
        yield from ((time - origin, shown) for time, shown in _timed(path, container, stream))


def _seeks(container: Any, stream: Any) -> bool:
    """Tell whether pictures keep their times over a seek: in AVI they are counted where they are reordered."""
    return not (container.format.name == "avi" and stream.codec_context.has_b_frames)


def _sought(path: Path, container: Any, stream: Any, time: float) -> Iterator[tuple[float, _Shown]]:
    """Decode from the keyframe that the container has for `time`; nothing where it cannot say.

    Pictures of an open group that refer to what came before the keyframe are left out by the decoder.
    """
    try:
        container.seek(round(time / stream.time_base), stream=stream)
    except OSError:  # PyAV's name for "this format cannot"; decoding from the first picture is left
        return
    yield from _timed(path, container, stream)


def _timed(path: Path, container: Any, stream: Any) -> Iterator[tuple[float, _Shown]]:
    """Yield (seconds as the file has them, picture) in the order of time."""
    last = float("-inf")
    times: deque[int] = deque()
    counted = container.format.name == "avi"
    for packet in container.demux(stream):
        if counted and packet.size and packet.dts is not None:
            times.append(packet.dts)
        for frame in packet.decode():
            # AVI has only times of decoding. Pictures come out in order, so the n-th shown has the n-th time.
            time = float(times.popleft() * stream.time_base) if counted and times else frame.time
            if time is None:
                raise ValueError(f"{path}: a picture without a timestamp after {last:.2f} s; export it again as mp4")
            if time > last:  # what is shown for no time at all was not seen by anybody
                last = time
                yield last, _Shown(frame, float(frame.duration * stream.time_base), stream.sample_aspect_ratio)


def _upright(shown: _Shown) -> Picture:
    frame, _, pixel_shape = shown
    picture: Picture = frame.to_ndarray(format="rgb24")
    if pixel_shape and pixel_shape != 1:
        width = round(picture.shape[1] * float(pixel_shape))
        picture = np.asarray(cv2.resize(picture, (width, picture.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    turns = round(frame.rotation / 90) % 4  # telephones store a standing film lying, with the turn beside it
    return np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)
