"""Spanish word forms for the sentences of the embedded corpus: plural, agreement, conjugation, noun phrases."""

from __future__ import annotations

_UNACCENTED = str.maketrans("áéíóú", "aeiou")
_VOWELS = "aeiouáéíóú"

# Endings by conjugation class and tense, in the order of PERSONS. The future hangs on the whole infinitive.
PERSONS = ("1s", "2s", "3s", "1p", "3p")
TENSES = ("past", "present", "future")
_FUTURE = ("é", "ás", "á", "emos", "án")
_ENDINGS = {
    ("ar", "past"): ("é", "aste", "ó", "amos", "aron"),
    ("er", "past"): ("í", "iste", "ió", "imos", "ieron"),
    ("ir", "past"): ("í", "iste", "ió", "imos", "ieron"),
    ("ar", "present"): ("o", "as", "a", "amos", "an"),
    ("er", "present"): ("o", "es", "e", "emos", "en"),
    ("ir", "present"): ("o", "es", "e", "imos", "en"),
}
# "Ser" of a description: the past is the imperfect (the house was white).
_SER = {
    "past": ("era", "eras", "era", "éramos", "eran"),
    "present": ("soy", "eres", "es", "somos", "son"),
    "future": ("seré", "serás", "será", "seremos", "serán"),
}
_BEFORE_E = {"car": "qu", "gar": "gu", "zar": "c"}
_ARTICLES = {
    "definite": {"ms": "el", "fs": "la", "mp": "los", "fp": "las"},
    "indefinite": {"ms": "un", "fs": "una", "mp": "unos", "fp": "unas"},
}


def plural(word: str) -> str:
    """Return the plural of a noun or adjective: casa -> casas, lápiz -> lápices, jardín -> jardines."""
    if word[-1] in "aeoáéó":
        return word + "s"
    if word[-1] == "z":
        return word[:-1] + "ces"
    if word[-2] in "áéíóú" and word[-1] in "ns":  # the accent of the last syllable is no longer needed
        return word[:-2] + word[-2].translate(_UNACCENTED) + word[-1] + "es"
    return word + "es"


def agree(adjective: str, gender: str, number: str) -> str:
    """Return an adjective in the form of its noun; `gender` "m" or "f", `number` "s" or "p"."""
    if gender == "f" and adjective.endswith("o"):
        adjective = adjective[:-1] + "a"
    return plural(adjective) if number == "p" else adjective


def conjugate(verb: str, person: str, tense: str) -> str:
    """Return a verb form, for instance ("buscar", "1s", "past") -> "busqué".

    A verb is an infinitive, with the stem of its stressed present forms after a slash if that differs
    ("perder/pierd"); the past is the preterite, but the imperfect of "ser".
    """
    infinitive, _, stressed = verb.partition("/")
    place = PERSONS.index(person)
    if infinitive == "ser":
        return _SER[tense][place]
    if tense == "future":
        return infinitive + _FUTURE[place]
    stem, family = infinitive[:-2], infinitive[-2:]
    ending = _ENDINGS[family, tense][place]
    if tense == "present" and stressed and person != "1p":
        stem = stressed
    if ending[0] in "eé" and infinitive[-3:] in _BEFORE_E:
        stem = stem[:-1] + _BEFORE_E[infinitive[-3:]]
    if ending == "o" and family != "ar":
        if stem[-1] == "g":  # recoger -> recojo
            stem = stem[:-1] + "j"
        elif stem[-1] == "c" and stem[-2] in _VOWELS:  # conocer -> conozco
            stem = stem[:-1] + "zc"
    return stem + ending


def noun_phrase(noun: str, gender: str, *, number: str, article: str, quality: str, intense: bool) -> str:
    """Return a noun with all that agrees with it, for instance "todas las tazas muy blancas".

    `number` is "" for one, else "dos", "muchos", "todos" or another word that makes it many; `article` "definite" or
    "indefinite" (for one; many take their number instead), "mi", "tu" or "su"; `quality` an adjective or "".
    """
    many = "p" if number else "s"
    if number == "todos":
        head = f"{agree('todo', gender, 'p')} {_ARTICLES['definite'][gender + 'p']}"
    elif number:
        head = agree(number[:-1], gender, "p") if number.endswith("os") and number != "dos" else number
    elif article in _ARTICLES:
        head = _ARTICLES[article][gender + "s"]
    else:
        head = article
    words = [head, plural(noun) if number else noun]
    if quality:
        words += ["muy"] * intense + [agree(quality, gender, many)]
    return " ".join(words)


def sentence(words: list[str], mood: str) -> str:
    """Return words as a written sentence; `mood` is "statement", "question" or "exclamation"."""
    opening, closing = {"statement": ("", "."), "question": ("¿", "?"), "exclamation": ("¡", "!")}[mood]
    text = " ".join(word for word in words if word)
    return opening + text[0].upper() + text[1:] + closing
