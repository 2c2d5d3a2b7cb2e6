"""GloSL: some ten corpora of sign languages in one form, here or on the Hugging Face hub."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.published import Published
from slt.files import read_json

SPLITS = {"train": "train", "val": "val", "dev": "val", "validation": "val", "test": "test"}
COLUMNS = ("gloss", "signer", "film", "start", "end", "fps")  # that a row keeps, where the corpus says them
KNOWN = {"id", "split", "text", "gloss_type", "video", "n_frames", *COLUMNS}


class GloSL(Published):
    """A corpus of GloSL: `annotations.csv`, `card.json`, and `poses/NNNN/<id>.pose` of 543 points.

    The table has the columns id, split and text, and any others: gloss, signer, film (or video), start, end and fps are
    kept where a row of the corpus has them. The 543 points are MediaPipe Holistic's 33 of the body, 468 of the face and
    21 of each hand; the stream's `points` say which of them it takes.

    Args:
        root: the folder, or `hf://OWNER/NAME[/FOLDER]`: the data set of that name on the hub, or a folder of it, which
            is downloaded to the library's own cache once.
    """

    expects = "annotations.csv, and poses/NNNN/ID.pose beside it"
    # As the card of each says; of LSA-T: 5,413, 1,354 and 1,692.
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}

    def __init__(self, root: Path | str) -> None:
        super().__init__(_downloaded(str(root)))
        if (card := self.home / "card.json").is_file():
            facts = read_json(card)
            said = {"name": ("name",), "language": ("languages", "language"), "licence": ("licence", "license")}
            found = {key: next((facts[name] for name in names if facts.get(name)), None) for key, names in said.items()}
            self.notes += [f"{key}: {_plain(value)}" for key, value in found.items() if _plain(value)]

    @cached_property
    def places(self) -> dict[str, str]:
        """Id -> its pose under `poses`, with the folder before it, by one listing."""
        return {path.stem: path.relative_to(self.home / "poses").with_suffix("").as_posix()
                for path in sorted((self.home / "poses").rglob("*.pose"))}  # fmt: skip

    @cached_property
    def table(self) -> list[tuple[str, Row]]:
        """The rows of the table with their splits; the others go to the notes."""
        path = self.file("annotations.csv")
        records, note = tables.read_records(
            path, ("id", "split", "text"), known=KNOWN, numbers=("start", "end", "fps"), standard=",;"
        )
        self.notes += [f"{path.name}: {note}"] if note else []
        for _, record in records:
            record.setdefault("film", Path(record.get("video", "").replace("\\", "/")).stem)
        kept = [key for key in COLUMNS if any(record.get(key, "").strip() for _, record in records)]
        rows, strange = [], Counter[str]()
        for line, record in records:
            if not (name := record["id"].strip()):
                raise ValueError(f"{path} line {line}: a row without an id")
            split = SPLITS.get(record["split"].strip().lower(), "")
            strange[record["split"]] += not split
            columns = {key: record[key].strip() for key in kept}
            rows.append((split, Row(name, record["text"], columns, self.places.get(name, ""))))
        self.notes += [f"{path.name}: {count} rows are of {split!r}, which is no split"
                       for split, count in strange.items() if count]  # fmt: skip
        return rows

    def read(self, split: str) -> Iterator[Row]:
        yield from (row for found, row in self.table if found == split)


def _plain(value: object) -> str:
    """Return a text, or the texts of a list, as one; "" for anything else."""
    values = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    return ", ".join(values)


def _downloaded(root: str) -> str:
    """Return the folder of `hf://OWNER/NAME[/FOLDER]`, downloaded where it is not; any other root as it is."""
    if not root.startswith("hf:"):
        return root
    found = re.fullmatch(r"hf:/+([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)", root)  # a path has one slash for two
    if not found or ".." in root.split("/"):
        raise ValueError(f"dataset.root={root}: expected hf://OWNER/NAME or hf://OWNER/NAME/FOLDER")
    from huggingface_hub import snapshot_download  # here: a folder needs none, and --help must not import it

    name, folder = found[1], found[2].strip("/")
    home = snapshot_download(name, repo_type="dataset", allow_patterns=f"{folder}/*" if folder else None)
    return str(Path(home) / folder)
