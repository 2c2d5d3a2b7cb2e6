"""Which of the clips to extract are trained on and which are held out: whole films, whole signers or single clips."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from slt.corpora import layout
from slt.extraction.source import Source

log = logging.getLogger(__name__)

UNITS = {"film": "films", "signer": "signers", "random": "clips"}


@dataclass(frozen=True)
class Splitting:
    """How clips are shared out to the splits, `split` in conf/extract.yaml: by whole films, signers, or at random."""

    by: str
    train: float  # shares of the clips that sum to 1
    val: float
    test: float
    seed: int  # of the order in which groups are shared out
    nobody: bool = False  # clips in which no person is found are in the splits too

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if self.by != "all_train" and (min(shares) < 0 or abs(sum(shares) - 1) > 1e-6):
            raise ValueError(
                f"split: shares that sum to 1 expected, came train={self.train}, val={self.val}, test={self.test}"
            )

    def deal(self, sources: Sequence[Source]) -> dict[str, list[str]]:
        """Share clips out to the splits, ids in the order of `sources`.

        Groups stand in an order that their names and the seed give, so that a longer list moves few; they fill `test`,
        then `val`, as near to their shares as whole groups allow. Clips too few for each split are all trained on,
        which is said.
        """
        ids = [source.video_id for source in sources]
        if self.by == "all_train":
            return {"train": ids}
        groups: dict[str, list[str]] = {}
        for source in sources:
            groups.setdefault(self._group(source), []).append(source.video_id)
        shares = {"train": self.train, "val": self.val, "test": self.test}
        order = sorted(groups, key=lambda name: hashlib.sha256(f"{self.seed}:{name}".encode()).digest())
        chosen: dict[str, set[str]] = {split: set() for split in layout.SPLITS}
        for split in ("test", "val"):
            room = shares[split] * len(ids)
            for name in order[:]:
                if len(groups[name]) <= room:
                    chosen[split].update(groups[name])
                    room -= len(groups[name])
                    order.remove(name)
            # One more, where that brings the split nearer to its share than leaving it out.
            nearest = min(order, key=lambda name: len(groups[name]), default="")
            if nearest and len(groups[nearest]) <= 2 * room:
                chosen[split].update(groups[nearest])
                order.remove(nearest)
        chosen["train"].update(video_id for name in order for video_id in groups[name])
        if empty := [split for split, share in shares.items() if share > 0 and not chosen[split]]:
            log.warning(
                "split: %d clips of %d %s leave %s empty at %g/%g/%g, so all are in train and nothing is held out%s",
                len(ids), len(groups), UNITS[self.by], " and ".join(empty), *shares.values(),
                "" if self.by == "random" else "; split.by=random deals single clips out",
            )  # fmt: skip
            return {"train": ids}
        splits = {split: [name for name in ids if name in names] for split, names in chosen.items() if names}
        log.info("split by %s: %s of %d clips", self.by, {name: len(part) for name, part in splits.items()}, len(ids))
        return splits

    def _group(self, source: Source) -> str:
        if self.by == "film":
            return source.video or source.film
        if self.by == "random":
            return source.video_id
        signer = source.columns.get("signer", "").strip()
        if not signer:
            raise ValueError(
                f"split.by=signer: clip {source.video_id!r} has no signer; fill the column, or take split.by=film"
            )
        return signer
