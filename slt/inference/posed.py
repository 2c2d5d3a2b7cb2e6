"""Films that are poses already, cut into segments as films of pictures are (T frames)."""

from __future__ import annotations

from collections.abc import Iterator

from slt.corpora.posed import PosedFilm
from slt.extraction.regions import Regions
from slt.inference.segments import Cutter, Segmentation, Segmenter
from slt.inference.tagging import LearnedSegmenter, Tagging


def film_frames(film: PosedFilm) -> Iterator[Regions]:
    """Give the T frames of a film, without crops."""
    cuts = {*film.cuts}
    for t, points in enumerate(film.points):
        yield Regions(t / film.fps, points, {}, {}, {}, film.size, cut=t in cuts)


def film_segments(film: PosedFilm, settings: Segmentation, tagging: Tagging | None) -> list[tuple[float, float]]:
    """Return where somebody signs a sentence, (start, end) in seconds: by rules, or by what `tagging` has learned."""
    segmenter: Cutter
    if tagging is None:
        segmenter = Segmenter(settings, fps=film.fps, whole=False)
    else:
        segmenter = LearnedSegmenter(tagging, settings, fps=film.fps)
    found = [segmenter.add(frame) for frame in film_frames(film)]
    return [(one.start, one.end) for one in (*found, segmenter.close()) if one is not None]
