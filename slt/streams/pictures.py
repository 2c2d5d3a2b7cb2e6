"""The stream of a folder of whole pictures a clip, as corpora of frames are published: T frames, R side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.streams.crops import Crops
from slt.streams.sample import Seen
from slt.streams.stream import PICTURES, Found, Marks, Say, Stored, not_pictured


@dataclass(frozen=True, kw_only=True)
class Pictures(Crops):
    """A reader of `<folder>/<clip>/*.png` or .jpg in the order of their names, each resized to R x R; all are seen."""

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(_listed(root / self.folder / name)) for name in ids], np.int64)

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return RGB uint8 (n, R, R, 3), and seen (n,)."""
        paths = _listed(root / self.folder / video_id)
        frames = np.stack([_picture(paths[t], self.size) for t in index])
        return Seen(frames, np.ones(len(index), bool))

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.ones(len(index), bool)

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        raise not_pictured(name, "whole pictures", regions)

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
        paths = _listed(stored.path / video_id)
        for path in paths:
            try:
                _picture(path, self.size)
            except ValueError as error:
                say("unreadable", str(error))
        return Found(len(paths), len(paths), self.size)


@lru_cache(maxsize=64)
def _listed(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise FileNotFoundError(f"{folder}: no pictures; expected the frames of the clip as .png or .jpg")
    return paths


def _picture(path: Path, size: int) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture that can be read; copy it again")
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
