"""A corpus in numbers beside those that its authors give: clips, hours, words, what is missing, what splits share.

N clips of a split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from slt.corpora import layout
from slt.corpora.corpus import Corpus, Row
from slt.streams.stream import stored_files
from slt.text import clean


@dataclass(frozen=True)
class Counts:
    """A split in numbers."""

    clips: int
    published: int | None  # as its authors count them; None = they do not say
    hours: float | None  # None = its table has no times
    signers: int  # 0 = not named
    words: int  # running words
    types: int  # different ones
    length: tuple[int, int]  # words of a sentence: median and most
    new_words: float | None  # share of the running words that train does not have; None of train itself
    shared: Mapping[str, float]  # other split -> share of the sentences here that stand there word for word
    missing: Mapping[str, float]  # stream -> share of the clips without files


def count_corpus(corpus: Corpus, folders: Mapping[str, str]) -> tuple[dict[str, Counts], list[str]]:
    """Return the splits that are there in numbers, and what does not fit, a sentence each.

    `folders` are the streams' by name. Times are looked at and no film or stream is opened.
    """
    rows, faults = {}, []
    for split in getattr(corpus, "splits", layout.SPLITS):
        try:
            rows[split] = corpus.rows(split)
        except (FileNotFoundError, ValueError) as error:
            faults.append(f"{split}: {error}")
    texts = {split: [clean(row.text) for row in each] for split, each in rows.items()}
    known = {word for text in texts.get("train", ()) for word in words_of(text)}
    stored = {name: set(stored_files(corpus.root, folder)) for name, folder in folders.items()}
    published = getattr(corpus, "published", {})
    counts = {
        split: _counts(each, texts, split, known, stored, published.get(split) or None) for split, each in rows.items()
    }
    for split, found in counts.items():
        if found.published not in (None, found.clips):
            faults.append(f"{split}: {found.clips} clips, its authors count {found.published}")
    return counts, [*faults, *getattr(corpus, "notes", ())]


def _counts(
    rows: Sequence[Row], texts: Mapping[str, Sequence[str]], split: str, known: set[str],
    stored: Mapping[str, set[str]], published: int | None,
) -> Counts:  # fmt: skip
    words = Counter(word for text in texts[split] for word in words_of(text))
    lengths = [len(words_of(text)) for text in texts[split]]
    total = sum(words.values())
    seconds = [_seconds(row) for row in rows]
    others = {name: set(there) for name, there in texts.items() if name != split}
    return Counts(
        clips=len(rows), published=published,
        hours=None if None in seconds else sum(filter(None, seconds)) / 3600,
        signers=len({row.columns["signer"] for row in rows if row.columns.get("signer")}),
        words=total, types=len(words), length=(int(median(lengths)), max(lengths)),
        new_words=None if split == "train" else sum(n for word, n in words.items() if word not in known) / total,
        shared={name: sum(text in there for text in texts[split]) / len(rows) for name, there in others.items()},
        missing={name: sum((row.file or row.id) not in there for row in rows) / len(rows)
                 for name, there in stored.items()},
    )  # fmt: skip


def words_of(text: str) -> list[str]:
    """Words as blanks part them; of Chinese characters each is one."""
    return re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)


def _seconds(row: Row) -> float | None:
    """The length of a clip by its times, or by its frames and their rate; None where the table does not say."""
    try:
        if row.columns.get("end"):
            return float(row.columns["end"]) - float(row.columns["start"] or 0)
        return float(row.columns["frame_count"]) / float(row.columns["fps"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def lines(root: Path, counts: Mapping[str, Counts], faults: Sequence[str]) -> list[str]:
    """Say all of it, a table and then what does not fit."""
    said = [f"{root}", f"  {'split':8s}{'clips':>9s}{'published':>11s}{'hours':>8s}{'signers':>9s}{'words':>10s}"
            f"{'types':>8s}{'a text':>10s}{'new':>8s}"]  # fmt: skip
    for split, found in counts.items():
        said.append(
            f"  {split:8s}{found.clips:9,d}{_or(found.published, ',d'):>11s}{_or(found.hours, '.2f'):>8s}"
            f"{_or(found.signers or None, 'd'):>9s}{found.words:10,d}{found.types:8,d}"
            f"{'{} to {}'.format(*found.length):>10s}{_or(found.new_words, '.1%'):>8s}"
        )
    for split, found in counts.items():
        said += [f"  {split}: {share:.1%} of its sentences stand in {other} word for word"
                 for other, share in found.shared.items() if share]  # fmt: skip
        said += [f"  {split}: {share:.1%} of its clips have no files of {name}"
                 for name, share in found.missing.items() if share]  # fmt: skip
    return [*said, *(f"  does not fit: {fault}" for fault in faults)]


def _or(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
