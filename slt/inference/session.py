"""What a film and a live source share: pictures are extracted, cut into signing, and translated into captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt.extraction.cuts import shots
from slt.extraction.geometry import Box
from slt.extraction.regions import Extractor, Regions
from slt.extraction.video import Picture
from slt.inference.diarization import Diarizer
from slt.inference.inputs import inputs_from_regions, seen_shares
from slt.inference.latency import Latency
from slt.inference.onnx import SentenceTranslator
from slt.inference.segments import Cutter, Segment, Segmenter, keep_model_crops
from slt.inference.settings import Segmentation
from slt.inference.sources import Source
from slt.inference.subtitles import Caption
from slt.inference.tagging import LearnedSegmenter, Tagging, read_tagging
from slt.text import loop

# As one clip a film is in memory until its end (at 30 frames/s and crops of 224 pixels 14 MB a second), and no sentence
# is longer.
LONGEST_CLIP = 120.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How films and cameras are read, cut and translated: keys of `conf/demo.yaml`, which says more."""

    fps: float | None
    max_fps: float
    segments: str | None  # "whole", "auto", "learned"; None: whole up to `whole_seconds`, else auto
    whole_seconds: float
    segmentation: Segmentation
    search: Mapping[str, Any]
    abstain: float | None  # captions of a lower confidence are not understood
    box: Box | None  # where the signer is, for an extractor that is told so; pixels
    draw: bool  # write the annotated film
    tagging: Tagging | None = None  # of "learned"

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Reading:
        """Return what the keys of `conf/demo.yaml` say."""
        same = ("fps", "max_fps", "segments", "whole_seconds", "draw", "search", "abstain")
        box = None if keys["box"] is None else tuple(keys["box"])
        tagging = read_tagging(Path(keys["segmenter"])) if keys["segments"] == "learned" else None
        rules = Segmentation(**keys["segment"])
        return cls(**{key: keys[key] for key in same}, segmentation=rules, box=box, tagging=tagging)

    def segmenter(self, path: Path | None, length: float, fps: float) -> Cutter:
        """Return what cuts a source of `length` seconds, or takes it as one clip; a camera has no path."""
        if path is not None and self.segments == "whole" and length > LONGEST_CLIP:
            raise ValueError(
                f"{path}: {length:.0f} s as one clip of one sentence (segments=whole) are more than the "
                f"{LONGEST_CLIP:.0f} s that are possible; set segments=auto"
            )
        if self.tagging is not None:
            return LearnedSegmenter(self.tagging, self.segmentation, fps=fps)
        short = self.segments is None and length <= self.whole_seconds
        if path is None or not (short or self.segments == "whole"):
            return Segmenter(self.segmentation, fps=fps, whole=False)
        return Segmenter(replace(self.segmentation, max_seconds=10 * LONGEST_CLIP), fps=fps, whole=True)


class Session:
    """One film or live source on its way to captions; the extractor goes through one at a time.

    `pictured` is whether it gives pictures: of key points and what was extracted before no cuts are found.
    """

    def __init__(
        self,
        translator: SentenceTranslator,
        extractor: Extractor,
        reading: Reading,
        source: Source,
        *,
        pictured: bool = True,
    ) -> None:
        self.translator, self.search, self.fps = translator, reading.search, source.fps
        self._abstain = reading.abstain
        self.latency = Latency()
        self.segmenter = reading.segmenter(source.path, source.look_seconds, source.fps)
        self._cuts = pictured and source.path is not None  # a camera has none
        self._diarizer = Diarizer()
        self._before = ""  # the last sentence, for translators that read it
        self._extractor = extractor
        self._signer = extractor.find_signer(source.pictures, duration=source.look_seconds, box=reading.box)

    def regions(self, pictures: Iterable[tuple[float, Picture]]) -> Iterator[Regions]:
        """Extract (seconds, RGB picture (H, W, 3)), frame by frame; each shot of a film as if it were a clip."""
        for n, shot in enumerate(shots(pictures) if self._cuts else [pictures]):
            begins = n > 0
            for frame in self._extractor.stream(shot, fps=self.fps, signer=self._signer):
                self.latency.frame(frame.took)
                yield replace(frame, cut=True) if begins else frame
                begins = False

    def add(self, frame: Regions) -> Segment | None:
        """Take the next frame; return the segment of signing that it ends."""
        self._diarizer.look(frame)
        return self._signed(self.segmenter.add(keep_model_crops(frame, self.translator.streams)))

    def close(self) -> Segment | None:
        """End the segment that runs, as the source's end does; return it."""
        return self._signed(self.segmenter.close())

    def _signed(self, segment: Segment | None) -> Segment | None:
        return None if segment is None else replace(segment, signer=self._diarizer.who(segment))

    def translate(self, segment: Segment, *, partial: bool = False) -> Caption:
        """Translate a segment; the caption has its sentences, best first, those in a loop last, and what was seen.

        A translator that reads the sentence before is told that of the last segment that was no partial one.
        """
        translator = self.translator
        with self.latency.timed("encoder"):
            clip = inputs_from_regions(
                segment.frames,
                translator.streams,
                clip_fps=self.fps,
                fps=translator.fps,
                max_frames=translator.max_frames,
            )
            encoded = translator.encode([clip])
        context = {"contexts": [self._before]} if translator.reads_context else {}
        with self.latency.timed("decoder"):
            found = translator.write(encoded, **context, **self.search)[0]
        straight = sorted(found, key=lambda one: loop(one.text) is not None)
        seen = seen_shares(clip)
        caption = Caption(segment.start, segment.end, tuple(straight), seen, self._abstain, segment.signer)
        if not partial:
            self._before = found[0].text if found else ""
        return caption
