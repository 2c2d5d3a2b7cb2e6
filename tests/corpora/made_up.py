"""Writes corpora in their authors' forms, a few clips each."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

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
