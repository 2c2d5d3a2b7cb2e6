"""A corpus' split as samples: which frames and streams of each clip, what is changed in them, and how much is seen.

T frames, N clips of the split, S streams. A new corpus is one class with what `Corpus` asks for, and one YAML file.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slt.corpora.augment import Augment, warped
from slt.corpora.choosing import Chosen
from slt.corpora.context import COLUMNS as OF_FILMS
from slt.corpora.context import before_in_film
from slt.corpora.corpus import Corpus, Row
from slt.corpora.splits import clips_of_signers
from slt.corpora.stitching import COLUMN, Part, Stitching, choose
from slt.streams.features import Features
from slt.streams.sample import Sample, Seen, frame_index, frame_step
from slt.streams.seen import Share, seen_faults, seen_lines
from slt.streams.stream import Stream, stored_files
from slt.text import clean

log = logging.getLogger(__name__)

LOOKED = 300  # clips of a split of which it is read how often their streams are seen


class Clips(Dataset[Sample]):
    """One split of a corpus, as a map-style dataset of `Sample`.

    Everything that is wrong with its clips is looked for here, at the start, by listing each stream's folder once and
    opening headers; what only a full read can show (a cut JPEG, NaN) is said by the read that meets it.

    Args:
        root: the folder of the corpus.
        corpus: what reads it, made of the root.
        split: `train`, `val`, `test`, or another that the corpus knows.
        streams: name -> reader (`slt.streams.stream`).
        augment: an `Augment` or a mapping of its keys; None switches off the streams' own augmentation too.
        seed: of the augmentation, which depends on (seed, epoch, index) and on nothing else.
        splits, withdrawn: as in `slt.corpora.choosing.Chosen`.
        max_missing: greatest share of the split's clips whose files may be missing; these are left out.
        fps, max_frames, length_tolerance, only, limit, held_out, signers, min_seen: keys of `conf/dataset/lsa_t.yaml`,
            which says what they are; `limit` and `signers` are of `train`, `held_out` of all others.
        scoring: how the corpus' literature scores its sentences (`slt.evaluation.settings.Conventions`), for whoever
            scores clips of it; None = as the suite does by default.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        corpus: Callable[[Path], Corpus],
        split: str,
        streams: Mapping[str, Stream],
        fps: float | None,
        max_frames: int | None,
        length_tolerance: int,
        augment: Mapping[str, Any] | Augment | None,
        seed: int,
        only: Sequence[str] | None = None,
        limit: int | None = None,
        held_out: int | None = None,
        signers: int | None = None,
        min_seen: float = 0.0,
        max_missing: float = 0.0,
        splits: str | None = None,
        withdrawn: str | None = None,
        scoring: Mapping[str, Any] | None = None,
    ) -> None:
        for key, value, fits, expected in (
            ("fps", fps, fps is None or fps > 0, "above 0, or null for all frames"),
            ("max_frames", max_frames, max_frames is None or max_frames >= 1, "at least 1, or null for any length"),
            ("length_tolerance", length_tolerance, length_tolerance >= 0, "0 frames or more"),
            ("held_out", held_out, held_out is None or held_out >= 1, "at least 1, or null for all clips"),
            ("min_seen", min_seen, 0 <= min_seen <= 1, "a share from 0 to 1"),
            ("max_missing", max_missing, 0 <= max_missing < 1, "a share from 0 to below 1"),
        ):
            if not fits:
                raise ValueError(f"dataset.{key} must be {expected}, came {value}")
        found = Chosen(corpus(Path(root)), splits=splits, withdrawn=withdrawn)
        self.root, self.split, self.scoring = found.root, split, scoring
        self.streams = _chosen(streams, only)
        self.max_frames, self.length_tolerance, self.seed, self.min_seen = max_frames, length_tolerance, seed, min_seen
        self.augment = Augment.of(augment)
        if self.augment and self.augment.mirror:
            _check_mirrors(self.streams)
        rows = self._there(found.rows(split), max_missing)
        rows = rows[:held_out] if split != "train" else _drawn(rows, limit=limit, signers=signers, seed=seed)
        self._keep(rows)
        self.extractor, self.fingerprint = found.extractor, found.fingerprint
        self.steps = self._steps(fps)  # (N,): source frames from one kept frame to the next
        self.frame_counts = self._shortest()  # (N,): frames on disk
        counts = zip(self.frame_counts.tolist(), self.steps.tolist(), strict=True)
        # (N,): frames as given out when nothing is augmented
        self.lengths = np.array([len(frame_index(*pair, max_frames)) for pair in counts], np.int64)
        if self.augment and self.augment.stitch:
            self.stitching  # noqa: B018  a fault is said before training

    def _keep(self, rows: Sequence[Row]) -> None:
        if not rows:
            raise ValueError(f"{self.root}, split {self.split}: no clip; expected one at least")
        # StringDType: no object a row that workers would touch and so copy.
        self.ids = _strings(row.id for row in rows)
        self.files = self.ids if all(not row.file for row in rows) else _strings(row.file or row.id for row in rows)
        self.texts = _strings(clean(row.text) for row in rows)
        if len(empty := np.flatnonzero(self.texts == "")):
            raise ValueError(f"clip {self.ids[empty[0]]!r} has an empty texto; give its sentence or remove the row")
        self.columns = {key: _strings(row.columns[key] for row in rows) for key in rows[0].columns}
        self._before = before_in_film(self.ids, self.columns)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return a clip, by its index or by (epoch, index): then workers may read ahead over the end of an epoch."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, int(index)))
        parts = self._choose_frames(int(index), rng)
        mirror = self.augment is not None and rng.random() < self.augment.mirror
        dropped = self._choose_dropped(rng)
        sample = Sample(id=self.ids[index], text=self.texts[index], gloss=self.gloss(index), streams={}, seen={},
                        seconds=self.seconds(int(index)), **self.said_before(int(index)))  # fmt: skip
        for name, reader in self.streams.items():
            source = self.streams[reader.mirror] if mirror and reader.mirror else reader
            array, seen = self._read(source, parts)
            if mirror:
                array = source.flip(array)
            if self.augment:
                array = reader.augment(array, rng)
            if name in dropped:
                seen = np.zeros_like(seen)
            sample.streams[name] = reader.finish(array, seen)
            sample.seen[name] = np.ascontiguousarray(seen)
        if self.augment and rng.random() < self.augment.context_dropout:
            sample.context = ""
        return sample

    def _read(self, source: Stream, parts: Sequence[Part]) -> Seen:
        found = [source.read(self.root, self.files[part.clip], part.frames) for part in parts]
        return found[0] if len(found) == 1 else Seen(*map(np.concatenate, zip(*found, strict=True)))

    def take(self, places: NDArray[np.int64]) -> Clips:
        """Return only the clips at some places."""
        some = copy.copy(self)
        for name in ("ids", "files", "texts", "steps", "frame_counts", "lengths"):
            setattr(some, name, getattr(self, name)[places])
        some.columns = {key: values[places] for key, values in self.columns.items()}
        some._before = before_in_film(some.ids, some.columns)
        return some

    def read(self, index: int, name: str) -> Seen:
        """Return a stream of a clip as it lies in its file, nothing augmented."""
        frames = frame_index(int(self.frame_counts[index]), float(self.steps[index]), self.max_frames)
        return self.streams[name].read(self.root, self.files[index], frames)

    @property
    def signers(self) -> set[str]:
        """Return who signs these clips, as the corpus calls them; nobody where it does not say."""
        return {str(name) for name in self.columns.get("signer", ())} - {""}

    def gloss(self, index: int) -> str:
        """Return the glosses of a clip; "" where the corpus has none."""
        return str(self.columns["gloss"][index]) if "gloss" in self.columns else ""

    def seconds(self, index: int) -> float | None:
        """Return how long a clip is, by its frames and the column `fps`; None where the corpus does not say that."""
        stated = str(self.columns["fps"][index]) if "fps" in self.columns else ""
        return int(self.frame_counts[index]) / self._number(index, "fps") if stated else None

    @property
    def before(self) -> NDArray[np.int64]:
        """The place of the clip before each in its film, of those that are read, (N,); -1 = it is the first."""
        if lacking := [key for key in OF_FILMS if key not in self.columns]:
            raise ValueError(
                f"{self.root}: a decoder that reads the sentence before (decoder.prompt has {{context}}) needs the "
                f"columns {' and '.join(OF_FILMS)}, and there is no {lacking[0]!r}; give it, or take {{context}} out"
            )
        return self._before

    def said_before(self, index: int) -> dict[str, str]:
        """The sentence before a clip in its film, `context`, and its clip's id, `previous`; "" twice of the first."""
        place = int(self._before[index])
        return {} if place < 0 else {"context": self.texts[place], "previous": self.ids[place]}

    def seen_shares(self) -> dict[str, Share]:
        """Return how often each stream is seen, nothing augmented, in `LOOKED` clips at most, evenly spread."""
        shares = dict.fromkeys(self.streams, Share())
        for clip in np.unique(np.linspace(0, len(self) - 1, min(len(self), LOOKED)).astype(int)).tolist():
            frames = frame_index(int(self.frame_counts[clip]), float(self.steps[clip]), self.max_frames)
            for name, reader in self.streams.items():
                seen = reader.read_seen(self.root, self.files[clip], frames)
                shares[name] = shares[name].add(int(seen.sum()), len(seen))
        return shares

    def check_seen(self, *, strict: bool) -> None:
        """Say in what share of the frames a model will see each stream; too few of them are an error with `strict`."""
        shares = self.seen_shares()
        for line in seen_lines(shares):
            log.info("%s of the %s of %s", line, f"{len(self):,}", self.split)
        said = seen_faults(shares, self.min_seen, key="dataset.min_seen")
        if faults := "\n  ".join(f"{self.root}, split {self.split}: {fault}" for fault in said):
            if strict:
                raise ValueError(faults)
            log.warning(faults)

    def _there(self, rows: Sequence[Row], most: float) -> Sequence[Row]:
        """Return the rows whose files are there, where up to a share `most` of them may be missing."""
        if not most:
            return rows
        here = [set(stored_files(self.root, reader.folder)) for reader in self.streams.values()]
        kept = [row for row in rows if all((row.file or row.id) in files for files in here)]
        if len(kept) < len(rows):
            gone = len(rows) - len(kept)
            first = next(row.id for row in rows if not all((row.file or row.id) in files for files in here))
            said = f"{self.root}, split {self.split}: {gone} of {len(rows)} clips have no files (first: {first!r})"
            if gone > most * len(rows):
                raise FileNotFoundError(f"{said}, over dataset.max_missing={most}; get them, or raise it")
            log.warning("%s and are left out, as dataset.max_missing says", said)
        return kept

    @cached_property
    def stitching(self) -> Stitching:
        if COLUMN not in self.columns:
            raise ValueError(
                f"augment.stitch: {self.root} does not say where its signs are: it has no column {COLUMN!r}; give it, "
                "or set augment.stitch=0 (of the embedded corpus: remove that folder, and it is written anew)"
            )
        return Stitching(self.columns[COLUMN].tolist(), self.frame_counts)

    def _choose_frames(self, index: int, rng: np.random.Generator) -> list[Part]:
        """Return the frames on disk that the clip is made of: its own and, stitched, those of others."""
        frames, step = int(self.frame_counts[index]), float(self.steps[index])
        if self.augment is None:
            return [Part(index, frame_index(frames, step, self.max_frames))]
        whole = [Part(index, np.arange(frames))]
        if self.augment.stitch:
            whole = self.stitching.draw(index, frames, self.augment.stitch, rng)
            frames = sum(len(part.frames) for part in whole)
        chosen = frame_index(frames, step * float(rng.uniform(*self.augment.speed)), self.max_frames)
        if self.augment.warp:
            chosen = chosen[warped(len(chosen), self.augment.warp, rng)]
        kept = rng.random(len(chosen)) >= self.augment.frame_dropout
        return choose(whole, chosen[kept] if kept.any() else chosen[:1])

    def _choose_dropped(self, rng: np.random.Generator) -> list[str]:
        if self.augment is None or not self.augment.stream_dropout:
            return []
        draws = rng.random(len(self.streams))
        draws[draws.argmax()] = 1  # a clip of which nothing is seen teaches nothing
        return [name for name, draw in zip(self.streams, draws, strict=True) if draw < self.augment.stream_dropout]

    def _steps(self, fps: float | None) -> NDArray[np.float64]:
        if fps is None:
            return np.ones(len(self))
        if "fps" not in self.columns:
            raise ValueError(f"{self.root}: dataset.fps={fps} needs the column `fps`; add it or set dataset.fps=null")
        return np.array([frame_step(self._number(clip, "fps"), fps) for clip in range(len(self))])

    def _number(self, clip: int, key: str) -> float:
        text = self.columns[key][clip]
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise ValueError(f"{self.root}: clip {self.ids[clip]!r} has {key} {text!r}; expected a number above 0")
        return value

    def _shortest(self) -> NDArray[np.int64]:
        """Return the frames of each clip's shortest stream (N,), and check that the others are about as long."""
        counts = np.stack([reader.lengths(self.root, self.files) for reader in self.streams.values()])  # (S, N)
        shortest: NDArray[np.int64] = counts.min(0)
        apart: NDArray[np.int64] = counts.max(0) - shortest
        if len(uneven := np.flatnonzero(apart > self.length_tolerance)):
            said = ", ".join(f"{name} has {n}" for name, n in zip(self.streams, counts[:, uneven[0]], strict=True))
            raise ValueError(
                f"{self.root}: clip {self.ids[uneven[0]]!r}: streams of different length ({said} frames; {len(uneven)} "
                f"such clips); expected as many frames within length_tolerance={self.length_tolerance}; extract it "
                "anew or raise the tolerance"
            )
        if apart.any():
            log.warning(
                "%s, split %s: %d of %d clips have streams of different length (up to %d frames), cut to the shortest",
                self.root, self.split, int((apart > 0).sum()), len(self), int(apart.max()),
            )  # fmt: skip
        for clip, stated in enumerate(self.columns.get("frame_count", ())):
            if stated and abs(self._number(clip, "frame_count") - shortest[clip]) > self.length_tolerance:
                raise ValueError(
                    f"{self.root}: clip {self.ids[clip]!r} has frame_count {stated}, its streams have "
                    f"{shortest[clip]} frames; extract it anew, or correct or remove the column"
                )
        return shortest


