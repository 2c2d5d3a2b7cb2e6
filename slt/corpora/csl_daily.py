"""CSL-Daily (Zhou et al., CVPR 2021): the authors' pickle and split file with frames, or Uni-Sign's labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.pickles import read_pickle
from slt.corpora.published import Published

PARTS = {"train": "train", "val": "dev", "test": "test"}


class CslDaily(Published):
    """Chinese everyday sentences; a text is its characters without blanks, and is scored by characters.

    99.7 % of the sentences of test stand in dev too, signed by others: the report of leaks says so.
    """

    expects = "csl2020ct_v2.pkl with split_1.txt, or labels.train, labels.dev and labels.test"
    published: ClassVar[dict[str, int]] = {"train": 18401, "val": 1077, "test": 1176}
    _clips: dict[str, Any] | None = None

    def read(self, split: str) -> Iterator[Row]:
        part = PARTS[split]
        try:
            table = self.file("csl2020ct_v2.pkl", "sentence_label/csl2020ct_v2.pkl")
        except FileNotFoundError:
            yield from self._labels(self.file(f"labels.{part}"))
            return
        if self._clips is None:  # one pickle of all splits
            self._clips = {str(clip["name"]): clip for clip in read_pickle(table)["info"]}
        for name in _names(self.file("split_1.txt", "sentence_label/split_1.txt"), part):
            if name not in self._clips:
                self.notes.append(f"{split}: {name} stands in the split and not in {table.name}; it is left out")
                continue
            clip = self._clips[name]
            columns = {"gloss": " ".join(clip["label_gloss"]), "signer": str(clip["signer"])}
            yield Row(name, "".join(clip["label_char"]), columns)

    @staticmethod
    def _labels(path: Path) -> Iterator[Row]:
        for name, clip in read_pickle(path).items():
            signer = name.partition("_P")[2][:4]
            yield Row(name, str(clip["text"]), {"gloss": " ".join(clip["gloss"]), "signer": str(int(signer or 0))})


def _names(path: Path, part: str) -> Iterator[str]:
    table = tables.read_table(path, ("name", "split"), known=(), numbers=(), standard="|")
    for _, (name, split, *_), _ in table.rows:
        if split == part:
            yield name
