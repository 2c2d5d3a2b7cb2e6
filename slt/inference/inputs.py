"""Live frames to what an encoder reads: the same numbers that the same frames give from the files of a corpus.

Nothing is computed here: `Stream.from_regions` takes, centres and resizes, as `Stream.read` does for files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slt.streams.crops import Crops
from slt.streams.features import Features
from slt.streams.pose import Landmarks
from slt.streams.sample import Inputs, StreamSpec, frame_index, frame_step
from slt.streams.stream import Stream

if TYPE_CHECKING:
    from slt.extraction.regions import Regions


def inputs_from_regions(
    regions: Sequence[Regions],
    streams: Sequence[StreamSpec],
    *,
    clip_fps: float,
    fps: float | None,
    max_frames: int | None,
) -> Inputs:
    """Return what an encoder of `streams`, `fps` and `max_frames` reads of T frames that came at `clip_fps`."""
    if not regions or any(one.size != regions[0].size for one in regions):
        sizes = sorted({one.size for one in regions})
        raise ValueError(f"a clip needs at least one frame, and pictures of one size; came {sizes or 'no frame'}")
    # Extraction writes a clip's rate with six decimals, and the dataset thins by what is written.
    index = frame_index(len(regions), frame_step(round(clip_fps, 6), fps), max_frames)
    inputs = Inputs({}, {})
    for spec in streams:
        reader = reader_of(spec)
        array, seen = reader.from_regions(spec.name, regions, index)
        inputs.streams[spec.name], inputs.seen[spec.name] = reader.finish(array, seen), seen
    return inputs


def seen_shares(clip: Inputs) -> dict[str, float]:
    """Return stream -> share of a clip's frames in which it was seen, in [0, 1]."""
    return {name: float(marks.mean()) for name, marks in clip.seen.items()}


def reader_of(spec: StreamSpec) -> Stream:
    """Return what reads a stream of a model from a corpus, nothing augmented."""
    if spec.points is not None:
        return Landmarks(
            folder=spec.folder, points=spec.points, normalise=spec.normalise or "shoulders", jitter=0, noise=0
        )
    if spec.size is not None:
        return Crops(folder=spec.folder, size=spec.size, jitter=0, colour=0)
    return Features(folder=spec.folder)
