"""iSign (Joshi et al., Findings of ACL 2024): Indian Sign Language with poses, 127,237 clips without a split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.published import Published
from slt.corpora.splits import split_of


class ISign(Published):
    """`iSign_v1.1.csv` (uid, text; with a byte-order mark) and a folder of `<uid>.pose`, MediaPipe Holistic's.

    A uid is its film's YouTube id, which may hold dashes itself, a dash, and the clip's number. There is no split:
    films are divided, 90 : 5 : 5, by the sha256 of their ids (`slt.corpora.splits.split_of`). Uids that end in `_w` are
    single words and are left out.
    """

    expects = "iSign_v1.1.csv, and the folder of poses that the stream names"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}

    @cached_property
    def clips(self) -> list[tuple[str, Row]]:
        """The sentences with their splits."""
        path = self.file("iSign*.csv", "*.csv")
        records, note = tables.read_records(path, ("uid", "text"), known=("uid", "text"), standard=",")
        self.notes += [f"{path.name}: {note}"] if note else []
        rows, words = [], []
        for line, record in records:
            uid = record["uid"].strip()
            film = uid.rpartition("-")[0]
            if uid.endswith("_w"):
                words.append(uid)
            elif not film:
                raise ValueError(f"{path} line {line}: uid {uid!r}; expected a film's id, a dash and a number")
            else:
                rows.append((split_of(film, val=0.05, test=0.05), Row(uid, record["text"], {"film": film})))
        if words:
            self.notes.append(f"{path.name}: {len(words)} single words are left out (first: {words[0]!r})")
        return rows

    def read(self, split: str) -> Iterator[Row]:
        yield from (row for found, row in self.clips if found == split)
