"""A clip as a model reads it, of files or of a camera: which frames are taken, what its streams are, how it is padded.

B clips, T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# One frame: crops (3, R, R), pose (K, 3), features (F).
KINDS = {"crops": 3, "pose": 2, "features": 1}


class Seen(NamedTuple):
    """Frames of a stream, n of its clip's T."""

    array: Array  # (n, ...)
    seen: NDArray[np.bool_]  # (n,)


@dataclass
class Inputs:
    """One clip as an encoder reads it, every stream of the same T."""

    streams: dict[str, Array]  # name -> crops uint8 (T, 3, R, R), pose float32 (T, K, 3) or features float32 (T, F)
    seen: dict[str, NDArray[np.bool_]]  # name -> (T,); where it is False, the stream is zero

    def __len__(self) -> int:
        return len(next(iter(self.seen.values())))


@dataclass(kw_only=True)
class Sample(Inputs):
    """One clip of a corpus: its id, clean sentence, and glosses in signed order where the corpus has them."""

    id: str
    text: str
    gloss: str = ""
    language: str = ""  # that the decoder is told to write; "" = it is not told
    context: str = ""  # the sentence before it in its film; "" = none, or not told
    previous: str = ""  # the id of the clip of that sentence
    seconds: float | None = None  # that it lasts in its film, whatever is augmented; None = the corpus does not say


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """One stream that an encoder reads."""

    name: str  # also of an exported graph's input
    kind: str  # one of KINDS
    dtype: str  # uint8 of crops, float32 of all else
    shape: tuple[int, ...]  # of one frame
    folder: str  # of a corpus
    points: str | dict[str, Any] | None = None  # the skeleton of a pose, by name or as its file holds it
    normalise: str | None = None  # of a pose, a name in `slt.streams.normalise`
    size: int | None = None  # side R of crops

    def __post_init__(self) -> None:
        if len(self.shape) != KINDS.get(self.kind):
            raise ValueError(
                f"stream {self.name!r}: expected crops (3, R, R), pose (K, 3) or features (F), came {self.kind} "
                f"{self.shape}"
            )

    def check(self, array: Array, seen: Array) -> None:
        """Refuse a clip's stream (T, ...) and its seen marks (T,) that the encoder cannot read."""
        expected = f"stream {self.name!r}: expected {self.dtype} (T, {', '.join(map(str, self.shape))}) with T > 0"
        if array.dtype != self.dtype or array.shape[1:] != self.shape or not len(array):
            raise ValueError(f"{expected}, came {array.dtype} {array.shape}; make it with slt.inference.inputs")
        if seen.dtype != np.bool_ or seen.shape != array.shape[:1]:
            raise ValueError(f"{expected} and seen marks bool ({len(array)},), came marks {seen.dtype} {seen.shape}")


def frame_step(clip_fps: float, fps: float | None) -> float:
    """Return how many frames of a clip lie from one taken to the next; a slower clip keeps all (1)."""
    return 1.0 if fps is None else max(1.0, clip_fps / fps)


def frame_index(frames: int, step: float, max_frames: int | None) -> NDArray[np.int64]:
    """Return which of `frames` to take at one every `step`, thinned evenly to `max_frames`: int64 (n,), n > 0."""
    count = max(1, int(np.ceil(frames / step - 1e-6)))
    index = np.floor(np.arange(count) * step + 1e-6).astype(np.int64)
    if max_frames is not None and count > max_frames:
        index = index[((np.arange(max_frames) + 0.5) * count / max_frames).astype(np.int64)]
    return np.asarray(np.minimum(index, frames - 1))


def pad_clips(clips: Sequence[Inputs], length: int | None = None) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Pad clips with zeros: streams (B, T, ...), seen marks (B, T), and bool (B, T), True = a frame.

    T is `length`, or the frames of the longest.
    """
    lengths = [len(clip) for clip in clips]
    length = max(lengths) if length is None else length
    streams = {name: _padded([clip.streams[name] for clip in clips], length) for name in clips[0].streams}
    seen = {name: _padded([clip.seen[name] for clip in clips], length) for name in clips[0].streams}
    return streams, seen, np.arange(length) < np.array(lengths)[:, None]


def _padded(arrays: Sequence[Array], length: int) -> Array:
    if len(arrays) == 1 and len(arrays[0]) == length:
        return arrays[0][None]
    out = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for place, array in enumerate(arrays):
        out[place, : len(array)] = array
    return out
