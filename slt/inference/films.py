"""A film to timed sentences: extracted, cut into signing, translated, and drawn on (T frames)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import Box
from slt.extraction.regions import STREAMS, Extractor, Regions
from slt.extraction.video import Film, Picture, frames_at, probe, read_frames, target_rate
from slt.inference.inputs import inputs_from_regions
from slt.inference.latency import Latency, timed_frames
from slt.inference.onnx import SentenceTranslator
from slt.inference.overlay import Found, Overlay, film_text, sentence_at
from slt.inference.recorder import Recorder
from slt.inference.segments import Segment, Segmentation, Segmenter, cut, keep_model_crops
from slt.inference.subtitles import Caption, write_subtitles
from slt.streams.pose import shoulders_seen

# As one clip a film is in memory until its end (at 30 frames/s and crops of 224 pixels 14 MB a second), and no sentence
# is longer.
LONGEST_CLIP = 120.0
# A caller hears of progress so many times a second of film.
UPDATES = 4
MARKED = (*STREAMS, "pose")
# What is written of a film, beside each other under its name.
ENDINGS = ("mp4", "srt", "vtt")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How films and cameras are read, cut and translated: keys of `conf/demo.yaml`, which says more."""

    fps: float | None
    max_fps: float
    segments: str | None  # "whole", "auto"; None: whole up to `whole_seconds`, else auto
    whole_seconds: float
    segmentation: Segmentation
    search: Mapping[str, Any]
    box: Box | None  # where the signer is, for an extractor that is told so; pixels
    draw: bool  # write the annotated film

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Reading:
        """Return what the keys of `conf/demo.yaml` say."""
        same = ("fps", "max_fps", "segments", "whole_seconds", "draw", "search")
        box = None if keys["box"] is None else tuple(keys["box"])
        return cls(**{key: keys[key] for key in same}, segmentation=Segmentation(**keys["segment"]), box=box)

    def cutting(self, path: Path | None, length: float) -> tuple[Segmentation, bool]:
        """Return how a source is cut, and whether it is one clip, which nothing cuts; a camera has no path.

        Raises:
            ValueError: a film was asked to be one clip and is too long for that.
        """
        if path is None:
            return self.segmentation, False
        if self.segments == "whole" and length > LONGEST_CLIP:
            raise ValueError(
                f"{path}: {length:.0f} s as one clip of one sentence (segments=whole) are more than the "
                f"{LONGEST_CLIP:.0f} s that are possible; set segments=auto"
            )
        if self.segments == "whole" or (self.segments is None and length <= self.whole_seconds):
            return replace(self.segmentation, max_seconds=10 * LONGEST_CLIP), True
        return self.segmentation, False


@dataclass(frozen=True)
class Update:
    """How far a film is."""

    stage: str  # "landmarks", "translation" or "drawing"
    seconds: float  # of the film that this stage has behind it
    duration: float  # of the film, seconds
    segments: tuple[Caption, ...]  # what is translated so far


@dataclass(frozen=True)
class FilmResult:
    """What came of a film of T frames."""

    segments: list[Caption]  # in the order of time
    seen: dict[str, NDArray[np.uint8]]  # stream -> (T,): 0 not seen, 1 detected, 2 followed; of `MARKED`
    fps: float
    duration: float  # T over `fps`
    size: tuple[int, int]  # width and height of the pictures
    annotated: Path | None  # the film with all that drawn on it, where it was asked for
    srt: Path | None
    vtt: Path | None
    latency: Latency


