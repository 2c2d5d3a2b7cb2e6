"""A clip to what an encoder reads: live regions, extracted films and a corpus' samples, all the same numbers.

Nothing is computed here: `slt.streams.frames` takes, centres and resizes, for the files of a corpus as for a camera.
T frames of a clip, n of them taken, R crop side, K landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slt.inference.onnx import Inputs
from slt.models.signature import StreamSpec
from slt.streams.frames import choose_pose, finish_crops, finish_pose, frame_index, frame_step, resize_crops
from slt.streams.pose import check_points

if TYPE_CHECKING:
    from slt.extraction.regions import Clip, Regions
    from slt.streams.batch import Sample


def inputs_from_regions(
    regions: Sequence[Regions],
    streams: Sequence[StreamSpec],
    *,
    clip_fps: float,
    fps: float | None,
    max_frames: int | None,
) -> Inputs:
    """Return what the encoder reads of T frames of a camera or film, as `Extractor.stream` gives them.

    Args:
        regions: the frames so far, in the order of time.
        streams: what the encoder reads.
        clip_fps: frames a second of `regions`.
        fps, max_frames: of the translator.

    Raises:
        ValueError: no frame, pictures of different sizes, or a stream that is not made from pictures.
    """
    if not regions or any(one.size != regions[0].size for one in regions):
        sizes = sorted({one.size for one in regions})
        raise ValueError(f"a clip needs at least one frame, and pictures of one size; came {sizes or 'no frame'}")
    index = _index(len(regions), clip_fps, fps, max_frames)
    taken = [regions[t] for t in index]
    names = list(regions[0].crops)
    return _inputs(
        streams,
        index,
        points=np.stack([one.points for one in regions]),
        size=regions[0].size,
        # only of the frames that are taken: all crops of a long clip would be copied for nothing
        crops={name: [one.crops[name] for one in taken] for name in names},
        marks={name: [one.marks[name] for one in taken] for name in names},
    )


def inputs_from_clip(
    clip: Clip, streams: Sequence[StreamSpec], *, clip_fps: float, fps: float | None, max_frames: int | None
) -> Inputs:
    """Return what the encoder reads of a whole extracted clip; arguments and errors as in `inputs_from_regions`."""
    index = _index(len(clip.points), clip_fps, fps, max_frames)
    return _inputs(
        streams,
        index,
        points=clip.points,
        size=clip.size,
        crops={name: crops[index] for name, crops in clip.crops.items()},
        marks={name: marks[index] for name, marks in clip.marks.items()},
    )


def inputs_from_sample(sample: Sample) -> Inputs:
    """Return a corpus' clip as a dataset gives it; torch's tensors and the arrays share their memory."""
    return Inputs(
        {name: np.asarray(tensor) for name, tensor in sample.streams.items()},
        {name: np.asarray(tensor) for name, tensor in sample.seen.items()},
    )


def _index(frames: int, clip_fps: float, fps: float | None, max_frames: int | None) -> NDArray[np.int64]:
    # Extraction writes a clip's rate with six decimals, and the dataset thins by what is written.
    return frame_index(frames, frame_step(round(clip_fps, 6), fps), max_frames)


def _inputs(
    streams: Sequence[StreamSpec],
    index: NDArray[np.int64],
    *,
    points: NDArray[np.float32],
    size: tuple[int, int],
    crops: Mapping[str, Any],
    marks: Mapping[str, Any],
) -> Inputs:
    """Return the streams of the frames `index` (n,) of a clip.

    Args:
        streams: what the encoder reads.
        index: int64 (n,).
        points: (T, 75, 3) of the whole clip, because a pose is centred over all of it.
        size: width and height of the pictures.
        crops: stream -> RGB (n, R, R, 3) of the frames taken.
        marks: stream -> (n,), above 0 where seen.
    """
    arrays: dict[str, NDArray[Any]] = {}
    seen: dict[str, NDArray[np.bool_]] = {}
    for stream in streams:
        if stream.kind == "pose" and stream.points is not None:
            check_points(stream.points, points.shape[1], f"stream {stream.name!r}")
            pose, there = choose_pose(points, size, stream.points, index)
            arrays[stream.name], seen[stream.name] = finish_pose(pose, there), there
        elif stream.kind == "crops" and stream.size is not None and stream.name in crops:
            there = np.asarray(marks[stream.name]) > 0
            arrays[stream.name] = finish_crops(resize_crops(np.stack(list(crops[stream.name])), stream.size), there)
            seen[stream.name] = there
        else:
            raise ValueError(
                f"stream {stream.name!r} ({stream.kind}): not made from pictures; of a film or camera there are the "
                f"crops {', '.join(crops)} and a pose"
            )
    return Inputs(arrays, seen)
