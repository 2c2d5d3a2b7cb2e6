"""How a sentence is written: before a tokenizer learns it, after a model writes it, when both are compared."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from slt.words import say


def clean(text: str) -> str:
    """NFC (so that `ñ` is one character however it was typed), runs of white space to one blank, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


# What repeats at a sentence's end is a loop from so many times on, if it is so many characters in all: a decoder that
# has lost its way. `jajaja` and `bla, bla, bla` are none.
_LOOP_TIMES, _LOOP_LENGTH = (5, 3), (10, 24)
_LONGEST_UNIT = 60


def loop(text: str) -> int | None:
    """Return where in a text the first repetition begins of what then repeats to its end; None where nothing does."""
    body = text.rstrip(" .,;!?…")
    for unit in range(1, min(_LONGEST_UNIT, len(body) // min(_LOOP_TIMES)) + 1):
        same = unit
        while same < len(body) and body[-same - 1] == body[-same - 1 + unit]:
            same += 1
        if any(same >= times * unit and same >= least for times, least in zip(_LOOP_TIMES, _LOOP_LENGTH, strict=True)):
            end = len(body) - same + unit
            # Of words that repeat the round ends with a word, wherever it was counted from.
            return body.find(" ", end) if " " in body[end - unit : end] else end
    return None


def tag(language: str) -> str:
    """Return the token that a sentence of a language begins with, where a decoder writes several."""
    return f"<{language}>"


def tagged(text: str, language: str) -> str:
    return f"{tag(language)} {text}" if language else text


def plain_name(text: str) -> str:
    """Return a file name or id as it is compared: NFC, without invisible characters, ends stripped."""
    return unicodedata.normalize("NFC", visible(text)).strip()


def visible(text: str) -> str:
    """Return a text without signs that show nothing: format, control and surrogate characters but white space."""
    kinds = ("Cf", "Cc", "Cs")
    return "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) not in kinds)


def near(word: str, options: Iterable[str], *, most: int = 1, least: float = 0.6) -> str:
    """Return "; did you mean X?" of the options spelt like a word (difflib's ratio above `least`), "" for none."""
    found = difflib.get_close_matches(word, [*options], n=most, cutoff=least)
    return f"; did you mean {say(' or ').join(found)}?" if found else ""
