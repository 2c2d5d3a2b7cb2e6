"""A film to timed sentences: extracted, cut into signing, translated, and drawn on (T frames)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import Box
from slt.extraction.regions import STREAMS, Extractor, Regions
from slt.extraction.video import Film, frames_at, probe, read_frames, target_rate
from slt.inference.inputs import inputs_from_regions
from slt.inference.latency import Latency, timed_frames, timed_stream
from slt.inference.onnx import Hypothesis, SentenceTranslator
from slt.inference.overlay import Found, Overlay, film_text, sentence_at
from slt.inference.recorder import Recorder
from slt.inference.segments import Segmentation, Segmenter, cut, lighten
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
class FilmSettings:
    """How films are read, cut and translated.

    Attributes:
        fps: frames a second at which films are read; None = the film's own up to `max_fps`. As in extraction.
        max_fps: see `fps`.
        segments: "whole": a film is one clip and one sentence; "auto": cut where hands come to rest; None: whole up
            to `whole_seconds`, else auto.
        whole_seconds: see `segments`.
        segmentation: how films are cut.
        search: keywords of `SentenceTranslator.write`; what is None there is as in the evaluation of training.
        box: where the signer is, for an extractor that is told so; pixels.
        draw: write the annotated film.
    """

    fps: float | None
    max_fps: float
    segments: str | None
    whole_seconds: float
    segmentation: Segmentation
    search: Mapping[str, Any]
    box: Box | None
    draw: bool


def film_settings(keys: Mapping[str, Any]) -> FilmSettings:
    """Return the settings that the keys of `conf/demo.yaml` describe."""
    same = ("fps", "max_fps", "segments", "whole_seconds", "draw", "search")
    box = None if keys["box"] is None else tuple(keys["box"])
    return FilmSettings(**{key: keys[key] for key in same}, segmentation=Segmentation(**keys["segment"]), box=box)


@dataclass(frozen=True)
class Update:
    """How far a film is.

    Attributes:
        stage: "landmarks", "translation" or "drawing".
        seconds: of the film that this stage has behind it.
        duration: of the film, seconds.
        segments: what is translated so far.
    """

    stage: str
    seconds: float
    duration: float
    segments: tuple[Caption, ...]


@dataclass(frozen=True)
class FilmResult:
    """What came of a film.

    Attributes:
        segments: its captions, in the order of time.
        seen: stream -> uint8 (T,): 0 not seen, 1 detected, 2 followed; of the face, both hands and the pose.
        fps: frames a second of T.
        duration: T over that.
        size: width and height of the pictures.
        annotated: the film with all that drawn on it, where it was asked for.
        srt, vtt: subtitles, where they were asked for.
        latency: what each stage took.
    """

    segments: list[Caption]
    seen: dict[str, NDArray[np.uint8]]
    fps: float
    duration: float
    size: tuple[int, int]
    annotated: Path | None
    srt: Path | None
    vtt: Path | None
    latency: Latency


def translate_film(
    path: Path | str,
    translator: SentenceTranslator,
    extractor: Extractor,
    *,
    settings: FilmSettings,
    out: Path | None,
    on_update: Callable[[Update], None] | None,
) -> FilmResult:
    """Translate a film; memory does not grow with its length, but where it is one clip.

    The extractor goes through one film at a time: callers of several threads take turns.

    Args:
        path: the film.
        translator: what turns frames into sentences.
        extractor: with the settings of the one behind the training clips.
        settings: see `FilmSettings`.
        out: folder for STEM.mp4, STEM.srt and STEM.vtt; None writes nothing.
        on_update: hears of the progress; what it raises ends all and leaves nothing half written.

    Raises:
        FileNotFoundError: no such film.
        ValueError: not a film that can be read, one without a picture or cut short, one too long to be one clip, or
            a model whose streams are not made from pictures, or an `out` in which files of the film's own lie.
    """
    path, latency = Path(path), Latency()
    targets = {ending: out / f"{path.stem}.{ending}" for ending in ENDINGS} if out is not None else {}
    refuse_overwriting(path, [target for ending, target in targets.items() if settings.draw or ending != "mp4"])
    film = probe(path)
    rate = target_rate(film, settings.fps, settings.max_fps)
    length = film_length(film, rate)
    whole = one_clip(path, length, settings)
    captions: list[Caption] = []

    def tell(stage: str, seconds: float) -> None:
        if on_update is not None:
            on_update(Update(stage, seconds, length, tuple(captions)))

    with ExitStack() as stack:
        track = stack.enter_context(Track())
        signer = extractor.find_signer(partial(frames_at, path), duration=length, box=settings.box)
        frames = timed_frames(read_frames(path, fps=rate), latency)
        cutting = unbounded(settings.segmentation) if whole else settings.segmentation
        # Closed whatever happens, because it lends its clock to the extractor.
        found = stack.enter_context(closing(timed_stream(extractor, frames, fps=rate, signer=signer, latency=latency)))
        noted = track.noted(found, partial(tell, "landmarks"), every=max(1, round(rate / UPDATES)))
        light = (lighten(frame, translator.streams) for frame in noted)
        for segment in cut(light, Segmenter(cutting, fps=rate, whole=whole)):
            said = translate_frames(segment.frames, translator, fps=rate, search=settings.search, latency=latency)
            captions.append(Caption(segment.start, segment.end, said))
            tell("translation", segment.end)
        if track.frames == 0 or track.size is None:
            raise ValueError(f"{path}: the film holds no picture; remove it or export it again")
        annotated = srt = vtt = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if settings.draw:
                told = partial(tell, "drawing")
                annotated = _draw(path, targets["mp4"], track, rate, captions, translator, latency, told)
            srt, vtt = targets["srt"], targets["vtt"]
            write_subtitles(captions, srt=srt, vtt=vtt)
        seen = track.seen()
        return FilmResult(captions, seen, rate, track.frames / rate, track.size, annotated, srt, vtt, latency)


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


def film_length(film: Film, rate: float) -> float:
    """Return the seconds of a film; one that does not say them (a recorded stream) is read to its end for it."""
    if film.duration is not None:
        return film.duration
    return sum(1 for _ in read_frames(film.path, fps=rate)) / rate


def one_clip(path: Path, length: float, settings: FilmSettings) -> bool:
    """Tell whether a film is one clip.

    Raises:
        ValueError: it was asked to be, and is too long for that.
    """
    if settings.segments == "whole" and length > LONGEST_CLIP:
        raise ValueError(
            f"{path}: {length:.0f} s as one clip of one sentence (segments=whole) are more than the {LONGEST_CLIP:.0f} "
            "s that are possible; set segments=auto"
        )
    return settings.segments == "whole" or (settings.segments is None and length <= settings.whole_seconds)


def translate_frames(
    frames: Sequence[Regions],
    translator: SentenceTranslator,
    *,
    fps: float,
    search: Mapping[str, Any],
    latency: Latency,
) -> tuple[Hypothesis, ...]:
    """Translate frames (n,), which come at `fps`; return the sentences, best first."""
    with latency.timed("encoder"):
        clip = inputs_from_regions(
            frames, translator.streams, clip_fps=fps, fps=translator.fps, max_frames=translator.max_frames
        )
        encoded = translator.encode([clip])
    with latency.timed("decoder"):
        return tuple(translator.write(encoded, **search)[0])


def unbounded(settings: Segmentation) -> Segmentation:
    """Return the settings for a film that is one clip: nothing cuts it."""
    return replace(settings, max_seconds=10 * LONGEST_CLIP)


def _draw(
    path: Path,
    target: Path,
    track: Track,
    rate: float,
    captions: Sequence[Caption],
    translator: SentenceTranslator,
    latency: Latency,
    tell: Callable[[float], None],
) -> Path:
    """Go through the film a second time, now with its sentences known, and write the annotated one."""
    assert track.size is not None
    overlay = Overlay(track.size, MARKED, [stream.name for stream in translator.streams])
    length = track.frames / rate
    every = max(1, round(rate / UPDATES))
    with Recorder(target, size=overlay.size, fps=rate, live=False) as recorder:
        # A frame in memory at a time: what was found comes back from the file, in the same order.
        for n, ((seconds, picture), found) in enumerate(zip(read_frames(path, fps=rate), track.found(), strict=True)):
            with latency.timed("draw"):
                drawn = overlay.draw(picture, found, film_text(sentence_at(captions, seconds), seconds, length))
            recorder.write(seconds, drawn)
            if n % every == 0:
                tell(seconds)
    return target


class Track:
    """What was found in each frame of a film, in a file that vanishes: an hour at 30 frames/s is 107 MB.

    Attributes:
        frames: so far, T.
        size: width and height of the pictures.
    """

    _RECORD = np.dtype([("points", "f4", (75, 3)), ("boxes", "f4", (len(STREAMS), 3)), ("marks", "u1", len(MARKED))])

    def __init__(self) -> None:
        self.frames = 0
        self.size: tuple[int, int] | None = None
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this is
        self._marks = bytearray()

    def add(self, frame: Regions) -> None:
        """Note a frame; `read_frames` gives all of a film in one size."""
        self.size = frame.size
        record = np.zeros(1, self._RECORD)
        record["points"], record["boxes"] = frame.points, np.stack([frame.boxes[name] for name in STREAMS])
        record["marks"] = [*(frame.marks[name] for name in STREAMS), shoulders_seen(frame.points[None])[0]]
        self._file.write(record.tobytes())
        self._marks += record["marks"].tobytes()
        self.frames += 1

    def noted(self, frames: Iterable[Regions], tell: Callable[[float], None], *, every: int) -> Iterator[Regions]:
        """Give the same frames and note each; say at every so many how far it is."""
        for frame in frames:
            self.add(frame)
            yield frame
            if self.frames % every == 0:
                tell(frame.seconds)

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
