"""RWTH-BOSTON-104 (Dreuw et al., Interspeech 2007): recognition of American Sign Language by two hands and a nose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.published import Published, below
from slt.streams.arrays import write_features

PLACES = ("left-x", "left-y", "right-x", "right-y", "nose-x", "nose-y")
FOLDS = 5
BETWEEN = (2, 8)  # frames from one sign to the next where recordings are composed
FPS = "30"  # frames a second of the films
# Pixels that count as one, for positions and for their change in a frame (312 x 242 pixels are the picture).
REACH, PACE = 40.0, 6.0


class Sign(NamedTuple):
    """A sign in a recording: its frames from `start` to `end`, both of them its own."""

    video: str
    start: int
    end: int
    word: str


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
        composed: recordings that training has beside, 0 = none: each has the glosses of a training recording, but about
            half of its signs are cut from other training recordings of the same gloss.
        seed: of what is composed.
    """

    expects = "hands.csv, words.csv and speakers.csv"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}  # five folds of 161 recordings
    _folder: Path | None = None

    # Nothing composed where nothing is said: checkpoints of before there was this key meant it so.
    def __init__(self, root: Path | str, *, fold: int, held_out: str, val_share: float, composed: int = 0,
                 seed: int = 0) -> None:  # fmt: skip
        super().__init__(root)
        if fold not in range(FOLDS):
            raise ValueError(f"dataset.corpus.fold must be 0 to {FOLDS - 1}, came {fold}")
        if held_out not in ("recordings", "sentences"):
            raise ValueError(f"dataset.corpus.held_out must be recordings or sentences, came {held_out!r}")
        if not 0 < val_share <= 0.5:
            raise ValueError(f"dataset.corpus.val_share must be a share above 0, at most 0.5, came {val_share}")
        if composed < 0:
            raise ValueError(f"dataset.corpus.composed must be 0 or more, came {composed}")
        self.fold, self.held_out, self.val_share = fold, held_out, val_share
        self.composed, self.seed = composed, seed

    @property
    def root(self) -> Path:
        if self._folder is None:
            made = {"fold": self.fold, "held_out": self.held_out, "val_share": self.val_share,
                    "composed": self.composed, "seed": self.seed}  # fmt: skip
            files = [self.file("hands.csv"), *([self.file("words.csv")] if self.composed else [])]
            self._folder = self.unpacked(files, self._write, made if self.composed else None)
        return self._folder

    @cached_property
    def signs(self) -> dict[str, list[Sign]]:
        """The signs of each recording, as they follow each other; recordings by their numbers, in numerical order."""
        path = self.file("words.csv")
        records, _ = tables.read_records(path, ("video", "word", "startframe", "endframe"), standard=",")
        found: dict[str, list[Sign]] = {}
        for line, record in records:
            if not all(record[key].isdecimal() for key in ("video", "startframe", "endframe")):
                raise ValueError(f"{path} line {line}: video, startframe and endframe must be whole numbers")
            sign = Sign(record["video"], int(record["startframe"]), int(record["endframe"]), record["word"].strip())
            found.setdefault(sign.video, []).append(sign)
        return {video: sorted(found[video], key=lambda sign: sign.start) for video in sorted(found, key=int)}

    @cached_property
    def clips(self) -> dict[str, Row]:
        """The recordings by their numbers, in numerical order."""
        who = {record["video"]: record["speaker"] for _, record in
               tables.read_records(self.file("speakers.csv"), ("video", "speaker"), standard=",")[0]}  # fmt: skip
        if absent := [video for video in self.signs if video not in who]:
            self.notes.append(f"speakers.csv names nobody for {len(absent)} recordings (first: {absent[0]})")
        rows = {}
        for video, signs in self.signs.items():
            gloss = " ".join(sign.word for sign in signs)
            rows[video] = Row(video, gloss, {"gloss": gloss, "signer": who.get(video, ""), "fps": FPS})
        return rows

    def read(self, split: str) -> Iterator[Row]:
        yield from (row for video, row in self.clips.items() if self.parts[video] == split)
        if split == "train":
            for name, signs in self.compositions.items():
                gloss = " ".join(sign.word for sign in signs)
                yield Row(name, gloss, {"gloss": gloss, "signer": "", "fps": FPS})

    @cached_property
    def compositions(self) -> dict[str, list[Sign]]:
        """The signs of each composed recording by its name, all of them cut from training recordings."""
        rng = np.random.default_rng(self.seed)
        train = [signs for video, signs in self.signs.items() if self.parts[video] == "train"]
        same: dict[str, list[Sign]] = {}
        for sign in (sign for signs in train for sign in signs if sign.start <= sign.end):
            same.setdefault(sign.word, []).append(sign)

        def another(sign: Sign) -> Sign:
            return same[sign.word][rng.integers(len(same[sign.word]))] if rng.random() < 0.5 else sign

        drawn = [train[rng.integers(len(train))] for _ in range(self.composed)]
        return {f"composed-{n:05d}": [another(sign) for sign in signs] for n, signs in enumerate(drawn)}

    def _write(self, folder: Path) -> None:
        places = _read_places(self.file("hands.csv"))
        for sign in (sign for signs in self.compositions.values() for sign in signs):
            if sign.end >= (there := len(places.get(sign.video, ()))):
                raise ValueError(f"{self.home}: {sign} ends after the {there} frames that hands.csv has of it")
        rng = np.random.default_rng(self.seed)
        made = {name: joined([places[sign.video][sign.start : sign.end + 1] for sign in signs], rng)
                for name, signs in self.compositions.items()}  # fmt: skip
        for name, array in {**places, **made}.items():
            write_features(below(folder / "features", name, ".npy"), features(array))

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


def _read_places(path: Path) -> dict[str, NDArray[np.float64]]:
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
    return {video: np.array(frames) for video, frames in found.items()}


def joined(parts: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return places of signs in a row, with some frames in a straight line between two."""
    out = [parts[0]]
    for before, after in pairwise(parts):
        count = int(rng.integers(BETWEEN[0], BETWEEN[1] + 1))
        share = np.arange(1, count + 1)[:, None] / (count + 1)
        out += [(1 - share) * before[-1] + share * after[0], after]
    return np.concatenate(out)


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