def translate_film(
    path: Path | str,
    translator: SentenceTranslator,
    extractor: Extractor,
    *,
    settings: Reading,
    out: Path | None,
    on_update: Callable[[Update], None] | None,
) -> FilmResult:
    """Translate a film; memory does not grow with its length, but where it is one clip.

    The extractor goes through one film at a time: callers of several threads take turns.

    Args:
        out: folder for STEM.mp4, STEM.srt and STEM.vtt; None writes nothing.
        on_update: hears of the progress; what it raises ends all and leaves nothing half written.

    Raises:
        FileNotFoundError: no such film.
        ValueError: not a film that can be read, one without a picture or cut short, one too long to be one clip, or
            a model whose streams are not made from pictures, or an `out` in which files of the film's own lie.
    """
    path, latency = Path(path), Latency()
    endings = () if out is None else ENDINGS if settings.draw else ENDINGS[1:]
    targets = {ending: (out or Path()) / f"{path.stem}.{ending}" for ending in endings}
    refuse_overwriting(path, targets.values())
    film = probe(path)
    rate = target_rate(film, settings.fps, settings.max_fps)
    length = film_length(film, rate)
    cutting, whole = settings.cutting(path, length)
    captions: list[Caption] = []

    def tell(stage: str, seconds: float) -> None:
        if on_update is not None:
            on_update(Update(stage, seconds, length, tuple(captions)))

    with Track(rate) as track:
        signer = extractor.find_signer(partial(frames_at, path), duration=length, box=settings.box)
        frames = timed_frames(read_frames(path, fps=rate), latency)
        found = track.noted(extractor.stream(frames, fps=rate, signer=signer), latency, partial(tell, "landmarks"))
        light = (keep_model_crops(frame, translator.streams) for frame in found)
        for segment in cut(light, Segmenter(cutting, fps=rate, whole=whole)):
            captions.append(translate_segment(segment, translator, fps=rate, search=settings.search, latency=latency))
            tell("translation", segment.end)
        if track.frames == 0 or track.size is None:
            raise ValueError(f"{path}: the film holds no picture; remove it or export it again")
        if targets:
            _write(path, targets, track, captions, translator, latency, partial(tell, "drawing"))
        mp4, srt, vtt = (targets.get(ending) for ending in ENDINGS)
        return FilmResult(captions, track.seen(), rate, track.frames / rate, track.size, mp4, srt, vtt, latency)


def _write(
    path: Path,
    targets: Mapping[str, Path],
    track: Track,
    captions: Sequence[Caption],
    translator: SentenceTranslator,
    latency: Latency,
    tell: Callable[[float], None],
) -> None:
    """Go through the film a second time where it is drawn, now with its sentences known; then write the subtitles."""
    assert track.size is not None
    targets["srt"].parent.mkdir(parents=True, exist_ok=True)
    if "mp4" in targets:
        overlay = Overlay(track.size, MARKED, [stream.name for stream in translator.streams])
        with Recorder(targets["mp4"], size=overlay.size, fps=track.fps, live=False) as recorder:
            for seconds, picture, found in track.again(read_frames(path, fps=track.fps), tell):
                with latency.timed("draw"):
                    text = film_text(sentence_at(captions, seconds), seconds, track.frames / track.fps)
                    drawn = overlay.draw(picture, found, text)
                recorder.write(seconds, drawn)
    write_subtitles(captions, srt=targets["srt"], vtt=targets["vtt"])


def refuse_overwriting(film: Path, targets: Iterable[Path]) -> None:
    """Refuse to write over a film or over what lies beside it, as its own subtitles do.

    Raises:
        ValueError: naming the file.
    """
    for target in targets:
        if target.exists() and target.resolve().parent == film.resolve().parent:
            raise ValueError(
                f"{target}: it lies beside the film {film.name} already and would be overwritten; write to another "
                "folder (out=FOLDER)"
            )


def film_length(film: Film, rate: float, limit: float = math.inf) -> float:
    """Return the seconds of a film; one that does not say them (a recorded stream) is read to its end, or `limit`."""
    if film.duration is not None:
        return film.duration
    count = 0
    for _ in read_frames(film.path, fps=rate):
        count += 1
        if count / rate > limit:
            break
    return count / rate


def translate_segment(
    segment: Segment, translator: SentenceTranslator, *, fps: float, search: Mapping[str, Any], latency: Latency
) -> Caption:
    """Translate a segment, whose frames come at `fps`; the caption has the sentences, best first."""
    with latency.timed("encoder"):
        clip = inputs_from_regions(
            segment.frames, translator.streams, clip_fps=fps, fps=translator.fps, max_frames=translator.max_frames
        )
        encoded = translator.encode([clip])
    with latency.timed("decoder"):
        return Caption(segment.start, segment.end, tuple(translator.write(encoded, **search)[0]))


