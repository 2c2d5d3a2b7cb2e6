"""Films that were annotated with ELAN (.eaf): a tier of sentences, and perhaps one of glosses.

Such are, with tiers of their own names, LSE-Health-UVigo, the TUB collection and many corpora of sign linguistics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from slt.corpora.clips import Row
from slt.corpora.films import Films, by_split, read_film_splits, spell
from slt.files import needing
from slt.text import clean

TABLE = "splits.csv"


class Span(NamedTuple):
    """An annotation: seconds in its film, and what it says."""

    start: float
    end: float
    value: str
    signer: str


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
        rows: list[Row] = []
        over: list[str] = []
        loose: list[str] = []
        for film in self._films[split]:
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


def read_eaf(path: Path) -> dict[tuple[str, str], list[Span]]:
    """Return (tier, participant) -> its annotations; ValueError for a file that is not ELAN's or lacks times.

    Time slots without a value are spread evenly between their neighbours in the tier, and the parts of a symbolic
    subdivision over what they divide, as ELAN shows them.
    """
    with needing(f"reading {path.name} needs pympi-ling", extra="media"):
        import pympi
    try:
        eaf = pympi.Eaf(str(path), suppress_version_warning=True)
    except Exception as error:  # a damaged file fails anywhere
        raise ValueError(f"{path}: not an ELAN file that can be read ({error!r}); save it again") from error
    spans = _Times(path, eaf).spans
    return {
        (name, attributes.get("PARTICIPANT", "")): [
            Span(*spans[each], str(value[2 if each in aligned else 1] or ""), "")
            for each, value in {**aligned, **references}.items()
        ]
        for name, (aligned, references, attributes, _) in eaf.tiers.items()
    }


class _Times:
    """Where the annotations of a file begin and end, in seconds."""

    def __init__(self, path: Path, eaf: Any) -> None:
        self.path, self.eaf = path, eaf
        self.spans: dict[str, tuple[float, float]] = {}
        order = {slot: place for place, slot in enumerate(eaf.timeslots)}
        for name, (aligned, *_) in eaf.tiers.items():
            for slot in (slot for value in aligned.values() for slot in value[:2]):
                if slot not in order:
                    raise ValueError(f"{path}: time slot {slot!r} of tier {name!r} is not there; save it again in ELAN")
            chain = sorted(aligned.items(), key=lambda item: order[item[1][0]])
            slots = [*dict.fromkeys(slot for _, value in chain for slot in value[:2])]
            times = dict(zip(slots, self._spread(name, [eaf.timeslots[slot] for slot in slots]), strict=True))
            self.spans |= {each: (times[value[0]], times[value[1]]) for each, value in chain}
        self._parts()

    def _spread(self, tier: str, values: Sequence[int | None]) -> list[float]:
        known = [place for place, value in enumerate(values) if value is not None]
        if values and (not known or known[0] != 0 or known[-1] != len(values) - 1):
            raise ValueError(
                f"{self.path}: tier {tier!r} has time slots without a value at its end; align them in ELAN"
            )
        out = [float(value or 0) / 1000 for value in values]
        for a, b in pairwise(known):
            for place in range(a + 1, b):
                out[place] = out[a] + (out[b] - out[a]) * (place - a) / (b - a)
        return out

    def _parts(self) -> None:
        """Find the spans of annotations that refer to others: all of it where one does, else equal parts in order."""
        waiting = [references for _, references, *_ in self.eaf.tiers.values() if references]
        while waiting:
            ready = [each for each in waiting if all(value[0] in self.spans for value in each.values())]
            if not ready:
                raise ValueError(f"{self.path}: annotations that refer to none that is there; save it again in ELAN")
            for references in ready:
                groups: dict[str, list[str]] = {}
                for each, value in references.items():
                    groups.setdefault(value[0], []).append(each)
                for parent, parts in groups.items():
                    start, end = self.spans[parent]
                    for n, each in enumerate(_in_order(parts, references)):
                        step = (end - start) / len(parts)
                        self.spans[each] = (start + n * step, start + (n + 1) * step)
            waiting = [each for each in waiting if each not in ready]


def _in_order(parts: Sequence[str], references: dict[str, Any]) -> list[str]:
    """Return the parts of an annotation as each names the one before it."""
    after = {references[each][2]: each for each in parts if references[each][2]}
    order = [each for each in parts if not references[each][2]]
    while order and order[-1] in after:
        order.append(after[order[-1]])
    return order if len(order) == len(parts) else list(parts)
