"""One film's streams in memory, as `slt.extract(film)` gives them (T frames, R crop side, K landmarks)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.clip import look
from slt.extraction.regions import STREAMS, Extractor, Regions
from slt.extraction.source import Source
from slt.streams.normalise import shoulders_seen
from slt.streams.pose import NOT_SEEN
from slt.streams.skeleton import MEDIAPIPE, find_skeleton


@dataclass(frozen=True)
class Extracted:
    """The streams of a clip, before any model's normalisation: what `slt.extract` writes into a corpus.

    Attributes:
        regions: its T frames.
        fps: of these, frames a second.
        extractor: the fingerprint of what extracted them; None = not known.
        notes: what was done to its pictures.
    """

    regions: tuple[Regions, ...]
    fps: float
    extractor: str | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.regions) / self.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures in pixels."""
        return self.regions[0].size

    @property
    def skeleton(self) -> str:
        """The name of the skeleton of the pose's K points, as in `conf/skeleton`."""
        return self.regions[0].skeleton or MEDIAPIPE.name

    @cached_property
    def streams(self) -> dict[str, NDArray[Any]]:
        """Stream -> face, left_hand, right_hand: RGB uint8 (T, R, R, 3), black where not seen; pose: float32 (T, K, 3).

        A pose is x, y in [0, 1] of the picture's width and height, and confidence in [0, 1], 0 where not seen.
        """
        crops = {name: np.stack([one.crops[name] for one in self.regions]) for name in self.regions[0].crops}
        return {**crops, "pose": np.stack([one.pose for one in self.regions])}

    @cached_property
    def seen(self) -> dict[str, NDArray[np.bool_]]:
        """Stream -> (T,), in which frames it was seen; of a hand also those in which its crop followed the arm."""
        marks = {name: np.array([one.marks[name] != NOT_SEEN for one in self.regions])
                 for name in STREAMS if name in self.regions[0].crops}  # fmt: skip
        return {**marks, "pose": shoulders_seen(self.streams["pose"], find_skeleton(self.skeleton))}


def extract_film(source: Source, extractor: Extractor, *, fps: float | None, max_fps: float) -> Extracted:
    """Extract a whole clip into memory (at 30 frames/s and crops of 224 pixels 14 MB a second); see `look`."""
    notes: list[str] = []
    looked = look(source, extractor, fps=fps, max_fps=max_fps, notes=notes)
    regions = tuple(looked.regions)
    return Extracted(regions, looked.fps, extractor.fingerprint, tuple(notes))
