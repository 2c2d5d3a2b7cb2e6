"""Several corpora as one: each with a weight in training and a language that its sentences begin with."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slt.corpora.clips import Clips
from slt.streams.sample import Sample, Seen
from slt.streams.seen import Share
from slt.streams.stream import Stream

log = logging.getLogger(__name__)


class Mixture(Clips):
    """`Clips` of the same split of several corpora, which have streams of the same names and kinds.

    An id is `CORPUS/ID`; the column `corpus` names it, and scores are told by it too.

    Args:
        parts: name -> a corpus' clips, made of `split`, `fps`, `max_frames` (and `augment`).
        weights: name -> how often each of its training clips comes in an epoch; 1.5 is once, and a half of them, drawn
            by the seed, once more. None named = 1.
        languages: name -> the language whose tag (`<es>`) the decoder writes first, and is forced to in evaluation.
        augment: None = no clip is augmented; anything else = as each part's own keys say.
        split, streams, fps, max_frames, seed: as of `Clips`.
        limit, held_out: of each part, as of `Clips`; None = as its own keys say.
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, Callable[..., Clips]],
        weights: Mapping[str, float],
        languages: Mapping[str, str],
        split: str,
        streams: Mapping[str, Stream],
        fps: float | None,
        max_frames: int | None,
        augment: Any,
        seed: int,
        limit: int | None = None,
        held_out: int | None = None,
        root: None = None,
    ) -> None:
        if root is not None:
            raise ValueError(f"dataset.root={root}: a mixture has none; set dataset.parts.NAME.root of each part")
        for key, given in (("weights", weights), ("languages", languages)):
            if unknown := [name for name in given if name not in parts]:
                raise ValueError(f"dataset.{key}: there is no part {unknown[0]!r}; the parts are {', '.join(parts)}")
        if low := [name for name, weight in weights.items() if weight <= 0]:
            raise ValueError(f"dataset.weights.{low[0]} must be above 0, came {weights[low[0]]}")
        self.split, self.streams, self.max_frames, self.seed, self.min_seen = split, dict(streams), max_frames, seed, 0
        asked: dict[str, Any] = {} if augment else {"augment": None}
        asked |= {key: value for key, value in (("limit", limit), ("held_out", held_out)) if value is not None}
        self.parts: list[Clips] = []
        self.names: list[str] = []
        for name, make in parts.items():
            try:
                self.parts.append(make(split=split, fps=fps, max_frames=max_frames, **asked))
                self.names.append(name)
            except FileNotFoundError as error:
                log.warning("%s has no part of the split %s: %s", name, split, error)
        if not self.parts:
            raise FileNotFoundError(f"split {split}: none of {', '.join(parts)} has it")
        self._check_parts()
        self.streams = self.parts[0].streams  # as readers of their parts
        self.languages = [languages.get(name, "") for name in self.names]
        shares = [weights.get(name, 1.0) if split == "train" else 1.0 for name in self.names]
        self.places = np.concatenate([self._places(n, share) for n, share in enumerate(shares)])
        self._gather()

    def _check_parts(self) -> None:
        for name, part in zip(self.names, self.parts, strict=True):
            if sorted(part.streams) != sorted(self.streams):
                raise ValueError(
                    f"dataset.parts.{name}: streams {', '.join(part.streams)}, and the mixture has "
                    f"{', '.join(self.streams)}; choose the same of each with dataset.parts.NAME.only=[...]"
                )

    def _places(self, number: int, weight: float) -> Any:
        """Return (part, its clip, turn) of each clip of a part that comes in an epoch, (n, 3)."""
        count = len(self.parts[number])
        turns = [np.arange(count)] * int(weight)
        order = np.random.default_rng((self.seed, number)).permutation(count)
        turns.append(np.sort(order[: round((weight - int(weight)) * count)]))
        return np.concatenate([
            np.stack([np.full(len(clips), number), clips, np.full(len(clips), turn)], axis=1)
            for turn, clips in enumerate(turns)
        ])  # fmt: skip

    def _gather(self) -> None:
        def all_of(attribute: str) -> Any:
            values = [getattr(part, attribute) for part in self.parts]
            return np.array([values[part][clip] for part, clip, _ in self.places.tolist()], values[0].dtype)

        self.texts, self.steps, self.frame_counts, self.lengths = map(
            all_of, ("texts", "steps", "frame_counts", "lengths")
        )
        kind = np.dtypes.StringDType()
        whose = [self.names[part] for part, _, _ in self.places.tolist()]
        self.ids = np.array([f"{name}/{one}" for name, one in zip(whose, all_of("ids").tolist(), strict=True)], kind)
        self.files = self.ids
        shared = set.intersection(*(set(part.columns) for part in self.parts))
        self.columns = {
            key: np.array([self.parts[part].columns[key][clip] for part, clip, _ in self.places.tolist()], kind)
            for key in sorted(shared)
        }
        for key in self.columns.keys() & {"signer", "film"}:  # whom two corpora call alike is not one
            told = zip(whose, self.columns[key].tolist(), strict=True)
            self.columns[key] = np.array([value and f"{name}: {value}" for name, value in told], kind)
        firsts = {(part, clip): place for place, (part, clip, _) in reversed([*enumerate(self.places.tolist())])}
        self._before = np.array([
            firsts.get((part, int(self.parts[part]._before[clip])), -1) for part, clip, _ in self.places.tolist()
        ], np.int64)  # fmt: skip
        self.columns["corpus"] = np.array(whose, kind)
        self.columns["language"] = np.array([self.languages[part] for part, _, _ in self.places.tolist()], kind)
        self.root = Path(" + ".join(str(part.root) for part in self.parts))
        made = [part.extractor for part in self.parts]
        self.extractor = made[0] if len(set(made)) == 1 else None
        self.fingerprint = hashlib.sha256(json.dumps([part.fingerprint for part in self.parts]).encode()).hexdigest()
        rules = [part.scoring for part in self.parts]
        self.scoring = rules[0] if all(rule == rules[0] for rule in rules) else None

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return a clip as its corpus gives it; one that comes twice in an epoch is augmented twice."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        part, clip, turn = self.places[index].tolist()
        most = int(self.places[:, 2].max()) + 1
        sample = self.parts[part][epoch * most + turn, clip]
        previous = sample.previous and f"{self.names[part]}/{sample.previous}"
        return replace(sample, id=self.ids[index], language=self.languages[part], previous=previous)

    @property
    def signers(self) -> set[str]:
        return set.union(*(part.signers for part in self.parts))

    def read(self, index: int, name: str) -> Seen:
        part, clip, _ = self.places[index].tolist()
        return self.parts[part].read(clip, name)

    def seen_shares(self) -> dict[str, Share]:
        shares = dict.fromkeys(self.streams, Share())
        for part in self.parts:
            for name, share in part.seen_shares().items():
                shares[name] += share
        return shares

    def check_seen(self, *, strict: bool) -> None:
        for part in self.parts:
            part.check_seen(strict=strict)
