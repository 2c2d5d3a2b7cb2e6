"""RWTH-BOSTON-104 (Dreuw et al., Interspeech 2007): recognition of American Sign Language by two hands and a nose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.published import Published, below
from slt.streams.arrays import write_features

PLACES = ("left-x", "left-y", "right-x", "right-y", "nose-x", "nose-y")
FOLDS = 5
FPS = "30"  # frames a second of the films
# Pixels that count as one, for positions and for their change in a frame (312 x 242 pixels are the picture).
REACH, PACE = 40.0, 6.0


class Boston104(Published):
    """The 161 recordings of the official training part, by `hands.csv`, `words.csv` and `speakers.csv`.

    The glosses of a recording are its sentence, scored by WER. The official 40 test recordings are not in these tables,
    so the 161 are cut into five folds; one is test, a share of the others val. The features go to the cache as
    `features/<video>.npy`, see `features`.

    Args:
        root: the folder of the tables.
        fold: which of the five folds is test, 0 to 4.
        held_out: `recordings`, or `sentences`: then no sequence of glosses is on two sides.
        val_share: of the recordings (or sentences) outside the fold.
    """

    expects = "hands.csv, words.csv and speakers.csv"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}  # five folds of 161 recordings
    _folder: Path | None = None

    def __init__(self, root: Path | str, *, fold: int, held_out: str, val_share: float) -> None:
        super().__init__(root)
        if fold not in range(FOLDS):
            raise ValueError(f"dataset.corpus.fold must be 0 to {FOLDS - 1}, came {fold}")
        if held_out not in ("recordings", "sentences"):
            raise ValueError(f"dataset.corpus.held_out must be recordings or sentences, came {held_out!r}")
        if not 0 < val_share <= 0.5:
            raise ValueError(f"dataset.corpus.val_share must be a share above 0, at most 0.5, came {val_share}")
        self.fold, self.held_out, self.val_share = fold, held_out, val_share

    @property
    def root(self) -> Path:
        if self._folder is None:
            path = self.file("hands.csv")
            self._folder = self.unpacked([path], lambda folder: _unpack(path, folder))
        return self._folder

    @cached_property
    def clips(self) -> dict[str, Row]:
        """The recordings by their numbers, in numerical order."""
        path = self.file("words.csv")
        records, _ = tables.read_records(path, ("video", "word", "startframe"), standard=",")
        who = {record["video"]: record["speaker"] for _, record in
               tables.read_records(self.file("speakers.csv"), ("video", "speaker"), standard=",")[0]}  # fmt: skip
        words: dict[str, list[tuple[int, str]]] = {}
        for line, record in records:
            if not record["startframe"].isdecimal() or not record["video"].isdecimal():
                raise ValueError(f"{path} line {line}: video and startframe must be whole numbers")
            words.setdefault(record["video"], []).append((int(record["startframe"]), record["word"].strip()))
        if absent := [video for video in words if video not in who]:
            self.notes.append(f"speakers.csv names nobody for {len(absent)} recordings (first: {absent[0]})")
        rows = {}
        for video in sorted(words, key=int):
            gloss = " ".join(word for _, word in sorted(words[video], key=lambda pair: pair[0]))
            rows[video] = Row(video, gloss, {"gloss": gloss, "signer": who.get(video, ""), "fps": FPS})
        return rows

    def read(self, split: str) -> Iterator[Row]:
        yield from (row for video, row in self.clips.items() if self.parts[video] == split)

    @cached_property
    def parts(self) -> dict[str, str]:
        """Recording -> split."""
        groups = {video: row.text if self.held_out == "sentences" else video for video, row in self.clips.items()}
        fold = _spread(list(groups.values()), FOLDS)
        rest = [group for group in groups.values() if fold[group] != self.fold]
        val = _spread(rest, round(1 / self.val_share))
        return {video: "test" if fold[group] == self.fold else "val" if val[group] == 0 else "train"
                for video, group in groups.items()}  # fmt: skip


def _spread(groups: Sequence[str], count: int) -> dict[str, int]:
    """Return group -> one of `count` parts of about as many recordings each, in an order that says nothing."""
    sizes = {name: len([*same]) for name, same in groupby(sorted(groups))}
    held = [0] * count
    found = {}
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        found[name] = held.index(min(held))
        held[found[name]] += sizes[name]
    return found


def _unpack(path: Path, folder: Path) -> None:
    records, _ = tables.read_records(path, ("video", "frame", *PLACES), standard=",")
    found: dict[str, list[list[float]]] = {}
    for line, record in records:
        numbers = [tables.parse_seconds(record[key].strip().removeprefix("-")) for key in PLACES]
        if None in numbers:
            raise ValueError(f"{path} line {line}: places must be numbers, came {[record[key] for key in PLACES]}")
        frames = found.setdefault(record["video"], [])
        if record["frame"] != str(len(frames)):
            raise ValueError(f"{path} line {line}: frame {len(frames)} of video {record['video']} expected, "
                             f"came {record['frame']}")  # fmt: skip
        frames.append([float(record[key]) for key in PLACES])
    for video, frames in found.items():
        write_features(below(folder / "features", video, ".npy"), features(np.array(frames)))


def features(places: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return places (T, 6) of left hand, right hand and nose in pixels as float32 (T, 20).

    Both hands about the nose, in 40 pixels (4 numbers); their speed (4) and its change (4), in 6 pixels a frame; the
    right hand about the left (2) and its speed (2); the nose about where it mostly is (2), in 6 pixels, and its speed
    (2), which nodding and shaking the head move.
    """
    left, right, nose = places[:, 0:2], places[:, 2:4], places[:, 4:6]
    hands = np.concatenate([left - nose, right - nose], axis=1)
    pace = _change(hands)
    apart = right - left
    still = nose - np.median(nose, axis=0)
    parts = (hands / REACH, pace / PACE, _change(pace) / PACE, apart / REACH, _change(apart) / PACE,
             still / PACE, _change(nose) / PACE)  # fmt: skip
    return np.concatenate(parts, axis=1).astype(np.float32)


def _change(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """The change of (T, F) in a frame, from the frames on both sides."""
    return np.gradient(x, axis=0) if len(x) > 1 else np.zeros_like(x)
