"""The stream of features that somebody computed before: `<folder>/<id>.npy` of (T, F), mapped and not copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from slt.streams.arrays import open_features
from slt.streams.sample import Array, Seen, StreamSpec
from slt.streams.stream import Found, Marks, Say, Stored, list_clips, not_pictured, some


@dataclass(frozen=True, kw_only=True)
class Features:
    """A reader of features in a folder of the corpus; a row of NaN was not seen.

    Args:
        folder: of the corpus.
        scale: greatest random change, as a share, of the size of each feature of a clip; 0 = none.
        noise: standard deviation, in the features' own unit, of the noise on each number; 0 = none.
    """

    folder: str
    # As they are stored, where nothing is said: so recipes and checkpoints meant it before there were these keys.
    scale: float = 0.0
    noise: float = 0.0
    mirror: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1 or self.noise < 0:
            raise ValueError(
                f"features of {self.folder!r}: 0 <= scale < 1 and noise >= 0, came {self.scale} and {self.noise}"
            )

    def spec(self, name: str, shape: Sequence[int]) -> StreamSpec:
        return StreamSpec(name=name, kind="features", dtype="float32", shape=tuple(shape), folder=self.folder)

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        stored = list_clips(root, self.folder, ids, ("features",))
        shapes = np.array([open_features(stored.file(name)).shape for name in ids], np.int64)
        other = np.flatnonzero(shapes[:, 1] != shapes[0, 1])
        if len(other):
            raise ValueError(
                f"{stored.file(ids[other[0]])}: {shapes[other[0], 1]} features a frame, but {ids[0]}.npy has "
                f"{shapes[0, 1]}; all clips of a stream have the same F"
            )
        return shapes[:, 0]

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return (n, F) in the stored type, and seen (n,)."""
        path = root / self.folder / f"{video_id}.npy"
        features = open_features(path)
        whole = len(index) == len(features) and np.array_equal(index, np.arange(len(features)))
        array = features if whole else features[index]
        if fault := _half_fault(path, array, index):
            raise ValueError(fault)
        return Seen(array, np.isfinite(array).any(1))

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.read(root, video_id, index).seen

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        raise not_pictured(name, "features", regions)

    def flip(self, array: Array) -> Array:
        raise ValueError(f"features of {self.folder!r} cannot be mirrored; set augment.mirror=0")

    def augment(self, array: Array, rng: np.random.Generator) -> Array:
        """Scale each feature of the clip (n, F), and move each number a little; what was not seen stays so."""
        if self.scale:
            factors = np.asarray(1 + self.scale * rng.uniform(-1, 1, array.shape[1]))
            array = array * factors.astype(array.dtype)
        if self.noise:
            array = array + (self.noise * rng.standard_normal(array.shape)).astype(array.dtype)
        return array

    def finish(self, array: Array, seen: NDArray[np.bool_]) -> Array:
        """Return float32 (n, F): the mapped file itself where it is float32 and all was seen."""
        if not seen.all():
            array = np.where(seen[:, None], array, np.zeros((), array.dtype))
        return array.astype(np.float32, copy=False)

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
        features = open_features(stored.file(video_id))
        if fault := _half_fault(stored.file(video_id), features, np.arange(len(features))):
            say("NaN", fault)
        return Found(len(features), int(np.isfinite(features).any(1).sum()), features.shape[1])


def _half_fault(path: Path, features: Array, index: NDArray[np.int64]) -> str:
    finite = np.isfinite(features)
    broken = index[finite.any(1) & ~finite.all(1)].tolist()
    said = f"{path}: NaN or infinity in part of {some(broken)}; a frame that was not seen is NaN as a whole"
    return said if broken else ""
