"""How a sentence is written: before a tokenizer learns it, after a model writes it, when both are compared."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from slt.words import say


def clean(text: str) -> str:
    """NFC (so that `ñ` is one character however it was typed), runs of white space to one blank, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


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
