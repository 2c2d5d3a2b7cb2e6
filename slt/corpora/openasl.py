"""OpenASL (Shi et al., EMNLP 2022): one table of sentences in films of YouTube, and Uni-Sign's labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.films import PARTS, SPLITS, Films, parse_time, read_labels, spell
from slt.text import clean

COLUMNS = ("vid", "yid", "start", "end", "split", "raw-text")
TIME = r"(\d\d:\d\d:\d\d\.\d+)"
CLIP = re.compile(rf"(.+)-{TIME}-{TIME}")


class OpenASL(Films):
    """`openasl-v1.0.tsv`, tabs without quoting, read by the names of its columns; the sentence is `raw-text`.

    Ids are a film's with both times, so they hold colons, which files of a clip cannot: there they are `_`. Uni-Sign's
    labels (Li et al., ICLR 2025), read where there is no table, have the same ids. The paper counts 966 clips of dev
    and 975 of test, the table has one more of each.
    """

    expects = "openasl-v1.0.tsv, or labels.train, labels.dev and labels.test"
    published: ClassVar[dict[str, int]] = {"train": 96476, "val": 967, "test": 976}

    def read(self, split: str) -> Iterator[Row]:
        path = self.file("openasl-v1.0.tsv", "data/openasl-v1.0.tsv", f"labels.{PARTS[split]}")
        rows = self._table[split] if path.suffix == ".tsv" else [*_labelled(path)]
        yield from self.lasting(split, rows)

    @cached_property
    def _table(self) -> dict[str, list[Row]]:
        path = self.file("openasl-v1.0.tsv", "data/openasl-v1.0.tsv")
        splits: dict[str, list[Row]] = {split: [] for split in PARTS}
        for where, row in tables.read_unquoted(path, COLUMNS, delimiter="\t"):
            split = SPLITS.get(row["split"].strip().lower())
            if split is None:
                raise ValueError(f"{where}: split {row['split']!r}; train, valid or test expected")
            times = {key: spell(parse_time(row[key], where)) for key in ("start", "end")}
            splits[split].append(Row(row["vid"], clean(row["raw-text"]), {"film": row["yid"], **times}))
        return splits


def _labelled(path: Path) -> Iterator[Row]:
    for name, text in read_labels(path):
        clip = CLIP.fullmatch(name)
        if clip is None:
            raise ValueError(f"{path}: clip {name!r}: FILM-00:00:01.000-00:00:02.500 expected")
        start, end = (spell(parse_time(time, f"{path}: clip {name!r}")) for time in clip.groups()[1:])
        yield Row(name, clean(text), {"film": clip[1], "start": start, "end": end})
