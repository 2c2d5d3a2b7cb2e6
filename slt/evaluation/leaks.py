"""Beside the scores: what of the scored split stands in train already - sentences, signers, films."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slt.models.tokenizer import clean

Columns = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Overlap:
    """What two splits share of one property: values and clips of the scored one, and those of them in train."""

    values: int
    shared_values: int
    clips: int
    shared_clips: int
    examples: tuple[str, ...]  # the most frequent shared ones
    share: float  # of the clips, 0 to 1


Leaks = Mapping[str, Overlap | None]  # sentences, sentences_as_words, signers, films


def leak_report(test: Columns, train: Columns, *, examples: int) -> Leaks:
    """Compares the scored split with train by its columns `text`, `signer` and `film`; None where these do not say.

    Sentences are compared as written (NFC, white space collapsed) and once more as lower-case words without marks.
    `examples` shared values of each kind are shown.
    """

    def overlap(key: str, form: Callable[[str], str]) -> Overlap | None:
        mine, theirs = (
            [form(value) for value in each.get(key, ()) if value and value.strip()] for each in (test, train)
        )
        if not mine or not theirs:
            return None
        known = set(theirs)
        shared = [value for value in mine if value in known]
        frequent = sorted(set(shared), key=lambda value: (-shared.count(value), value))
        return Overlap(
            len(set(mine)), len(frequent), len(mine), len(shared), tuple(frequent[:examples]), len(shared) / len(mine)
        )

    return {
        "sentences": overlap("text", clean),
        "sentences_as_words": overlap("text", _words),
        "signers": overlap("signer", str),
        "films": overlap("film", str),
    }


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", clean(text).lower())) or clean(text)
