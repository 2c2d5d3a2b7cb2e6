"""A corpus folder in the LSA-T layout to samples: rows, splits and all checks at the start, then clip by clip.

T frames, N clips of the split, S streams.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from slt.corpora import layout
from slt.corpora.splits import clips_of_signers
from slt.files import parse_json
from slt.streams.batch import Sample
from slt.streams.frames import frame_index, frame_step
from slt.streams.readers import Features, Stream, read_seen
from slt.streams.seen import Share, seen_faults, seen_lines
from slt.text import clean

log = logging.getLogger(__name__)

LOOKED = 300  # clips of a split of which it is read how often their streams are seen


@dataclass(frozen=True)
class Augment:
    """What is changed at random in a clip as a whole (each stream has its own keys beside).

    Attributes:
        speed: slowest and fastest signing, (0.8, 1.25) = from 20 % slower to 25 % faster; (1, 1) = none.
        frame_dropout: chance of each frame to be left out.
        stream_dropout: chance of each stream to be not seen in the whole clip (one stream always stays).
        mirror: chance of a signer of the other handedness: pictures flipped, sides of the pose and hands exchanged.
    """

    speed: tuple[float, float]
    frame_dropout: float
    stream_dropout: float
    mirror: float

    def __post_init__(self) -> None:
        if len(self.speed) != 2 or not 0 < self.speed[0] <= self.speed[1]:
            raise ValueError(f"augment.speed must be two numbers, 0 < slowest <= fastest, came {list(self.speed)}")
        for key in ("frame_dropout", "stream_dropout", "mirror"):
            if not 0 <= getattr(self, key) <= 1 - (key == "frame_dropout") * 1e-9:
                raise ValueError(f"augment.{key} is a chance from 0 to 1, came {getattr(self, key)}")

    @classmethod
    def of(cls, value: Mapping[str, Any] | Augment | None) -> Augment | None:
        """Return `value` as an `Augment`, from a mapping of exactly its keys."""
        if value is None or isinstance(value, cls):
            return value
        assert isinstance(value, Mapping)
        keys = [field.name for field in fields(cls)]
        for key in value:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, 1)
                hint = f", did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"augment: unknown key {key!r}{hint}; expected {keys}")
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"augment: missing {missing}; expected all of {keys}, or augment=null for none")
        return cls(**{**value, "speed": tuple(value["speed"])})


def _chosen(streams: Mapping[str, Stream], only: Sequence[str] | None) -> dict[str, Stream]:
    for name in only or ():
        if name not in streams:
            raise ValueError(f"dataset.only: there is no stream {name!r}; the corpus has {', '.join(streams)}")
    return {name: stream for name, stream in streams.items() if only is None or name in only}


class Strings(Sequence[str]):
    """Many strings in two arrays: no object a row that workers would touch and so copy."""

    def __init__(self, strings: Iterable[str]) -> None:
        pieces = [string.encode("utf-8") for string in strings]
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self._ends = np.cumsum([0, *map(len, pieces)], dtype=np.int64)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes().decode("utf-8")

    def __len__(self) -> int:
        return len(self._ends) - 1


class LsaTMultiStream(Dataset[Sample]):
    """One split of a corpus in the LSA-T layout, as a map-style dataset of `Sample`.

    Everything that is wrong with the folder is looked for here, at the start, by listing each stream's folder once and
    opening headers; what only a full read can show (a cut JPEG, NaN) is said by the read that meets it.

    Args:
        root: the folder with `subs.csv`, `index/` and the streams' folders.
        split: `train`, `val`, `test`, or the name of another file in `index/`.
        streams: name -> reader (`slt.streams.readers`).
        fps: frames a second to keep, by the table's `fps` column; clips at that rate or below keep all; None = all.
        max_frames: longer clips are thinned evenly to this; None = any length.
        length_tolerance: by how many frames the streams of a clip may differ in length (they are cut to the shortest).
        augment: an `Augment` or a mapping of its keys; None switches off the streams' own augmentation too.
        seed: of the augmentation, which depends on (seed, epoch, index) and on nothing else.
        only: names of the streams to read; None = all of them.
        signers: only clips of so many signers of `train`, as `clips_of_signers` takes them; None = all.
        limit: only the first so many clips of `train`; None = all. Other splits are whole.
        mixed_extractors: take clips that different extractors made, which is refused otherwise. It has a default for
            the checkpoints of before, which do not name it.
        min_seen: least share of the frames in which each stream is to be seen, see `check_seen`; the default is again
            for the checkpoints of before.

    Attributes:
        ids, texts: of the split's clips, in the order of its index.
        columns: column name -> the split's values as they stand in the table, for every other column.
        lengths: int64 (N,), frames of each clip as given out when nothing is augmented.
        fingerprint: sha256 of all rows, all splits and what made the streams; the same for every split.
        extractor: fingerprint of what extracted the clips, by `metadata.jsonl`; several are joined by " + "; None where
            that names none.

    Raises:
        FileNotFoundError, ValueError: one message that names the file and line, row or key.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str,
        streams: Mapping[str, Stream],
        fps: float | None,
        max_frames: int | None,
        length_tolerance: int,
        augment: Mapping[str, Any] | Augment | None,
        seed: int,
        only: Sequence[str] | None = None,
        limit: int | None = None,
        signers: int | None = None,
        mixed_extractors: bool = False,
        min_seen: float = 0.0,
    ) -> None:
        _check_numbers(fps, max_frames, length_tolerance)
        if not 0 <= min_seen <= 1:
            raise ValueError(f"dataset.min_seen must be a share from 0 to 1, came {min_seen}")
        self.root, self.split, self.streams = Path(root), split, _chosen(streams, only)
        self.max_frames, self.length_tolerance, self.seed = max_frames, length_tolerance, seed
        self.min_seen = min_seen
        self.augment = Augment.of(augment)
        if not self.streams:
            raise ValueError("dataset.streams is empty; a clip needs at least one stream")
        if self.augment and self.augment.mirror:
            _check_mirrors(self.streams)
        table, splits = read_corpus(self.root, split)
        ids = splits[split]
        if split == "train":
            who = {name: table[name].get("signer", "") for name in ids}
            ids = (
                ids[:limit] if signers is None else clips_of_signers(ids, who, signers=signers, limit=limit, seed=seed)
            )
        rows = [table[name] for name in ids]
        self.ids = Strings(ids)
        self.texts = Strings(_clean_text(row) for row in rows)
        self.columns = {key: Strings(row[key] for row in rows) for key in rows[0] if key not in layout.REQUIRED_COLUMNS}
        metadata = read_metadata(self.root)
        self.extractor = _extractor(self.root, table, metadata, mixed_extractors)
        self.fingerprint = _fingerprint(self.root, table, splits, metadata)
        self.steps = _steps(self.root, rows, fps)  # (N,): source frames from one kept frame to the next
        self.frame_counts = self._shortest(rows)  # (N,): frames on disk
        counts = zip(self.frame_counts.tolist(), self.steps.tolist(), strict=True)
        self.lengths = np.array([len(frame_index(*pair, max_frames)) for pair in counts], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return clip `index`, or `(epoch, index)` with the augmentation of that epoch: streams (T, ...), seen (T,).

        The epoch comes with the key and not from a setting, so that workers may read ahead over the end of an epoch.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        video_id = self.ids[index]
        rng = np.random.default_rng((self.seed, epoch, int(index)))
        frames = self._choose_frames(int(index), rng)
        mirror = self.augment is not None and rng.random() < self.augment.mirror
        dropped = self._choose_dropped(rng)
        streams: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for name, reader in self.streams.items():
            source = self.streams[reader.mirror] if mirror and reader.mirror else reader
            array, seen = source.read(self.root, video_id, frames)
            if mirror:
                array = source.flip(array)
            if self.augment:
                array = reader.augment(array, rng)
            if name in dropped:
                seen = np.zeros_like(seen)
            streams[name] = reader.finish(array, seen)
            masks[name] = torch.from_numpy(np.ascontiguousarray(seen))
        gloss = self.columns["gloss"][index] if "gloss" in self.columns else ""
        return Sample(video_id, self.texts[index], streams, masks, gloss)

    def seen_shares(self) -> dict[str, Share]:
        """Return how often each stream is seen, nothing augmented, in `LOOKED` clips at most, evenly spread."""
        shares = dict.fromkeys(self.streams, Share())
        for clip in np.unique(np.linspace(0, len(self) - 1, min(len(self), LOOKED)).astype(int)).tolist():
            frames = frame_index(int(self.frame_counts[clip]), float(self.steps[clip]), self.max_frames)
            for name, reader in self.streams.items():
                seen = read_seen(reader, self.root, self.ids[clip], frames)
                shares[name] = shares[name].add(int(seen.sum()), len(seen))
        return shares

    def check_seen(self, *, strict: bool) -> None:
        """Say in a line a stream in what share of the frames a model will see it.

        Raises:
            ValueError: with `strict`, a stream is seen in less than `min_seen` of them or never; else a warning.
        """
        shares = self.seen_shares()
        for line in seen_lines(shares):
            log.info("%s of the %s of %s", line, f"{len(self):,}", self.split)
        if faults := [f"{self.root}, split {self.split}: {fault}"
                      for fault in seen_faults(shares, self.min_seen, key="dataset.min_seen")]:  # fmt: skip
            if strict:
                raise ValueError("\n  ".join(faults))
            log.warning("\n  ".join(faults))

    def _choose_frames(self, index: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the frames on disk that the clip is made of, int64 (T,)."""
        frames, step = int(self.frame_counts[index]), float(self.steps[index])
        if self.augment is None:
            return frame_index(frames, step, self.max_frames)
        chosen = frame_index(frames, step * float(rng.uniform(*self.augment.speed)), self.max_frames)
        kept = rng.random(len(chosen)) >= self.augment.frame_dropout
        return chosen[kept] if kept.any() else chosen[:1]

    def _choose_dropped(self, rng: np.random.Generator) -> list[str]:
        if self.augment is None or not self.augment.stream_dropout:
            return []
        draws = rng.random(len(self.streams))
        keep = int(draws.argmax())  # a clip of which nothing is seen teaches nothing
        return [
            name
            for place, name in enumerate(self.streams)
            if draws[place] < self.augment.stream_dropout and place != keep
        ]

    def _shortest(self, rows: list[dict[str, str]]) -> NDArray[np.int64]:
        """Return the frames of each clip's shortest stream (N,), and check that the others are about as long."""
        names = list(self.streams)
        counts = np.stack([reader.lengths(self.root, self.ids) for reader in self.streams.values()])  # (S, N)
        shortest: NDArray[np.int64] = counts.min(0)
        longest: NDArray[np.int64] = counts.max(0)
        uneven = np.flatnonzero(longest - shortest > self.length_tolerance)
        if len(uneven):
            clip = int(uneven[0])
            found = ", ".join(
                f"{self.streams[name].files(self.root, self.ids[clip])[0]} has {counts[place, clip]}"
                for place, name in enumerate(names)
            )
            raise ValueError(
                f"clip {self.ids[clip]!r}: streams of different length ({found}; {len(uneven)} such clips); "
                f"expected as many frames within length_tolerance={self.length_tolerance}; extract it "
                "anew or raise the tolerance"
            )
        if (cut := int((longest > shortest).sum())) > 0:
            log.warning(
                "%s, split %s: %d of %d clips have streams of different length (up to %d frames), cut to the shortest",
                self.root,
                self.split,
                cut,
                len(rows),
                int((longest - shortest).max()),
            )
        for clip, row in enumerate(rows):
            stated = _number(self.root, row, "frame_count") if row.get("frame_count") else None
            if stated is not None and abs(stated - shortest[clip]) > self.length_tolerance:
                raise ValueError(
                    f"{self.root / 'subs.csv'}: clip {row['video_id']!r} has frame_count {row['frame_count']}, its "
                    f"streams have {shortest[clip]} frames; extract it anew, or correct or remove the column"
                )
        return shortest


def _check_numbers(fps: float | None, max_frames: int | None, length_tolerance: int) -> None:
    if fps is not None and fps <= 0:
        raise ValueError(f"dataset.fps must be above 0, or null for all frames, came {fps}")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"dataset.max_frames must be at least 1, or null for any length, came {max_frames}")
    if length_tolerance < 0:
        raise ValueError(f"dataset.length_tolerance must be 0 frames or more, came {length_tolerance}")


def _check_mirrors(streams: Mapping[str, Stream]) -> None:
    for name, reader in streams.items():
        if isinstance(reader, Features):
            raise ValueError(f"stream {name!r}: features cannot be mirrored; set augment.mirror=0")
        if reader.mirror is None:
            continue
        partner = streams.get(reader.mirror)
        same = {"folder", "mirror", "_packed"}
        alike = partner is not None and all(
            value == vars(partner).get(key) for key, value in vars(reader).items() if key not in same
        )
        if partner is None or partner.mirror != name or not alike:
            raise ValueError(
                f"stream {name!r}: mirror={reader.mirror!r}, but there is no stream of that name with mirror={name!r} "
                "and the same other keys; add it, or set augment.mirror=0"
            )


def read_corpus(
    root: Path, split: str, *, captions: bool = True
) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Return the table's rows by id and the ids of every split, checked against each other.

    Without `captions` clips need no sentence.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"dataset.root={root}: no such folder; expected subs.csv, index/ and the streams' folders"
        )
    table = {row["video_id"]: row for row in layout.read_table(root / "subs.csv", captions=captions)}
    there = sorted(path.stem for path in (root / "index").glob("*.csv"))
    if split not in there:
        raise FileNotFoundError(f"{root / 'index' / split}.csv: no such split; {root / 'index'} holds {there}")
    if faults := layout.index_faults(root):
        raise ValueError("; ".join(faults))
    splits = {
        name: layout.read_index(root / "index" / f"{name}.csv") for name in there if name in (*layout.SPLITS, split)
    }
    where: dict[str, str] = {}
    for name, ids in splits.items():
        for video_id in ids:
            if video_id not in table:
                near = difflib.get_close_matches(video_id, table, 1)
                raise ValueError(
                    f"{root / 'index' / name}.csv: id {video_id!r} has no row in {root / 'subs.csv'}"
                    + (f", did you mean {near[0]!r}?" if near else "")
                    + "; add the row or take the id out"
                )
            if name in layout.SPLITS and where.setdefault(video_id, name) != name:
                raise ValueError(
                    f"{root / 'index' / name}.csv: clip {video_id!r} stands in {where[video_id]}.csv too; a clip "
                    "belongs to one split, or scores mean nothing: take it out of one"
                )
    return table, splits


