"""What corpora share that are read as their authors publish them: rows by split, and data that is unpacked once.

A corpus is a class with `read`, forty to a hundred lines, and one YAML file in conf/dataset.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from slt.corpora.corpus import Row
from slt.files import building, write_json

log = logging.getLogger(__name__)
_MADE = "unpacked.json"


class Empty(ValueError):
    """A split without a clip that has a sentence."""


class Published:
    """A corpus in its authors' form, as `slt.corpora.clips.Corpus` has it.

    Args:
        root: the folder that holds what they publish.

    Attributes:
        published: clips of each split, as its authors count them; what is read here is held against it.
        root: where the streams' folders lie: in what is published, or in the cache where one file holds all clips.
        notes: what was met in reading that does not fit, one sentence each.
    """

    published: ClassVar[dict[str, int]] = {}
    expects: ClassVar[str] = ""  # what `root` should hold, for the message that it does not
    extractor: str | None = None  # not known of what others made

    def __init__(self, root: Path | str) -> None:
        self.home = Path(root)
        if not self.home.is_dir():
            raise FileNotFoundError(f"dataset.root={root}: no such folder; expected {self.expects}")
        self.notes: list[str] = []
        self._rows: dict[str, list[Row]] = {}

    @property
    def root(self) -> Path:
        return self.home

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.published)

    def read(self, split: str) -> Iterable[Row]:
        """Yield the rows of a split as they stand in the table; FileNotFoundError where it is not there."""
        raise NotImplementedError

    def rows(self, split: str) -> Sequence[Row]:
        """Return the clips of a split that have a sentence, in the order of its table."""
        if split not in self.splits:
            raise FileNotFoundError(f"{self.home}: no split {split!r}; this corpus has {', '.join(self.splits)}")
        if split not in self._rows:
            rows = [*self.read(split)]
            kept = [row for row in rows if row.text.strip()]
            if not kept:
                why = f"none of {len(rows)} clips has a sentence: are they kept back?" if rows else "no clip"
                raise Empty(f"{self.home}, split {split}: {why}; choose another split with `val` and `final`")
            if len(kept) < len(rows):
                self.notes.append(f"{split}: {len(rows) - len(kept)} rows without a sentence are left out")
            seen: set[str] = set()
            for row in kept:
                if row.id in seen:
                    raise ValueError(f"{self.home}, split {split}: clip {row.id!r} stands there twice; ids are unique")
                seen.add(row.id)
            self._rows[split] = kept
        return self._rows[split]

    def film(self, row: Row) -> str:
        """Return the name, without ending, of the film that a clip is cut from; "" where that is not known."""
        return row.columns.get("film", "")

    @property
    def fingerprint(self) -> str:
        """The sha256 of the rows of all splits that are there."""
        parts = []
        for split in self.splits:
            try:
                rows = self.rows(split)
            except (FileNotFoundError, ValueError):
                continue
            parts.append([split, [[row.id, row.text, sorted(row.columns.items())] for row in rows]])
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def file(self, *places: str) -> Path:
        """Return the first of these files (patterns below the root) that is there; FileNotFoundError names them."""
        for place in places:
            if found := sorted(self.home.glob(place)):
                return found[0]
        raise FileNotFoundError(f"{self.home}: none of {', '.join(places)}; expected {self.expects}")

    def unpacked(
        self, files: Sequence[Path], write: Callable[[Path], None], settings: Mapping[str, Any] | None = None
    ) -> Path:
        """Return the cache's folder with what `write` made of these files, clip by clip in the suite's own form.

        It is made once for the names, sizes and times of the files, and for the `settings` that change what is made:
        memory then does not grow with them.
        """
        facts = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        asked = [type(self).__name__, facts, *([settings] if settings else [])]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        cache = Path(os.environ.get("SLT_CACHE") or Path.home() / ".cache" / "slt")
        folder = cache / f"{type(self).__name__.lower()}-{key}"
        with building(folder, last=_MADE) as made:
            if made is not None:
                log.info("unpacking %s into %s, once", ", ".join(path.name for path in files), folder)
                write(made)
                write_json(made / _MADE, {"files": [path.name for path in files]})
        return folder


def below(folder: Path, name: str, ending: str) -> Path:
    """Return the file of a clip in a folder, its own folders made; refuse a name that leads out of it."""
    path = folder / f"{name}{ending}"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"clip {name!r}: a name that leaves the folder; it is not unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
