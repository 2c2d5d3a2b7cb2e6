"""RWTH-PHOENIX-Weather 2014T (Camgoz et al., CVPR 2018): the official release, and features in pickles.

The pickles are those of "Sign Language Transformers" (Camgoz et al., CVPR 2020), in whose form other corpora are
published too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from slt.corpora import tables
from slt.corpora.clips import Row
from slt.corpora.pickles import read_pickle
from slt.corpora.published import Published, below
from slt.files import read_json, write_json
from slt.streams.arrays import write_features

PARTS = {"train": "train", "val": "dev", "test": "test"}
STOP = " ."


class FeatureFiles(Published):
    """Three gzipped pickles, a split each, whose clips carry their features: `NAME.train`, `NAME.dev`, `NAME.test`.

    The features go to the cache as `features/<name>.npy` (T, F), whose `dataset.root` then is.
    """

    expects = "the pickles NAME.train, NAME.dev and NAME.test"
    published: ClassVar[dict[str, int]] = dict.fromkeys(PARTS, 0)
    _folder: Path | None = None

    @property
    def root(self) -> Path:
        if self._folder is None:
            files = [path for part in PARTS.values() for path in sorted(self.home.glob(f"*.{part}"))]
            self._folder = self.unpacked(files, lambda folder: _unpack(files, folder)) if files else self.home
        return self._folder

    def read(self, split: str) -> Iterator[Row]:
        self.file(f"*.{PARTS[split]}")
        for clip in read_json(self.root / f"{split}.json")["clips"]:
            yield Row(clip["name"], clip["text"], {"gloss": clip["gloss"], "signer": clip["signer"]})


def _unpack(files: list[Path], folder: Path) -> None:
    for split, part in PARTS.items():
        clips = []
        for path in files:
            if path.suffix == f".{part}":
                for clip in read_pickle(path):
                    texts = {key: " ".join(str(clip.get(key, "")).split()) for key in ("gloss", "text", "signer")}
                    clips.append({"name": str(clip["name"]), **texts})
                    write_features(below(folder / "features", clip["name"], ".npy"), _features(clip, path))
        write_json(folder / f"{split}.json", {"clips": clips})


def _features(clip: Any, path: Path) -> Any:
    features = np.asarray(clip["sign"])
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{path}: clip {clip['name']!r} has features {features.shape}; (T, F) expected")
    return features.astype(np.float16 if features.dtype == np.float16 else np.float32)


class Phoenix14T(Published):
    """The official release: `|` tables, and a folder of frames a clip.

    Args:
        root: of the release, where `annotations/manual` lies or the tables themselves.
        stop: whether sentences end in " .", as all published scores have them; the tables of test are without. It moves
            BLEU by 0.6.
    """

    expects = "PHOENIX-2014-T.train.corpus.csv (or -complex-annotation), .dev and .test, here or in annotations/manual"
    published: ClassVar[dict[str, int]] = {"train": 7096, "val": 519, "test": 642}

    def __init__(self, root: Path | str, *, stop: bool) -> None:
        super().__init__(root)
        self.stop = stop

    def read(self, split: str) -> Iterator[Row]:
        part = PARTS[split]
        names = [f"PHOENIX-2014-T.{part}{kind}.corpus.csv" for kind in ("", "-complex-annotation")]
        path = self.file(*names, *(f"annotations/manual/{name}" for name in names))
        columns = ("name", "speaker", "orth", "translation")
        table = tables.read_table(path, columns, known=(), numbers=(), standard="|")
        for _, cells, _ in table.rows:
            row = dict(zip(table.columns, cells, strict=True))
            text = row["translation"].strip().removesuffix(".").rstrip()
            gloss = " ".join(word for word in row["orth"].split() if not word.startswith("__"))
            yield Row(row["name"], text + STOP * self.stop, {"gloss": gloss, "signer": row["speaker"]},
                      f"{part}/{row['name']}")  # fmt: skip
