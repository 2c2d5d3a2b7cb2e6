"""Which clips of a corpus are read: by the splits of a shared folder, and never those of signers who do not consent."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from slt.corpora import layout
from slt.corpora.corpus import Corpus, Row
from slt.files import existing, sha256
from slt.text import clean

log = logging.getLogger(__name__)
CONSENT = {
    "yes": True,
    "true": True,
    "1": True,
    "sí": True,
    "no": False,
    "false": False,
    "0": False,
    "withdrawn": False,
}
BY = ("signer", "film", "sentence", "date", "clip")  # what a drawn split may keep together


class Chosen:
    """A corpus of which some clips are never read, in its own splits or in others.

    Args:
        corpus: what it is made of.
        splits: a folder with `index/train.csv`, val, test and SHA256SUMS, as `slt.check split.out=FOLDER` writes it;
            None = those of the corpus.
        withdrawn: a file of signers, one a line, whose clips are not read; None = nobody. A row whose column `consent`
            says no is never read.
    """

    def __init__(self, corpus: Corpus, *, splits: Path | str | None, withdrawn: Path | str | None) -> None:
        self.corpus, self.root, self.extractor = corpus, corpus.root, corpus.extractor
        self.folder = None if splits is None else Path(splits)
        if self.folder is not None and not (self.folder / "index").is_dir():
            raise FileNotFoundError(f"dataset.splits={splits}: no folder index/; slt.check split.out=... writes one")
        self.list = None if withdrawn is None else existing(withdrawn, "the signers who withdrew, one a line")
        lines = [] if self.list is None else self.list.read_text(encoding="utf-8").splitlines()
        self.gone = {line.strip() for line in lines} - {""}

    def rows(self, split: str) -> Sequence[Row]:
        if self.folder is None:
            return self._consenting(self.corpus.rows(split), split)
        pool = {row.id: row for row in every_row(self.corpus)}
        found = layout.read_splits(self.folder, pool, layout.refuse, (split,))
        if split not in found:
            raise FileNotFoundError(f"{self.folder / 'index' / split}.csv: no such split")
        return self._consenting([pool[name] for name in found[split]], split)

    @cached_property
    def fingerprint(self) -> str:
        """The corpus' own; with splits or withdrawals the sha256 of all that was given."""
        files = [] if self.folder is None else sorted((self.folder / "index").glob("*.csv"))
        files += [] if self.list is None else [self.list]
        if not files:
            return self.corpus.fingerprint
        parts = [self.corpus.fingerprint, *map(sha256, files)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _consenting(self, rows: Sequence[Row], split: str) -> list[Row]:
        kept = [row for row in rows if row.columns.get("signer") not in self.gone and consents(row)]
        if len(kept) < len(rows):
            log.info("%s, split %s: %d clips of signers who do not consent are not read", self.root, split,
                     len(rows) - len(kept))  # fmt: skip
        return kept


def consents(row: Row) -> bool:
    """Whether a clip may be read, by its column `consent`: yes where there is none or nothing in it."""
    said = row.columns.get("consent", "").strip().lower()
    if said and said not in CONSENT:
        raise ValueError(f"clip {row.id!r}: consent {said!r}; expected one of {', '.join(CONSENT)}, or nothing")
    return CONSENT.get(said, True)


def every_row(corpus: Corpus) -> Iterator[Row]:
    """Yield the rows of all splits that a corpus has."""
    for split in layout.SPLITS:
        try:
            yield from corpus.rows(split)
        except FileNotFoundError:
            continue


def units(rows: Sequence[Row], by: str) -> list[str]:
    """Return of each row what a split drawn `by` it keeps together; ValueError where a row has none."""
    kept = [{"sentence": clean(row.text), "clip": row.id}.get(by) or row.columns.get(by, "") for row in rows]
    if "" in kept:
        known = ", ".join(["sentence", "clip", *(key for key in BY if rows[0].columns.get(key))])
        raise ValueError(f"split.by={by}: clip {rows[kept.index('')].id!r} has none; there are {known}")
    return kept