class Track:
    """What was found in each frame of a film, in a file that vanishes: an hour at 30 frames/s is 107 MB."""

    _RECORD = np.dtype([("points", "f4", (75, 3)), ("boxes", "f4", (len(STREAMS), 3)), ("marks", "u1", len(MARKED))])

    def __init__(self, fps: float) -> None:
        self.fps, self.every = fps, max(1, round(fps / UPDATES))
        self.frames = 0  # so far, T
        self.size: tuple[int, int] | None = None  # width and height of the pictures
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this is
        self._marks = bytearray()

    def add(self, frame: Regions) -> None:
        """Note a frame; `read_frames` gives all of a film in one size."""
        self.size = frame.size
        record = np.zeros(1, self._RECORD)
        record["points"], record["boxes"] = frame.points, np.stack([frame.boxes[name] for name in STREAMS])
        record["marks"] = list(marks_of(frame).values())
        self._file.write(record.tobytes())
        self._marks += record["marks"].tobytes()
        self.frames += 1

    def noted(self, frames: Iterable[Regions], latency: Latency, tell: Callable[[float], None]) -> Iterator[Regions]:
        """Give the same frames, note and count each, and tell how far it is."""
        for frame in frames:
            latency.frame(frame.took)
            self.add(frame)
            yield frame
            if self.frames % self.every == 0:
                tell(frame.seconds)

    def again(
        self, frames: Iterable[tuple[float, Picture]], tell: Callable[[float], None]
    ) -> Iterator[tuple[float, Picture, Found]]:
        """Give the film's frames a second time, each with what was found in it, and tell how far it is."""
        # A frame in memory at a time: what was found comes back from the file, in the same order.
        for n, ((seconds, picture), found) in enumerate(zip(frames, self.found(), strict=True)):
            yield seconds, picture, found
            if n % self.every == 0:
                tell(seconds)

    def found(self) -> Iterator[Found]:
        """Give what was found in each frame, for drawing."""
        self._file.seek(0)
        for _ in range(self.frames):
            record = np.frombuffer(self._file.read(self._RECORD.itemsize), self._RECORD)[0]
            marks = {name: int(mark) for name, mark in zip(MARKED, record["marks"], strict=True)}
            boxes = dict(zip(STREAMS, record["boxes"], strict=True))
            yield Found(record["points"], boxes, marks)

    def seen(self) -> dict[str, NDArray[np.uint8]]:
        """Return stream -> marks (T,)."""
        marks = np.frombuffer(bytes(self._marks), np.uint8).reshape(-1, len(MARKED))
        return {name: marks[:, column].copy() for column, name in enumerate(MARKED)}

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def marks_of(frame: Regions) -> dict[str, int]:
    """Return what is `MARKED` in a frame: 0 not seen, 1 detected, 2 followed."""
    return {name: frame.marks[name] for name in STREAMS} | {"pose": int(shoulders_seen(frame.points[None])[0])}


def find_films(source: Path) -> list[Path]:
    """Return the film, or all films of a folder by name.

    Raises:
        FileNotFoundError: no such film or folder, or a folder without a film.
        ValueError: two films of a folder would write the same files.
    """
    from slt.extraction.sources import FILMS  # here: the tables that are read there are for corpora

    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"source={source}: no such film or folder, and no camera's number (as in source=0)")
    films = sorted(path for path in source.iterdir() if path.suffix.lower() in FILMS and path.is_file())
    if not films:
        raise FileNotFoundError(f"source={source}: no film in this folder; films end in {', '.join(FILMS)}")
    stems = [path.stem for path in films]
    if doubled := sorted({stem for stem in stems if stems.count(stem) > 1}):
        names = ", ".join(path.name for path in islice((one for one in films if one.stem in doubled), 4))
        raise ValueError(f"source={source}: films of the same name but for the ending ({names}) would write the same "
                         "files; rename one of each")  # fmt: skip
    return films
