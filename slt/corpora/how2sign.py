"""How2Sign (Duarte et al., CVPR 2021): the table of cuts, re-aligned to the signing or not, and Uni-Sign's labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.films import PARTS, Films, parse_time, read_labels
from slt.text import clean

CLIP = re.compile(r"(.+)_\d+-(\d+-rgb_front)")  # of a sentence; without its number it is the film's name


class How2Sign(Films):
    """Tabs without quoting, a sentence a row; a clip has the sentence's name, as the authors' own cut clips have.

    Uni-Sign's labels (`labels.train`, `.dev`, `.test`; Li et al., ICLR 2025), read where there is no table, name the
    same clips without times; of the 2,357 sentences of test they have 2,349. A row that reaches past its film's end is
    found where the film is: in extraction.
    """

    expects = (
        "how2sign_realigned_train.csv, _val and _test (or how2sign_train.csv ...), or labels.train, .dev and .test"
    )
    published: ClassVar[dict[str, int]] = {"train": 31086, "val": 1741, "test": 2357}

    def read(self, split: str) -> Iterator[Row]:
        path = self.file(f"how2sign_realigned_{split}.csv", f"how2sign_{split}.csv", f"labels.{PARTS[split]}")
        yield from self.lasting(split, _labelled(path) if path.name.startswith("labels") else _cuts(path))


def _cuts(path: Path) -> Iterator[Row]:
    for where, row in tables.read_unquoted(path, ("VIDEO_NAME", "SENTENCE_NAME", "SENTENCE"), delimiter="\t"):
        kind = "_REALIGNED" if "START_REALIGNED" in row else ""
        if f"START{kind}" not in row or f"END{kind}" not in row:
            raise ValueError(f"{where}: no columns START and END, re-aligned or not; copy the table again")
        times = {key: row[f"{key.upper()}{kind}"].strip() for key in ("start", "end")}
        for time in times.values():
            parse_time(time, where)
        yield Row(row["SENTENCE_NAME"], clean(row["SENTENCE"]), {"film": row["VIDEO_NAME"], **times})


def _labelled(path: Path) -> Iterator[Row]:
    for name, text in read_labels(path):
        film = CLIP.fullmatch(name)
        columns = {"film": f"{film[1]}-{film[2]}" if film else name, "start": "", "end": ""}
        yield Row(name, clean(text), columns)
