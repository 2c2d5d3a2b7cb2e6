"""A trained model in a user's hands, as `slt.load` gives it: whatever shows signing goes in, timed captions come out.

Shape letters: T frames, T' frames after the temporal encoder, H and W of a picture, K landmarks, D the encoder's width.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slt.corpora.provenance import refuse_other_extractor
from slt.extraction.extracted import Extracted
from slt.extraction.regions import Extractor, Regions
from slt.inference.films import translate_film
from slt.inference.inputs import inputs_from_regions, reader_of, seen_shares
from slt.inference.keypoints import keypoint_frames, read_keypoint_frames
from slt.inference.live import Live, Mailbox, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.open import refuse_unfit
from slt.inference.segments import keep_model_crops
from slt.inference.session import Reading, Session
from slt.inference.sources import Camera, FilmSource, FramesSource, LiveCamera, Source
from slt.inference.subtitles import Caption
from slt.streams.sample import Inputs, Sample

if TYPE_CHECKING:
    from slt.corpora.clips import Clips

Film = str | Path
Clip = Inputs | Extracted
Array = NDArray[Any]

HEARD = 1000  # captions of a camera that may wait for whoever asks for them


class Found:
    """In an extractor's place: frames that were extracted before."""

    def find_signer(self, *pictures: Any, **settings: Any) -> None:
        """Nobody is chosen any more."""

    def stream(self, frames: Iterable[tuple[float, Regions]], **settings: Any) -> Iterator[Regions]:
        """Give the frames as they are."""
        return (regions for _, regions in frames)


