"""A film to timed sentences: extracted, cut into signing, translated, and drawn on (T frames)."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.regions import STREAMS, Extractor, Regions
from slt.extraction.video import read_frames
from slt.inference.elan import write_elan
from slt.inference.latency import Latency, timed_frames
from slt.inference.onnx import SentenceTranslator
from slt.inference.overlay import MARKED, Found, Overlay, Text, sentence_at
from slt.inference.recorder import Recorder
from slt.inference.segments import Segment
from slt.inference.session import Reading, Session
from slt.inference.sources import FilmSource
from slt.inference.subtitles import Caption, clock, write_subtitles
from slt.streams.skeleton import MEDIAPIPE

# A caller hears of progress so many times a second of film.
UPDATES = 4
# Frames of a track that are read at once.
BLOCK = 1024
# What is written of a film, beside each other under its name.
ENDINGS = ("mp4", "srt", "vtt", "eaf")


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
    duration: float  # seconds
    annotated: Path | None  # the film with all that drawn on it, where it was asked for
    srt: Path | None
    vtt: Path | None
    eaf: Path | None
    latency: Latency


def translate_film(
    path: Path, translator: SentenceTranslator, extractor: Extractor, *, settings: Reading, out: Path | None
) -> Generator[Update | FilmResult, None, None]:
    """Translate a film; give how far it is, and at last what came of it.

    Memory does not grow with its length, but where it is one clip. Writes STEM.mp4, STEM.srt, STEM.vtt and STEM.eaf
    into `out`; whoever closes it before its end finds nothing half written.
    """
    endings = () if out is None else ENDINGS if settings.draw else ENDINGS[1:]
    targets = {ending: (out or Path()) / f"{path.stem}.{ending}" for ending in endings}
    refuse_overwriting(path, targets.values())
    source = FilmSource(path, fps=settings.fps, max_fps=settings.max_fps)
    session = Session(translator, extractor, settings, source)
    captions: list[Caption] = []
    every = max(1, round(source.fps / UPDATES))

    def update(stage: str, seconds: float) -> Update:
        return Update(stage, seconds, source.look_seconds, tuple(captions))

    def said(segment: Segment | None) -> Iterator[Update]:
        if segment is not None:
            captions.append(session.translate(segment))
            yield update("translation", segment.end)

    with tempfile.TemporaryFile() as file:
        track = Track(file, source.fps)
        for frame in session.regions(timed_frames(read_frames(path, fps=source.fps), session.latency)):
            track.add(frame)
            yield from said(session.add(frame))
            if track.frames % every == 0:
                yield update("landmarks", frame.seconds)
        yield from said(session.close())
        if "mp4" in targets:
            with closing(_draw(path, targets["mp4"], track, session, captions)) as drawn:
                for n, seconds in enumerate(drawn):
                    if n % every == 0:
                        yield update("drawing", seconds)
        if targets:
            write_subtitles(captions, srt=targets["srt"], vtt=targets["vtt"])
            write_elan(captions, targets["eaf"], path)
        mp4, srt, vtt, eaf = (targets.get(ending) for ending in ENDINGS)
        yield FilmResult(captions, track.seen(), track.duration, mp4, srt, vtt, eaf, session.latency)


class Track:
    """What was found in each frame of a film, in a file of its own.

    An hour at 30 frames/s is 102 MB of body and hands, and 708 MB with the face mesh.
    """

    def __init__(self, file: IO[bytes], fps: float) -> None:
        self.fps = fps
        self.frames = 0  # so far, T
        self.size = (0, 0)  # width and height of the pictures, which `read_frames` gives in one size
        self.skeleton = MEDIAPIPE  # of the points, as the extractor has it
        self._file = file

    def add(self, frame: Regions) -> None:
        """Note a frame."""
        found = Found.of(frame)
        self.skeleton = found.skeleton
        boxes = np.stack([found.boxes[name] for name in STREAMS])
        self._file.write(np.array((found.points, boxes, [*found.marks.values()]), self._record).tobytes())
        self.size = frame.size
        self.frames += 1

    @property
    def duration(self) -> float:
        return self.frames / self.fps

    def found(self) -> Iterator[Found]:
        """Give what was found in each frame, for drawing."""
        for points, boxes, marks in chain.from_iterable(self._blocks()):
            yield Found(
                points, dict(zip(STREAMS, boxes, strict=True)), dict(zip(MARKED, marks.tolist(), strict=True)),
                self.skeleton,
            )  # fmt: skip

    def seen(self) -> dict[str, NDArray[np.uint8]]:
        """Return stream -> marks (T,)."""
        marks = np.concatenate([block["marks"] for block in self._blocks()])
        return {name: np.array(marks[:, column]) for column, name in enumerate(MARKED)}

    def _blocks(self) -> Iterator[NDArray[np.void]]:
        """Give what was noted, some frames at a time: mapped into memory, all of it would count as this process's."""
        self._file.flush()
        for first in range(0, self.frames, BLOCK):
            self._file.seek(first * self._record.itemsize)
            yield np.frombuffer(self._file.read(BLOCK * self._record.itemsize), self._record)

    @property
    def _record(self) -> np.dtype[Any]:
        points = (len(self.skeleton), 3)
        return np.dtype([("points", "f4", points), ("boxes", "f4", (len(STREAMS), 3)), ("marks", "u1", len(MARKED))])


def _draw(
    path: Path, target: Path, track: Track, session: Session, captions: Sequence[Caption]
) -> Generator[float, None, None]:
    """Go through a film a second time and draw it, now with its sentences known; give the seconds of each frame."""
    overlay = Overlay(track.size, [stream.name for stream in session.translator.streams])
    with Recorder(target, size=overlay.size, fps=track.fps, live=False) as recorder:
        # A frame in memory at a time: what was found comes back from the file, in the same order.
        for (seconds, picture), found in zip(read_frames(path, fps=track.fps), track.found(), strict=True):
            with session.latency.timed("draw"):
                right = (clock(seconds), f"of {clock(track.duration)}")
                drawn = overlay.draw(picture, found, Text(sentence_at(captions, seconds), False, right))
            recorder.write(seconds, drawn)
            yield seconds


def refuse_overwriting(film: Path, targets: Iterable[Path]) -> None:
    """Refuse to write over a film or over what lies beside it, as its own subtitles do."""
    for target in targets:
        if target.exists() and target.resolve().parent == film.resolve().parent:
            raise ValueError(
                f"{target}: it lies beside the film {film.name} already and would be overwritten; write to another "
                "folder (out=FOLDER)"
            )


def find_films(source: Path) -> list[Path]:
    """Return the film, or all films of a folder by name."""
    from slt.extraction.sources import FILMS  # here: the tables that are read there are for corpora

    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"source={source}: no such film or folder, and no camera's number (as in source=0)")
    films = sorted(path for path in source.iterdir() if path.suffix.lower() in FILMS and path.is_file())
    if not films:
        raise FileNotFoundError(f"source={source}: no film in this folder; films end in {', '.join(FILMS)}")
    stems = [path.stem for path in films]
    if doubled := [path.name for path in films if stems.count(path.stem) > 1]:
        raise ValueError(
            f"source={source}: films of the same name but for the ending ({', '.join(doubled[:4])}) would write the "
            "same files; rename one of each"
        )
    return films
