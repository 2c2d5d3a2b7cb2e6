"""The first stage: a film becomes a stream of upright RGB pictures at an even rate, one in memory at a time."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from slt.extraction.geometry import Picture
from slt.extraction.matroska import ends_within
from slt.extraction.pictures import Shown, progressive
from slt.files import needing

Item = TypeVar("Item")

# The next picture that is asked for is decoded up to when it is this near, in seconds, and else sought: about the
# distance of keyframes in films from the net.
REACH = 2.0
# A few bytes may say that a picture is larger than any memory; 8K has 35 million.
MOST_PIXELS = 36_000_000


@dataclass(frozen=True)
class Film:
    """What a film says of itself before its pictures are decoded; times from its beginning, None = it does not say."""

    path: Path
    fps: float  # on average, as the container gives it
    duration: float | None  # seconds to the end of the picture
    end: float | None = None  # seconds to the end of all of it; a sound track may be longer than the picture


def end_room(fps: float) -> float:
    """Return how many seconds after its film a cut may end: captions are timed by the sound, which goes on."""
    return max(0.1, 0.5 / fps)


@dataclass(frozen=True)
class Cut:
    """A part of a film, or all of it, read `fps` times a second."""

    path: Path
    fps: float
    start: float
    end: float | None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.until or self.end == math.inf:
            raise ValueError(f"{self} has no length in a film, whose times begin at 0; mend its times")

    @property
    def until(self) -> float:
        return math.inf if self.end is None else self.end

    def at(self, k: int) -> float:
        return self.start + k / self.fps

    def __str__(self) -> str:
        return f"{self.path}: the cut from {self.start:g} s to {'the end' if self.end is None else f'{self.end:g} s'}"


def probe(path: Path | str) -> Film:
    """Read the rate and the length of a film without decoding it."""
    path = Path(path)
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise ValueError(f"{path}: the film does not say its frame rate; export it again, for example as mp4")
        origin = _origin(container) or 0.0
        end = container.duration / 1e6 if container.duration else None
        if end is not None and container.format.name.startswith("matroska"):  # there it is a time, elsewhere a length
            end = end - origin if end > origin else None
        duration = _duration(container, stream, origin, end)
        if container.format.name == "gif" and duration:
            # A gif's stated rate is that of its shortest delay, rounded to 10 ms; its pictures are few enough to count.
            rate = sum(1 for packet in container.demux(stream) if packet.size) / duration
        return Film(path, float(rate), duration, end)


def target_rate(film: Film, fps: float | None, max_fps: float) -> float:
    return float(fps) if fps is not None else min(film.fps, max_fps)


def read_frames(
    path: Path | str,
    *,
    fps: float,
    start: float | None = None,
    end: float | None = None,
    notes: list[str] | None = None,
) -> Iterator[tuple[float, Picture]]:
    """Stream a film, or a cut of it, as (seconds, RGB picture (H, W, 3)) as a player shows them, `fps` a second.

    Times count from where the earlier of sound and picture begins. Frame k is what stands at start + k / fps, the first
    picture also before its time, the last as long as the film goes on; a quarter of a picture's time is given to
    rounded timestamps, so that a cut gives the very pictures of the whole film. `notes` takes what was done to the
    pictures.
    """
    cut = Cut(Path(path), fps, start or 0.0, end)
    film, notes = probe(cut.path), [] if notes is None else notes
    room, slack = _room(film, fps), 0.25 / fps  # the end is not one more picture
    stop = max(cut.until - slack, cut.start + 1e-9)  # the shortest cut has one picture
    held: Shown | None = None
    k, reached = 0, 0.0
    for reached, shown in _pictures(cut.path, cut.start):
        if held is None and reached >= cut.until:
            raise ValueError(f"{cut} ends before the film's first picture at {reached:.2f} s; mend its times")
        held = held or shown
        while cut.at(k) + room < reached and cut.at(k) < stop:
            yield k / fps, held.finished(notes)
            k += 1
        if cut.at(k) >= stop:
            return
        held = shown
    assert held is not None
    ends = _end(film, reached, held)
    last = ends if end is None else max(ends, film.end or 0)
    while cut.start < ends and cut.at(k) < (stop if cut.until <= last else last - slack):
        yield k / fps, held.finished(notes)
        k += 1
    _check_whole(cut, film, reached, ends)
    if not k or (end is not None and last < cut.until - end_room(film.fps)):
        last = last if k else ends
        raise ValueError(f"{cut} goes past the end of the film at {last:.2f} s; mend its times or take the right film")


def _end(film: Film, reached: float, last: Shown) -> float:
    """Return when the last picture, which began at `reached`, ends; that of a variable rate may stand for long."""
    usual, said = reached + 1 / film.fps, reached + last.duration
    return said if usual + 0.5 / film.fps < said <= (film.duration or 0) + 0.5 / film.fps else usual


def _check_whole(cut: Cut, film: Film, reached: float, ends: float) -> None:
    room = end_room(film.fps)
    # A film whose download was cut still opens, says its full length and merely stops.
    early = film.duration is not None and ends - 1 / film.fps < 0.9 * film.duration - 2 / min(cut.fps, film.fps)
    if early and (cut.end is None or ends < min(cut.until, film.duration or 0) - room):
        raise ValueError(
            f"{cut.path}: the pictures end after {max(reached, 0):.2f} s of {film.duration:.2f} s: cut short, copy it"
        )
    if ends < cut.until - room and ends_within(cut.path):
        raise ValueError(
            f"{cut.path}: the file ends within a block after {reached:.2f} s: copy it again; if this is all there is, "
            "`ffmpeg -i FILM -c copy NEW` makes a whole one of it"
        )


def frames_at(
    path: Path | str, seconds: Sequence[float], *, start: float | None = None
) -> Iterator[tuple[float, Picture]]:
    """Give single pictures of a film: for each of `seconds`, (that second, the RGB picture (H, W, 3) on show then).

    They count from `start`, in any order; past either end it is the first or the last picture.
    """
    path = Path(path)
    room = _room(probe(path))
    stream: Iterator[tuple[float, Shown]] = iter(())
    held: tuple[float, Shown] | None = None
    after: tuple[float, Shown] | None = None
    for second in seconds:
        goal = (start or 0.0) + second + room
        if held is None or goal < held[0] or (after is not None and goal > after[0] + REACH):
            stream = _pictures(path, max(goal, 0.0))
            held, after = next(stream), next(stream, None)
        while after is not None and after[0] <= goal:
            held, after = after, next(stream, None)
        yield second, held[1].finished([])


def _room(film: Film, fps: float = 0.0) -> float:
    """Return by how many seconds a picture may come late: timestamps are rounded, in a gif to 10 ms."""
    return 0.25 / max(film.fps, fps) + 1e-6


def sample(items: Iterable[tuple[float, Item]], *, fps: float, last_duration: float) -> Iterator[tuple[float, Item]]:
    """Choose for each k / fps of (seconds, item) the nearest in time; the last stays for `last_duration` seconds."""
    k = 0
    origin: float | None = None
    held: tuple[float, Item] | None = None
    for seconds, item in items:
        origin = seconds if origin is None else origin
        seconds -= origin
        while held is not None and k / fps <= (held[0] + seconds) / 2 + 1e-6:
            yield k / fps, held[1]
            k += 1
        held = seconds, item
    while held is not None and k / fps < held[0] + last_duration - 0.25 / fps:  # the end is not one more item
        yield k / fps, held[1]
        k += 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    with needing("reading films needs PyAV", extra="media"):
        import av
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such film")
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # tags in latin-1 are no fault of the film
            streams = moving(container)
            if not streams:
                raise ValueError(f"{path}: no picture in this file, only {[s.type for s in container.streams]}")
            # One thread decodes beside whoever takes the pictures. FFmpeg's own choice, a thread a core, each with its
            # pictures, gains nothing where a process a core runs, and at 720p takes 288 MB with 64 of them, not 73.
            streams[0].thread_type, streams[0].thread_count = "AUTO", 2
            if streams[0].codec_context is None:
                raise ValueError(f"{path}: FFmpeg does not know the code of the pictures; export it again, as mp4")
            streams[0].codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            yield container, streams[0]
    except av.error.FFmpegError as error:  # raised by what stands in the caller's `with` too: decoding
        raise ValueError(f"{path}: not a film that can be read ({error.strerror}); export or copy it again") from error


def _duration(container: Any, stream: Any, origin: float, end: float | None) -> float | None:
    """Return when the picture ends: Matroska has it in a tag, `00:01:02.500000000`, or only the end of the whole."""
    if stream.duration:
        begin = origin / stream.time_base if stream.start_time is None else stream.start_time
        return float((begin + stream.duration) * stream.time_base) - origin
    tags = [value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")]
    if tags and (match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tags[0])):
        time = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
        return time - origin if time > origin else time
    return end if len(container.streams) == 1 else None


def _origin(container: Any) -> float | None:
    """Return a player's 0 in seconds of the file: where sound or picture begins. FFmpeg's may be that of a subtitle."""
    streams = (*moving(container), *container.streams.audio)
    starts = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None]
    return min(starts, default=None)


def moving(container: Any) -> list[Any]:
    """Return the streams of pictures, without those that are one, as the cover of a sound file is."""
    import av

    covers = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & covers]


def _pictures(path: Path, since: float) -> Iterator[tuple[float, Shown]]:
    """Decode (seconds after the film's beginning, picture) from one that stands at `since` on, or from the first."""
    with _opened(path) as (container, stream):
        timed = _timed(path, container, stream)
        begin, shown = next(timed, (0.0, None))
        if shown is None:
            raise ValueError(f"{path}: the film holds no picture; remove it or export it again")
        origin = begin if (known := _origin(container)) is None else min(known, begin)
        height, width, _ = shown.upright().shape

        def clocked(items: Iterable[tuple[float, Shown]]) -> Iterator[tuple[float, Shown]]:
            return ((time - origin, item._replace(size=(width, height))) for time, item in items)

        begin -= origin
        # AVI counts pictures, and counts wrongly after a seek where they are reordered.
        counted = container.format.name == "avi" and stream.codec_context.has_b_frames
        if since - begin < 0.5 or counted:  # so near to the beginning, seeking saves nothing
            yield from clocked(chain([(begin + origin, shown)], timed))
            return
        for back in (0, 0.25, 0.5, 1, 2, 4, 8, 16):
            sought = clocked(_sought(path, container, stream, origin + max(since - back, begin)))
            time, shown = next(sought, (math.inf, None))
            # A keyframe is sought by when it is decoded, which is before it is shown: that may be after `since`.
            if time <= since and shown is not None:
                yield time, shown
                yield from sought
                return
            if back >= since - begin:
                break
    with _opened(path) as (container, stream):  # opened anew: not every format goes back to its beginning
        yield from clocked(_timed(path, container, stream))


def _sought(path: Path, container: Any, stream: Any, time: float) -> Iterator[tuple[float, Shown]]:
    """Decode from the keyframe that the container has for `time`; nothing where it cannot say."""
    try:
        container.seek(round(time / stream.time_base), stream=stream)
    except OSError:  # PyAV's name for "this format cannot"; decoding from the first picture is left
        return
    for n, (time, shown) in enumerate(_timed(path, container, stream)):
        if n or not shown.fielded:
            yield time, shown


def _timed(path: Path, container: Any, stream: Any) -> Iterator[tuple[float, Shown]]:
    last = float("-inf")
    for frame, fielded in progressive(_decoded(path, container, stream)):
        if frame.time > last:  # what is shown for no time at all was not seen by anybody
            last = frame.time
            duration = float(frame.duration * frame.time_base)
            yield last, Shown(path, frame, duration, stream.sample_aspect_ratio, fielded)


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    times: deque[int] = deque()
    counted = container.format.name == "avi"
    for packet in container.demux(stream):
        if counted and packet.size and packet.dts is not None:
            times.append(packet.dts)
        for frame in packet.decode():
            # AVI has only times of decoding. Pictures come out in order, so the n-th shown has the n-th time.
            if counted and times:
                frame.pts, frame.time_base = times.popleft(), stream.time_base
            if frame.time is None:
                raise ValueError(f"{path}: a picture without a timestamp; export it again as mp4")
            yield frame