@dataclass
class Model:
    """A model, what reads films for it, and how: `slt.load` makes it; used in a `with`, it is closed at the end.

    Attributes:
        translator: what writes sentences of a clip's arrays.
        reading, live: how films and cameras are read, cut and searched: keys of `conf/demo.yaml`.
        about: what it is, in a line.
        make_extractor: opens what finds landmarks and cuts crops, as for the model's training clips; called once, when
            the first pictures come.
        other_extractor: whether clips of another extractor than that of the training clips are taken.
    """

    translator: SentenceTranslator
    reading: Reading
    live: Live
    about: str
    make_extractor: Callable[[], Extractor]
    other_extractor: bool
    _extractor: Extractor | None = field(default=None, repr=False)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the extractor's networks, where they are open."""
        if self._extractor is not None:
            self._extractor.landmarker.close()
            self._extractor = None

    def extractor(self, where: str) -> Extractor:
        """Return what reads pictures for this model; ValueError, naming `where`, if the model cannot read its clips."""
        if self._extractor is None:
            self._extractor = self.make_extractor()
        refuse_unfit(self.translator, self._extractor, where=where, allowed=self.other_extractor)
        return self._extractor

    def translate(
        self,
        source: Film | int | Source | Array | Clip | Sequence[Inputs] | Clips,
        *,
        fps: float | None = None,
        skeleton: str | None = None,
        size: tuple[int, int] = (1, 1),
        batch_size: int = 8,
    ) -> Iterator[Caption]:
        """Translate whatever shows signing, and give each caption as soon as it is written.

        Args:
            source: one of

                - a film's path. Of any length: it is read once and never in memory whole, unless it is short (or
                  `segments="whole"`) and one caption.
                - a camera's number, 0 the first. It goes on until the iterator is closed or forgotten.
                - pictures: RGB uint8 (T, H, W, 3), with `fps`.
                - key points: a `.pose` file's path, or an array (T, K, 3) of x, y in [0, 1] of the picture's width and
                  height and confidence in [0, 1] (0 = not seen), with `fps` and `skeleton`. The model must read a pose
                  alone.
                - what `slt.extract` returned.
                - a clip of a corpus (`Model.clips`, or any `Inputs`): one caption. A list of clips, or a whole split:
                  one caption each in their order, `batch_size` of them at a time through the network.
            fps: frames a second of arrays, above 0. Of a clip of a corpus it is needed only where neither corpus nor
                model say it.
            skeleton: what the K points of an array are: a name of `conf/skeleton`, as mediapipe_75.
            size: width and height in pixels (or in any unit) of the picture that an array of key points was found in;
                as it stands, a square.
            batch_size: clips that are translated together.

        Raises:
            ValueError: what is given cannot be read, or not by this model; it says why, and what could.
            FileNotFoundError: no such file.
        """
        if isinstance(source, int | np.integer | LiveCamera):
            camera = source if isinstance(source, LiveCamera) else Camera(int(source), max_fps=self.reading.max_fps)
            return self._watch(camera)
        if isinstance(source, str | Path) and Path(source).suffix.lower() != ".pose":
            return self._film(Path(source))
        if isinstance(source, str | Path | np.ndarray | Extracted):
            return self._cut(*self._session(source, fps, skeleton, size))
        return self._clips(_clips(source), fps, batch_size)

    def encode(
        self,
        source: Film | Array | Clip | Sequence[Inputs],
        *,
        fps: float | None = None,
        skeleton: str | None = None,
        size: tuple[int, int] = (1, 1),
    ) -> Any:
        """Return what the encoder makes of a clip: float32 (T', D), T' of its frames after the temporal encoder.

        A film, pictures and key points are one clip, however long; arguments as of `translate`. Of a list of clips the
        features are a list.
        """
        if isinstance(source, str | Path | np.ndarray | Extracted):
            session, frames = self._session(source, fps, skeleton, size)
            regions = [keep_model_crops(frame, self.translator.streams) for frame in session.regions(frames)]
            return self.translator.features([self._inputs(regions, session.fps)])[0]
        clips = _clips(source)
        found = self.translator.features([_clip(clips, place) for place in range(len(clips))])
        return found[0] if isinstance(source, Inputs) else found

    def clips(self, root: str | Path, split: str) -> Clips:
        """Return a split of a corpus in the suite's layout, as this model reads it: `clips[0]` is a clip.

        Args:
            root: the corpus' folder, as `python -m slt.extract` writes it.
            split: train, val, test, or another of its `index/`.

        Raises:
            FileNotFoundError, ValueError: no such corpus or split, or one of another extractor than the model's.
        """
        from slt.corpora.folder import LsaTMultiStream  # here: corpora are read with torch

        found = LsaTMultiStream(
            root=root, split=split, streams={spec.name: reader_of(spec) for spec in self.translator.streams},
            fps=self.translator.fps, max_frames=self.translator.max_frames, length_tolerance=2, augment=None, seed=0,
            mixed_extractors=self.other_extractor,
        )  # fmt: skip
        refuse_other_extractor(
            self.translator.extractor, found.extractor, where=str(root), allowed=self.other_extractor
        )
        return found

    def _inputs(self, regions: Sequence[Regions], clip_fps: float) -> Inputs:
        model = self.translator
        return inputs_from_regions(
            regions, model.streams, clip_fps=clip_fps, fps=model.fps, max_frames=model.max_frames
        )

    def _film(self, path: Path) -> Iterator[Caption]:
        extractor, settings = self.extractor(f"source={path}"), replace(self.reading, draw=False)

        def captions() -> Iterator[Caption]:
            said = 0
            with closing(translate_film(path, self.translator, extractor, settings=settings, out=None)) as news:
                for update in news:
                    yield from update.segments[said:]
                    said = len(update.segments)

        return captions()

    def _session(
        self, source: Film | Array | Extracted, fps: float | None, skeleton: str | None, size: tuple[int, int]
    ) -> tuple[Session, Iterator[tuple[float, Any]]]:
        """Return a session over a film, pictures, key points or what is extracted, and its timed frames."""
        extractor: Any = Found()
        if isinstance(source, Extracted):
            taken = FramesSource(source.regions, fps=source.fps, name="what was extracted")
            allowed = self.other_extractor
            refuse_other_extractor(self.translator.extractor, source.extractor, where=taken.name, allowed=allowed)
        elif isinstance(source, np.ndarray) and source.ndim == 4:
            extractor = self.extractor("pictures")
            taken = FramesSource(_pictures(source), fps=_rate(fps, "pictures"), name="pictures")
        elif isinstance(source, np.ndarray):
            self._refuse_crops("key points")
            points = keypoint_frames(source, fps=_rate(fps, "key points"), skeleton=skeleton, size=size)
            taken = FramesSource(points, fps=_rate(fps, "key points"), name="key points")
        elif Path(source).suffix.lower() == ".pose":
            self._refuse_crops(str(source))
            regions, rate = read_keypoint_frames(Path(source), self.translator.streams)
            taken = FramesSource(regions, fps=rate, name=str(source))
        else:
            from slt.extraction.video import read_frames

            film = FilmSource(Path(source), fps=self.reading.fps, max_fps=self.reading.max_fps)
            session = Session(self.translator, self.extractor(f"source={source}"), self.reading, film)
            return session, read_frames(film.path, fps=film.fps)
        pictured = not isinstance(extractor, Found)
        return Session(self.translator, extractor, self.reading, taken, pictured=pictured), taken.timed()

    def _refuse_crops(self, where: str) -> None:
        if pictured := [stream.name for stream in self.translator.streams if stream.kind != "pose"]:
            raise ValueError(
                f"{where}: the model also reads {', '.join(pictured)}, which key points do not show; give the film, or "
                "take a model of poses alone"
            )
        refuse_other_extractor(self.translator.extractor, None, where=where, allowed=self.other_extractor)

    @staticmethod
    def _cut(session: Session, frames: Iterator[tuple[float, Any]]) -> Iterator[Caption]:
        for frame in session.regions(frames):
            if (segment := session.add(frame)) is not None:
                yield session.translate(segment)
        if (last := session.close()) is not None:
            yield session.translate(last)

    def _clips(self, clips: Sequence[Inputs], fps: float | None, batch_size: int) -> Iterator[Caption]:
        for begin in range(0, len(clips), batch_size):
            some = [_clip(clips, place) for place in range(begin, min(begin + batch_size, len(clips)))]
            ends = [self._seconds(clip, fps) for clip in some]  # said before the network is asked
            for clip, end, found in zip(some, ends, self._sentences(some), strict=True):
                yield Caption(0.0, end, tuple(found), seen_shares(clip), self.reading.abstain)

    def _sentences(self, clips: Sequence[Inputs]) -> list[Any]:
        return self.translator.translate_batch(clips, **self.reading.search)

    def _seconds(self, clip: Inputs, fps: float | None) -> float:
        stated = clip.seconds if isinstance(clip, Sample) else None
        if fps is None and stated is not None:
            return stated
        return len(clip) / _rate(fps or self.translator.fps, "a clip of a corpus that does not say it")

    def _watch(self, camera: LiveCamera) -> Iterator[Caption]:
        extractor = self.extractor(f"source={camera.name}")
        heard: Mailbox[Caption] = Mailbox(HEARD)

        def say(caption: Caption, partial: bool) -> None:
            if not partial:
                heard.put(caption)

        def work() -> None:
            try:
                translate_live(
                    camera, self.translator, extractor, reading=self.reading, live=replace(self.live, record=None),
                    screen=None, subtitles=None, on_caption=say,
                )  # fmt: skip
            except BaseException as error:  # told in the thread of whoever asks for captions
                heard.close(error)
            else:
                heard.close()

        def captions() -> Iterator[Caption]:
            thread = threading.Thread(target=work, name="translation of a camera", daemon=True)
            thread.start()
            try:
                yield from heard
            finally:
                camera.ended.set()
                thread.join()
                camera.close()

        return captions()


def _clips(source: Any) -> Sequence[Inputs]:
    """Return one clip, or several, as what has a length and gives each by its place."""
    if isinstance(source, Inputs):
        return [source]
    if isinstance(source, Mapping) or not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise ValueError(
            "expected a film's path, a camera's number, pictures (T, H, W, 3), key points (T, K, 3), what slt.extract "
            f"returned, or clips of a corpus; came {type(source).__name__}"
        )
    return source  # type: ignore[no-any-return]


def _clip(clips: Sequence[Inputs], place: int) -> Inputs:
    if not isinstance(clip := clips[place], Inputs):
        raise ValueError(f"a list of clips of a corpus expected, but number {place} is {type(clip).__name__}")
    return clip


def _rate(fps: float | None, what: str) -> float:
    if fps is None or not 0 < fps < math.inf:
        raise ValueError(f"fps={fps}: of {what} a number of frames a second above 0 expected, as in fps=25")
    return float(fps)


def _pictures(frames: Array) -> Array:
    if frames.dtype != np.uint8 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"pictures: RGB uint8 (T, H, W, 3) with T > 0 expected, came {frames.dtype} {frames.shape}")
    return frames