def _clean_text(row: dict[str, str]) -> str:
    text = clean(row["texto"])
    if not text:
        raise ValueError(f"subs.csv: clip {row['video_id']!r} has an empty texto; give its sentence or remove the row")
    return text


def _steps(root: Path, rows: list[dict[str, str]], fps: float | None) -> NDArray[np.float64]:
    if fps is None:
        return np.ones(len(rows))
    if "fps" not in rows[0]:
        raise ValueError(
            f"{root / 'subs.csv'}: dataset.fps={fps} needs the column `fps`; add it or set dataset.fps=null"
        )
    return np.array([frame_step(_number(root, row, "fps"), fps) for row in rows])


def _number(root: Path, row: dict[str, str], key: str) -> float:
    try:
        value = float(row[key])
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(
            f"{root / 'subs.csv'}: clip {row['video_id']!r} has {key} {row[key]!r}; expected a number above 0"
        )
    return value


def read_metadata(root: Path) -> list[dict[str, Any]]:
    """Return what `metadata.jsonl` says of each clip and its making; nothing where there is no such file."""
    path = root / "metadata.jsonl"
    if not path.is_file():
        return []
    return [_json(path, line) for line in _utf8(path).split("\n") if line.strip()]


def corpus_fingerprints(root: Path) -> tuple[str, str | None]:
    """Return the `fingerprint` and the `extractor` that `LsaTMultiStream` has for the corpus at `root`."""
    there = [split for split in layout.SPLITS if (root / "index" / f"{split}.csv").is_file()]
    table, splits = read_corpus(root, there[0] if there else "train", captions=False)
    metadata = read_metadata(root)
    return _fingerprint(root, table, splits, metadata), _extractor(root, table, metadata, True)


