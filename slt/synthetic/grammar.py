"""Sentences of the invented language: draws a meaning, orders its signs (time first, verb last), says it in Spanish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slt.synthetic import spanish
from slt.synthetic.phonology import Sign


@dataclass(frozen=True)
class Phrase:
    """A noun and what goes with it; `owner` is "mi", "tu" or "su" where somebody owns it."""

    noun: Sign
    number: Sign | None = None
    quality: Sign | None = None
    intense: bool = False
    owner: Sign | None = None


@dataclass(frozen=True)
class Clause:
    """Who does what to what, where, how and with whom. Without `verb` it says that `topic` is `topic.quality`."""

    subject: Phrase | None = None
    topic: Phrase | None = None
    verb: Sign | None = None
    place: Sign | None = None
    manner: Sign | None = None
    company: Phrase | None = None
    asking: Sign | None = None
    negated: bool = False
    intense: bool = False


@dataclass(frozen=True)
class Meaning:
    """A whole sentence: one clause, or two with a `link` between them; `mood` as in `spanish.sentence`."""

    mood: str
    time: Sign | None
    first: Clause
    link: Sign | None
    second: Clause | None


@dataclass(frozen=True)
class Performed:
    """A sign with the face that goes with it."""

    sign: Sign
    mouth: str
    brows: str


@dataclass(frozen=True)
class Grammar:
    """How often a sentence has what (shares of sentences or of the nouns concerned), and how many signs it may have."""

    time: float
    question: float
    asking: float
    exclamation: float
    negated: float
    pronoun: float
    described: float
    deed: float
    number: float
    quality: float
    intense: float
    place: float
    manner: float
    company: float
    owner: float
    link: float
    signs: tuple[int, int]


GRAMMARS = {
    "default": Grammar(
        time=0.9, question=0.2, asking=0.2, exclamation=0.2, negated=0.3, pronoun=0.25, described=0.1, deed=0.2,
        number=0.3, quality=0.55, intense=0.5, place=0.35, manner=0.0, company=0.0, owner=0.0, link=0.0, signs=(3, 7),
    ),
    "hard": Grammar(
        time=0.9, question=0.15, asking=0.15, exclamation=0.15, negated=0.3, pronoun=0.25, described=0.1, deed=0.25,
        number=0.35, quality=0.6, intense=0.5, place=0.4, manner=0.3, company=0.25, owner=0.4, link=0.7, signs=(6, 16),
    ),
}  # fmt: skip


class Speaker:
    """Draws meanings from a lexicon and a grammar; the same generator gives the same meanings."""

    def __init__(self, signs: Sequence[Sign], grammar: Grammar, rng: np.random.Generator) -> None:
        self.grammar, self.rng = grammar, rng
        self.kinds: dict[str, list[Sign]] = {}
        for sign in signs:
            self.kinds.setdefault(sign.kind, []).append(sign)

    def meaning(self) -> Meaning:
        """Draw one meaning whose number of signs lies within the grammar's limits."""
        low, high = self.grammar.signs
        while True:
            drawn = self._meaning()
            if low <= len(signed(drawn)) <= high:
                return drawn

    def _meaning(self) -> Meaning:
        grammar = self.grammar
        marked = [grammar.question, grammar.asking, grammar.exclamation]
        mood = self.rng.choice(["question", "asking", "exclamation", "statement"], p=[*marked, 1 - sum(marked)])
        time = self._one("time") if self._happens(grammar.time) else None
        first = self._clause(asked=mood == "asking")
        linked = mood in ("statement", "exclamation") and self._happens(grammar.link)
        link, second = (self._one("link"), self._clause(asked=False)) if linked else (None, None)
        return Meaning("question" if mood == "asking" else str(mood), time, first, link, second)

    def _clause(self, *, asked: bool) -> Clause:
        grammar = self.grammar
        negated = self._happens(grammar.negated)
        if not asked and self._happens(grammar.described):
            noun = Phrase(self._one("thing"), self._maybe("number", grammar.number), self._one("quality"))
            topic = replace(noun, intense=not negated and self._happens(grammar.intense))
            return Clause(topic=topic, negated=negated)
        asking = self._one("asking") if asked else None
        word = asking.word if asking else ""
        deed = word != "qué" and self._happens(grammar.deed)
        return Clause(
            subject=None if word == "quién" else self._subject(),
            topic=None if deed or word == "qué" else self._topic(),
            verb=self._one("deed" if deed else "act"),
            place=None if word == "dónde" else self._maybe("place", grammar.place),
            manner=self._maybe("manner", grammar.manner),
            company=self._person() if self._happens(grammar.company) else None,
            asking=asking,
            negated=negated,
            intense=deed and not negated and self._happens(grammar.intense),
        )

    def _subject(self) -> Phrase:
        return Phrase(self._one("pronoun")) if self._happens(self.grammar.pronoun) else self._person()

    def _person(self) -> Phrase:
        owner = self._maybe("owner", self.grammar.owner)
        return Phrase(self._one("person"), None if owner else self._maybe("number", self.grammar.number), owner=owner)

    def _topic(self) -> Phrase:
        quality = self._maybe("quality", self.grammar.quality)
        intense = quality is not None and self._happens(self.grammar.intense)
        return Phrase(self._one("thing"), self._maybe("number", self.grammar.number), quality, intense)

    def _one(self, kind: str) -> Sign:
        return self.kinds[kind][self.rng.integers(len(self.kinds[kind]))]

    def _maybe(self, kind: str, share: float) -> Sign | None:
        return self._one(kind) if self._happens(share) else None

    def _happens(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def sentences(signs: Sequence[Sign], grammar: Grammar, rng: np.random.Generator, count: int) -> list[Meaning]:
    """Draw `count` meanings, no two with the same Spanish sentence."""
    speaker, found = Speaker(signs, grammar, rng), dict[str, Meaning]()
    for _ in range(20 * count + 100):
        if len(found) == count:
            break
        meaning = speaker.meaning()
        found.setdefault(translate(meaning), meaning)
    if len(found) < count:
        raise ValueError(f"clips: {count} different sentences asked for, the grammar gave {len(found)}; ask for fewer")
    return list(found.values())


# ---------------------------------------------------------------- signed


def signed(meaning: Meaning) -> list[Performed]:
    """Return the signs in signed order with their faces.

    Time, place, subject, topic with its quality and number, company, manner, verb, question sign. A question raises the
    brows throughout, an exclamation smiles wherever the mouth is free, a negation lies on the verb's brows and mouth,
    "very" and "much" in the cheeks.
    """
    brows = "raised" if meaning.mood == "question" else "neutral"
    mouth = "smile" if meaning.mood == "exclamation" else "closed"

    def perform(sign: Sign, *, intense: bool = False, negated: bool = False) -> Performed:
        if negated:
            return Performed(sign, "down", "furrowed")
        spoken = "puff" if intense else sign.mouth if sign.mouth != "closed" else mouth
        return Performed(sign, spoken, brows)

    order = [perform(meaning.time)] if meaning.time else []
    order += _signed_clause(meaning.first, perform)
    if meaning.link and meaning.second:
        order += [perform(meaning.link), *_signed_clause(meaning.second, perform)]
    return order


def transcribe(meaning: Meaning) -> str:
    """Return the glosses of a sentence as annotators write them: signs in signed order, then what the face adds.

    `neg` and `int` follow the sign whose face says "not" and "very"; `q` and `excl` stand at the end of a question with
    raised brows and of an exclamation.
    """
    marks = {"down": " neg", "puff": " int"}
    line = " ".join(one.sign.gloss + marks.get(one.mouth, "") for one in signed(meaning))
    return line + {"question": " q", "exclamation": " excl"}.get(meaning.mood, "")


def _signed_clause(clause: Clause, perform: Callable[..., Performed]) -> Iterator[Performed]:
    if clause.place:
        yield perform(clause.place)
    for phrase in (clause.subject, clause.topic, clause.company):
        if phrase is None:
            continue
        yield from (perform(sign) for sign in (phrase.noun, phrase.owner, phrase.number) if sign)
        if phrase.quality:
            yield perform(phrase.quality, intense=phrase.intense, negated=clause.verb is None and clause.negated)
    if clause.manner:
        yield perform(clause.manner)
    if clause.verb:
        yield perform(clause.verb, intense=clause.intense, negated=clause.negated)
    if clause.asking:
        yield perform(clause.asking)


# ---------------------------------------------------------------- Spanish


def translate(meaning: Meaning) -> str:
    """Return the Spanish sentence.

    Statements run time, subject, verb, topic, place; questions put verb before subject and time last; a negated topic
    is definite; the time sign gives the tense (present where there is none).
    """
    tense = meaning.time.trait if meaning.time else "present"
    time = meaning.time.word if meaning.time else ""
    asked = meaning.mood == "question"
    words = _spoken_clause(meaning.first, tense, asked=asked)
    words.insert(len(words) if asked else 0, time)
    if meaning.link and meaning.second:
        words = [word for word in words if word]
        words[-1] += "," if meaning.link.trait == "comma" else ""
        words += [meaning.link.word, *_spoken_clause(meaning.second, tense, asked=False)]
    return spanish.sentence(words, meaning.mood)


def _spoken_clause(clause: Clause, tense: str, *, asked: bool) -> list[str]:
    no = "no" if clause.negated else ""
    place = f"en {_phrase(Phrase(clause.place), 'definite')}" if clause.place else ""
    if clause.verb is None:
        assert clause.topic is not None
        assert clause.topic.quality is not None, "a description has a quality"
        noun, number = clause.topic.noun, "p" if clause.topic.number else "s"
        quality = spanish.agree(clause.topic.quality.word, noun.trait, number)
        said = ["muy" if clause.topic.intense else "", quality]
        named = _phrase(replace(clause.topic, quality=None), "definite")
        is_so = spanish.conjugate("ser", f"3{number}", tense)
        return [no, is_so, *said, named] if asked else [named, no, is_so, *said]
    subject, person = _spoken_subject(clause.subject)
    verb = spanish.conjugate(clause.verb.word, person, tense)
    topic = _phrase(clause.topic, "definite" if clause.negated else "indefinite") if clause.topic else ""
    ask = clause.asking.word if clause.asking else ""
    company = f"con {_phrase(clause.company, 'definite')}" if clause.company else ""
    manner = clause.manner.word if clause.manner else ""
    rest = ["mucho" if clause.intense else "", manner, topic, company, place]
    return [ask, no, verb, subject, *rest] if asked else [subject, no, verb, *rest]


def _spoken_subject(subject: Phrase | None) -> tuple[str, str]:
    """Return the words of a subject (none for yo, tú, nosotros: the verb says it) and its person."""
    if subject is None:
        return "", "3s"
    if subject.noun.kind == "pronoun":
        person = subject.noun.trait
        return (subject.noun.word if person[0] == "3" else ""), person
    return _phrase(subject, "definite"), "3p" if subject.number else "3s"


def _phrase(phrase: Phrase, article: str) -> str:
    return spanish.noun_phrase(
        phrase.noun.word,
        phrase.noun.trait,
        number=phrase.number.word if phrase.number else "",
        article=phrase.owner.word if phrase.owner else article,
        quality=phrase.quality.word if phrase.quality else "",
        intense=phrase.intense,
    )
