"""What is found out of a model beside its sentences: plain values, without torch, which the configuration knows too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from slt.settings import check_values, choice, not_negative, positive, share, switch
from slt.text import clean, near

TOKENIZERS = ("13a", "intl", "zh", "char", "none")  # sacreBLEU's names
STOPS = ("keep", "strip")
# A full stop at the end of a sentence: neither the last dot of an ellipsis nor all that there is of a text.
STOP = re.compile(r"(?<=[^\s.。])\s*[.。]\s*$")


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How the literature of a corpus scores its sentences: the key `scoring` of a dataset's YAML.

    What is left out is as the suite scores by default. References and hypotheses are prepared alike.
    """

    tokenize: str = choice(*TOKENIZERS, default="13a")  # of BLEU
    lowercase: bool = switch(default=False)
    final_stop: str = choice(*STOPS, default="keep")  # strip: `sol .`, `sol.` and `sol。` are scored as `sol`
    characters: bool = switch(default=False)  # every character is a word: `他 今` and `他今` are alike

    def __post_init__(self) -> None:
        check_values(self, "scoring")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Conventions:
        """Return the conventions that some of their keys give, others and those that are None as by default."""
        known = [part.name for part in fields(cls)]
        if not isinstance(given, Mapping | None):
            raise ValueError(f"scoring={given}: expected keys, as in scoring={{tokenize: char}}, or null")
        if unknown := [str(key) for key in given or () if key not in known]:
            raise ValueError(f"scoring.{unknown[0]}: expected one of {', '.join(known)}{near(unknown[0], known)}")
        return cls(**{key: value for key, value in (given or {}).items() if value is not None})

    def prepare(self, texts: Sequence[str]) -> list[str]:
        """Return the sentences as they are compared, before any tokenizer."""
        return [self._prepared(text) for text in texts]

    def _prepared(self, text: str) -> str:
        if self.final_stop == "strip":
            text = STOP.sub("", text)
        if self.lowercase:
            text = text.lower()
        # Put apart and not together, so that all that counts words (WER, TER, ROUGE-L, chrF++) counts characters.
        return " ".join(clean(text).replace(" ", "")) if self.characters else text

    @property
    def signature(self) -> str:
        """What was done beside lower-casing and tokenizing, as the last part of a signature; "" for nothing."""
        stop = "|stop:stripped" if self.final_stop == "strip" else ""
        return stop + ("|by:characters" if self.characters else "")


AS_WRITTEN = Conventions()


@dataclass(frozen=True, kw_only=True)
class GlossLM:
    """How the training glosses' n-gram is asked in the beam search over the gloss head."""

    order: int = positive()
    weight: float = not_negative()  # of its log probabilities beside the gloss head's
    bonus: float  # nats a gloss; without it a model that asks a price for each gloss says too few

    def __post_init__(self) -> None:
        check_values(self, "evaluation.gloss_lm")

    @classmethod
    def of(cls, given: Mapping[str, Any] | GlossLM | None) -> GlossLM | None:
        """Return the settings of a mapping of exactly their keys."""
        if given is None or isinstance(given, GlossLM):
            return given
        known = {part.name for part in fields(cls)}
        if not isinstance(given, Mapping) or given.keys() != known:
            raise ValueError(f"evaluation.gloss_lm={given}: expected all of order, weight and bonus, or null for none")
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What is scored and shown beside the sentences, as `evaluation` in conf/ explains."""

    bootstrap: int
    gloss_beam: int | None = positive()  # width of the prefix beam search; None = the best path alone
    gloss_lm: Any  # a `GlossLM` or its keys; None = the gloss head alone
    blanked: bool
    shuffled: bool
    frozen: bool
    abstain: float | None = share()  # confidence below which a sentence is refused; None = none is
    neighbour: int | None = positive()  # training clips looked at for the floor; None = no such floor
    report_strips: int


@dataclass(frozen=True, kw_only=True)
class Scoring(Controls):
    """The controls, the seed of the resamples, and the streams that are taken as not seen throughout."""

    seed: int
    drop: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How much is rated, and what is put between it to see whether a rater pays attention."""

    clips: int = positive()
    repeats: int = not_negative()
    spoiled: int = not_negative()
    seed: int