def _extractor(
    root: Path, table: Mapping[str, Any], metadata: Iterable[Mapping[str, Any]], mixed_extractors: bool
) -> str | None:
    """Return the fingerprint of what extracted the clips of the table, see `LsaTMultiStream.extractor`."""
    made = {str(line.get("video_id")): str(line["fingerprint"]) for line in metadata if line.get("fingerprint")}
    clips = Counter(made.get(name, "") for name in table)
    found = sorted(set(clips) - {""})
    if not found:
        return None
    if len(clips) > 1:
        counts = ", ".join(f"{count} by {name or 'one that is not named'}" for name, count in clips.most_common())
        message = f"{root / 'metadata.jsonl'}: clips of {len(clips)} extractors ({counts})"
        if not mixed_extractors:
            raise ValueError(
                f"{message}; expected one for all: their crops differ in ways that have nothing to do with signing. "
                "Extract all with one, take the others out of subs.csv and index/, or set "
                "dataset.mixed_extractors=true (in evaluation other_extractor=true)"
            )
        log.warning("%s, taken together as mixed_extractors says", message)
    return " + ".join(found)


def _fingerprint(
    root: Path,
    table: dict[str, dict[str, str]],
    splits: dict[str, list[str]],
    metadata: Sequence[Mapping[str, Any]],
) -> str:
    """Return the sha256 of the rows, the three splits, `corpus.json` and the extractors named in `metadata.jsonl`."""
    parts: list[Any] = [sorted(table.items()), [(name, splits.get(name)) for name in layout.SPLITS]]
    if (path := root / "corpus.json").is_file():
        corpus = _json(path, _utf8(path))
        parts.append(corpus.get("fingerprint", corpus))
    if (root / "metadata.jsonl").is_file():
        parts.append(sorted({str(line.get("fingerprint", line.get("extractor"))) for line in metadata}))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _utf8(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not utf-8 at byte {error.start}; make the corpus anew") from error


def _json(path: Path, text: str) -> dict[str, Any]:
    value = parse_json(text, path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: one JSON object expected, came {type(value).__name__}")
    return value
