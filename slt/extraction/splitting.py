"""Which of the clips to extract are trained on and which are held out: whole films, whole signers or single clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from slt.corpora.splits import deal
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

        Groups are dealt by `slt.corpora.splits.deal`. Clips too few for each split are all trained on, which is said.
        """
        ids = [source.video_id for source in sources]
        if self.by == "all_train":
            return {"train": ids}
        splits, units = self.groups(sources)
        shares = {"train": self.train, "val": self.val, "test": self.test}
        if empty := [split for split, share in shares.items() if share > 0 and not splits[split]]:
            log.warning(
                "split: %d clips of %d %s leave %s empty at %g/%g/%g, so all are in train and nothing is held out%s",
                len(ids), len(set(units)), UNITS[self.by], " and ".join(empty), *shares.values(),
                "" if self.by == "random" else "; split.by=random deals single clips out",
            )  # fmt: skip
            return {"train": ids}
        splits = {split: names for split, names in splits.items() if names}
        log.info("split by %s: %s of %d clips", self.by, {name: len(part) for name, part in splits.items()}, len(ids))
        return splits

    def groups(self, sources: Sequence[Source]) -> tuple[dict[str, list[str]], list[str]]:
        """Return the ids of each split, of which some may be empty, and of each source what keeps it together."""
        units = [self._group(source) for source in sources]
        shares = {"train": self.train, "val": self.val, "test": self.test}
        return deal([source.video_id for source in sources], units, shares=shares, seed=self.seed), units

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
