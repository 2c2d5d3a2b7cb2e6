"""Isharah (Alyami et al. 2025): continuous Saudi Sign Language by 86 key points, its glosses the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.pickles import read_pickle
from slt.corpora.published import Published, below
from slt.streams.arrays import write_features

PARTS = {"train": "train", "val": "dev", "test": "test"}
POINTS = 86
# Rows of the tables of Isharah-2000, as the MSLR challenge of ICCV 2025 published them.
COUNTS = {
    "SI": {"train": 19_500, "val": 1_950, "test": 7_800},
    "US": {"train": 20_899, "val": 550, "test": 550},
}


class Isharah(Published):
    """Tables `id|gloss` and pickles of key points, as published for the MSLR challenge of ICCV 2025.

    A pickle holds id -> {"keypoints": (T, 86, 2 or 3)}. The challenge's starter kit takes them for 21 points of the
    right hand, 21 of the left, 19 of the lips and 25 of the body, and does not say which the 25 are; so they are not
    taken for a skeleton: each clip goes to the cache as `features/<id>.npy`, float32 (T, 172), x, y about the clip's
    mean over its standard deviation. A point that is missing (x = y = 0) is 0, a frame without any is not seen.

    The test tables have no glosses: they were kept back.

    Args:
        root: the folder of the tables and pickles.
        protocol: `SI`, signer-independent, or `US`, unseen sentences.
    """

    expects = "PROTOCOL_train.csv and PROTOCOL_dev.csv or PROTOCOL/train.csv and PROTOCOL/dev.csv, and *.pkl"
    published: ClassVar[dict[str, int]] = COUNTS["SI"]
    _folder: Path | None = None

    def __init__(self, root: Path | str, *, protocol: str) -> None:
        super().__init__(root)
        if protocol not in COUNTS:
            raise ValueError(f"dataset.corpus.protocol must be one of {', '.join(COUNTS)}, came {protocol!r}")
        self.protocol = protocol
        self.published = COUNTS[protocol]  # type: ignore[misc]  # of the two tasks that one class reads

    @property
    def root(self) -> Path:
        if self._folder is None:
            found = sorted(self.home.rglob("*.pkl"))
            files = [path for path in found if self.protocol in path.stem.split("_")] or found
            if not files:
                raise FileNotFoundError(f"{self.home}: no *.pkl with key points; expected {self.expects}")
            self._folder = self.unpacked(files, lambda folder: _unpack(files, folder))
        return self._folder

    def read(self, split: str) -> Iterator[Row]:
        name = f"{self.protocol}/{PARTS[split]}"
        path = self.file(*(place + name.replace("/", mark) + ".csv" for place in ("", "**/") for mark in "_/"))
        records, _ = tables.read_records(path, ("id", "gloss"), ("id",), standard="|")
        for line, record in records:
            gloss = " ".join(record.get("gloss", "").split())
            signer, mark, _ = record["id"].partition("_")
            if not mark:
                raise ValueError(f"{path} line {line}: id {record['id']!r}; expected SIGNER_NUMBER")
            yield Row(record["id"], gloss, {"gloss": gloss, "signer": signer})


def _unpack(files: list[Path], folder: Path) -> None:
    for path in files:
        clips = read_pickle(path)
        if not isinstance(clips, dict):
            raise ValueError(f'{path}: id -> {{"keypoints": ...}} expected, came {type(clips).__name__}')
        for name, clip in clips.items():
            points = _points(clip, f"{path}: clip {name!r}")
            write_features(below(folder / "features", str(name), ".npy"), scaled(points))


def _points(clip: Any, where: str) -> NDArray[Any]:
    points = np.asarray(clip["keypoints"] if isinstance(clip, dict) and "keypoints" in clip else clip)
    if points.ndim != 3 or points.shape[1] != POINTS or points.shape[2] not in (2, 3) or not len(points):
        raise ValueError(f"{where}: key points (T, {POINTS}, 2) expected, came {points.dtype} {points.shape}")
    if points.dtype.kind not in "fiu":
        raise ValueError(f"{where}: key points must be numbers, came {points.dtype}")
    return points[..., :2].astype(np.float32)


def scaled(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (T, K, 2) as (T, 2K) about the clip's mean over its standard deviation; a frame without points is NaN."""
    there = np.isfinite(points).all(-1) & (points != 0).any(-1)
    out = np.zeros_like(points)
    if there.any():
        found = points[there] - points[there].mean(0)
        out[there] = found / max(float(found.std()), 1e-6)
    out[~there.any(1)] = np.nan
    return out.reshape(len(out), -1)
