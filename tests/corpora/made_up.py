"""Writes corpora in their authors' forms, a few clips each."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slt.streams.arrays import write_pose

# So many clips of each split are in the samples.
COUNTS = {"train": 6, "val": 2, "test": 2}


def write_text(path: Path, lines: Sequence[str], *, end: str = "\n", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(lines) + end).encode(encoding))


def write_pickle(path: Path, value: Any, *, zipped: bool = True, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pickle.dumps(value, protocol)
    path.write_bytes(gzip.compress(data) if zipped else data)


def write_picture(path: Path, *, value: int, width: int = 20, height: int = 26) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))


def write_poses(root: Path, names: Sequence[str]) -> None:
    """Write `pose/<name>.npz` of a few frames, as slt.extract does."""
    rng = np.random.default_rng(0)
    for name in names:
        points = rng.uniform(0.3, 0.6, (5, 75, 3)).astype(np.float32)
        (root / "pose").mkdir(parents=True, exist_ok=True)
        write_pose(root / "pose" / f"{name}.npz", points, size=(64, 48), seen=None)
