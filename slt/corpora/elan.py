"""Films that were annotated with ELAN (.eaf): a tier of sentences, and perhaps one of glosses.

Such are, with tiers of their own names, LSE-Health-UVigo, the TUB collection and many corpora of sign linguistics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from slt.corpora.corpus import Row
from slt.corpora.eaf import Span, read_eaf
from slt.corpora.films import Films, by_split, read_film_splits, spell
from slt.text import clean

TABLE = "splits.csv"


class Elan(Films):
    """A .eaf file a film, of its name; a clip is an annotation of the sentence tier, named `<film>_<number>` by time.

    Args:
        root: the folder.
        tier: name of the tier of sentences, or a regular expression of several: one a signer, say. `signer` is what
            its groups matched: "A" where `Translation_(A|B)` is Translation_A, else the tier's participant.
        gloss_tier: likewise of glosses, or None. A gloss belongs to the sentence that holds the middle of its span, of
            the tier of sentences with the same signer.

    Which film is in which split stands in `splits.csv` (`film;split`); without it all are trained on.
    """

    expects = ".eaf files, and perhaps splits.csv (film;split)"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}

    def __init__(self, root: Path | str, *, tier: str, gloss_tier: str | None) -> None:
        super().__init__(root)
        self.tier, self.gloss_tier = tier, gloss_tier

    def read(self, split: str) -> Iterator[Row]:
        yield from self._rows_of(split, self._films[split])

    def sentences(self) -> Iterator[Row]:
        """Yield the rows of all films, in whatever split: of a folder that is not split yet."""
        yield from self._rows_of("all films", list(self._files))

    def _rows_of(self, split: str, films: Sequence[str]) -> Iterator[Row]:
        rows: list[Row] = []
        over: list[str] = []
        loose: list[str] = []
        for film in films:
            tiers = read_eaf(self._files[film])
            sentences = sorted(_chosen(tiers, self.tier, self._files[film]))
            glosses = sorted(_chosen(tiers, self.gloss_tier, None)) if self.gloss_tier else []
            over += [f"{film}, {spell(b.start)} s" for a, b in pairwise(sentences) if b.start < a.end - 1e-6]
            owners = [next((n for n, one in enumerate(sentences) if _holds(one, gloss)), -1) for gloss in glosses]
            loose += [f"{film}, {spell(gloss.start)} s" for gloss, n in zip(glosses, owners, strict=True) if n < 0]
            for n, one in enumerate(sentences):
                gloss = [each.value for each, owner in zip(glosses, owners, strict=True) if owner == n]
                known = {"gloss": clean(" ".join(gloss))} if self.gloss_tier else {}
                columns = {"signer": one.signer, "film": film, "start": spell(one.start), "end": spell(one.end)}
                rows.append(Row(f"{film}_{n + 1}", clean(one.value), {**known, **columns}))
        yield from self.lasting(split, rows)
        self.note(split, over, "sentences begin before another has ended, and are clips all the same")
        self.note(split, loose, "glosses are in no sentence and left out")

    @cached_property
    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(self.home.rglob("*.eaf")):
            if (other := found.setdefault(path.stem, path)) != path:
                raise ValueError(f"{path}: {other} has the same name, by which its film is found; rename one")
        if not found:
            raise FileNotFoundError(f"{self.home}: no .eaf file; expected {self.expects}")
        return found

    @cached_property
    def _films(self) -> dict[str, list[str]]:
        if not (self.home / TABLE).is_file():
            return {split: list(self._files) if split == "train" else [] for split in self.splits}
        splits = read_film_splits(self.home / TABLE)
        self.note(TABLE, [film for film in splits if film not in self._files], "films have no .eaf here")
        self.note(TABLE, [film for film in self._files if film not in splits], "films are in no split")
        return by_split(splits, self._files)


def tiers_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the tiers of all .eaf files in a folder and below: name -> annotations and words, the wordiest first."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.rglob("*.eaf")):
        for (name, _), spans in read_eaf(path).items():
            texts = [clean(span.value) for span in spans if span.value.strip()]
            count, words = found.get(name, (0, 0))
            found[name] = count + len(texts), words + sum(len(text.split()) for text in texts)
    return dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0])))


def _holds(sentence: Span, gloss: Span) -> bool:
    """Tell whether a gloss is of a sentence; where one of the two does not say its signer, its time alone says it."""
    if sentence.signer != gloss.signer and sentence.signer and gloss.signer:
        return False
    return sentence.start <= (gloss.start + gloss.end) / 2 < sentence.end


def _chosen(tiers: dict[tuple[str, str], list[Span]], wanted: str, path: Path | None) -> list[Span]:
    """Return the annotations of the tiers of a name, or of all that a pattern matches whole; `path` must have one."""
    found: list[Span] = []
    names = []
    for (name, participant), spans in tiers.items():
        match = None if name == wanted else re.fullmatch(wanted, name)
        if name == wanted or match:
            names.append(name)
            signer = "_".join(filter(None, match.groups())) if match and match.groups() else participant
            found += [span._replace(signer=signer) for span in spans]
    if path is not None and not names:
        raise ValueError(f"{path}: no tier {wanted!r} among {sorted(name for name, _ in tiers)}")
    return found