def _drawn(rows: Sequence[Row], *, limit: int | None, signers: int | None, seed: int) -> list[Row]:
    who = {row.id: row.columns.get("signer", "") for row in rows}
    kept = set([*who][:limit] if signers is None
               else clips_of_signers([*who], who, signers=signers, limit=limit, seed=seed))  # fmt: skip
    return [row for row in rows if row.id in kept]


def _strings(values: Iterable[str]) -> Any:
    return np.array([*values], np.dtypes.StringDType())


def _chosen(streams: Mapping[str, Stream], only: Sequence[str] | None) -> dict[str, Stream]:
    if unknown := [name for name in only or () if name not in streams]:
        raise ValueError(f"dataset.only: there is no stream {unknown[0]!r}; the corpus has {', '.join(streams)}")
    chosen = {name: stream for name, stream in streams.items() if only is None or name in only}
    if not chosen:
        raise ValueError("dataset.streams is empty; a clip needs at least one stream")
    return chosen


def _check_mirrors(streams: Mapping[str, Any]) -> None:
    for name, reader in streams.items():
        if isinstance(reader, Features):
            raise ValueError(f"stream {name!r}: features cannot be mirrored; set augment.mirror=0")
        partner = streams.get(reader.mirror)
        if reader.mirror and (not partner or partner != replace(reader, folder=partner.folder, mirror=name)):
            raise ValueError(
                f"stream {name!r}: mirror={reader.mirror!r}, but there is no stream of that name with mirror={name!r} "
                "and the same other keys; add it, or set augment.mirror=0"
            )
