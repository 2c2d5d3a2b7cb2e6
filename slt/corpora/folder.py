"""A corpus folder in the LSA-T layout: its table, splits and what made its streams."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from slt.corpora import layout
from slt.corpora.clips import Clips
from slt.corpora.corpus import Row
from slt.corpora.provenance import ONE_EXTRACTOR, extractor_fault
from slt.files import read_json

log = logging.getLogger(__name__)


class FolderCorpus:
    """The folder with `subs.csv`, `index/` and the streams' folders, as `slt.corpora.clips.Corpus` has it.

    Args:
        root: the folder.
        captions: False takes clips without a sentence too.
        mixed_extractors: take clips that different extractors made, which is refused otherwise.
    """

    def __init__(self, root: Path | str, *, captions: bool = True, mixed_extractors: bool = False) -> None:
        self.root, self.captions, self.mixed_extractors = Path(root), captions, mixed_extractors

    @cached_property
    def table(self) -> dict[str, dict[str, str]]:
        """The table's rows by id."""
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"dataset.root={self.root}: no such folder; expected subs.csv, index/ and the streams' folders"
            )
        return {row["video_id"]: row for row in layout.read_table(self.root / "subs.csv", captions=self.captions)}

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """The ids of train, val and test, as far as there are such; checked against the table and each other."""
        return layout.read_splits(self.root, self.table, layout.refuse, layout.SPLITS)

    def rows(self, split: str) -> list[Row]:
        """Return the clips of a split, or of any other file in `index/`, in its order."""
        table = self.table
        there = sorted(path.stem for path in (self.root / "index").glob("*.csv"))
        if split not in there:
            raise FileNotFoundError(
                f"{self.root / 'index' / split}.csv: no such split; {self.root / 'index'} holds {there}"
            )
        ids = self.splits.get(split) or layout.read_splits(self.root, table, layout.refuse, (split,))[split]
        others = [key for key in table[ids[0]] if key not in layout.REQUIRED_COLUMNS]
        return [Row(name, table[name]["texto"], {key: table[name][key] for key in others}) for name in ids]

    @cached_property
    def metadata(self) -> list[dict[str, Any]]:
        """What `metadata.jsonl` says of each clip and its making; nothing where there is no such file."""
        lines = [*layout.metadata_rows(self.root / "metadata.jsonl")]
        if faults := [fault for _, _, fault in lines if fault]:
            raise ValueError(faults[0])
        return [line for _, line, _ in lines]

    @cached_property
    def extractor(self) -> str | None:
        """The fingerprint of what extracted the clips; several are joined by " + "; None where the files name none."""
        made = {str(line.get("video_id")): str(line.get("fingerprint") or "") for line in self.metadata}
        clips = Counter(made.get(name, "") for name in self.table)
        named = sorted(set(clips) - {""})
        if not named:
            return None
        if len(clips) > 1:
            message = f"{self.root / 'metadata.jsonl'}: {extractor_fault(clips)}"
            if not self.mixed_extractors:
                raise ValueError(f"{message}; {ONE_EXTRACTOR}")
            log.warning("%s, taken together as mixed_extractors says", message)
        return " + ".join(named)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the rows, the three splits, `corpus.json` and the extractors named in `metadata.jsonl`."""
        parts: list[Any] = [sorted(self.table.items()), [(name, self.splits.get(name)) for name in layout.SPLITS]]
        if (self.root / "corpus.json").is_file():
            corpus = read_json(self.root / "corpus.json")
            parts.append(corpus.get("fingerprint", corpus))
        if (self.root / "metadata.jsonl").is_file():
            parts.append(sorted({str(line.get("fingerprint", line.get("extractor"))) for line in self.metadata}))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


class LsaTMultiStream(Clips):
    """`Clips` of one split of a folder in the LSA-T layout; `root` and `mixed_extractors` as in `FolderCorpus`."""

    def __init__(self, *, root: str | Path, mixed_extractors: bool = False, **keys: Any) -> None:
        super().__init__(root=root, corpus=partial(FolderCorpus, mixed_extractors=mixed_extractors), **keys)


def corpus_fingerprints(root: Path) -> tuple[str, str | None]:
    """Return the fingerprint and the extractor of the corpus at `root`, with or without sentences."""
    corpus = FolderCorpus(root, captions=False, mixed_extractors=True)
    if not corpus.splits:
        raise FileNotFoundError(f"{root / 'index'}: no split; expected one of {', '.join(layout.SPLITS)} as .csv")
    return corpus.fingerprint, corpus.extractor
