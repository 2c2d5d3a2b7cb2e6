"""Beside the scores: what of the scored split stands in train already - sentences, signers, films."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from slt.models.tokenizer import clean

Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Overlap:
    """What two splits share of one property: values and clips of the scored one, and those of them in train."""

    values: int
    shared_values: int
    clips: int
    shared_clips: int
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the clips, 0 to 1, whose value is in train."""
        return self.shared_clips / self.clips if self.clips else 0.0


@dataclass(frozen=True)
class Leaks:
    """What the scored split shares with train; None where the corpus does not say."""

    sentences: Overlap
    sentences_as_words: Overlap
    signers: Overlap | None
    films: Overlap | None

    def as_dict(self) -> dict[str, Any]:
        return {name: each and {**asdict(each), "share": each.share} for name, each in self.named()}

    def named(self) -> list[tuple[str, Overlap | None]]:
        return [(each.name, getattr(self, each.name)) for each in fields(self)]


def leak_report(test: Sequence[Row], train: Sequence[Row], *, examples: int) -> Leaks:
    """Compares the scored split with train, by rows with `text` and, where the corpus says, `signer` and `film`.

    Sentences are compared as written (NFC, white space collapsed) and once more as lower-case words without marks.
    `examples` shared values of each kind are shown.
    """
    if not test or not train:
        raise ValueError(f"leak report: expected rows of two splits, got {len(test)} of test and {len(train)} of train")
    sentences = _overlap(_values(test, "text", clean), _values(train, "text", clean), examples)
    as_words = _overlap(_values(test, "text", _words), _values(train, "text", _words), examples)
    if sentences is None or as_words is None or sentences.clips != len(test):
        raise ValueError("leak report: expected a text in every row of the scored split, some are empty")
    signers = _overlap(_values(test, "signer", str), _values(train, "signer", str), examples)
    films = _overlap(_values(test, "film", str), _values(train, "film", str), examples)
    return Leaks(sentences, as_words, signers, films)


def _values(rows: Iterable[Row], key: str, form: Callable[[str], str]) -> list[str]:
    """The values of one column; a row that does not say (absent, None, empty) is left out."""
    return [form(value) for row in rows if (value := row.get(key)) is not None and value.strip()]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", clean(text).lower())) or clean(text)


def _overlap(test: Sequence[str], train: Sequence[str], examples: int) -> Overlap | None:
    if not test or not train:
        return None
    known = set(train)
    shared = [value for value in test if value in known]
    frequent = sorted(set(shared), key=lambda value: (-shared.count(value), value))
    return Overlap(len(set(test)), len(set(shared)), len(test), len(shared), tuple(frequent[:examples]))
