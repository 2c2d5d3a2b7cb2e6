"""What users read, in their language: help, errors, pages and reports, by the one gettext catalogue in slt/locale.

The words in the code are English, and an English user gets them as they are. `say` looks a text up; `told` finds which
text of the catalogue a finished message was made of (`{0}: no such file`), and makes it anew in the other language, so
that no line that raises, prints or logs has to know of languages. `make words` reads the texts out of the source.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gettext
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "locale"
DOMAIN = "slt"
LANGUAGES = ("en", "es")  # the first is the source's, and what whoever asks for none of these gets
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # gettext's own order
PLACE = re.compile(r"\{(\w+)(?:[:!][^{}]*)?\}")
# A finished message is taken for one of a template only where the template has letters of its own.
FEWEST_LETTERS = 4
# Of two places side by side the second is a hint, or empty: `{0}{1}` of "fusio; did you mean fusion?".
HINT = r"(?:[;,:.(] ?\S.*?| \(.*?)?"


def language() -> str:
    """Return the user's language: the first of LANGUAGE, LC_ALL, LC_MESSAGES and LANG that is set decides."""
    wishes = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    names = [re.split(r"[_.@]", wish)[0].lower() for wish in wishes.split(":")]
    return next((name for name in names if name in LANGUAGES), LANGUAGES[0])


def say(text: str, to: str | None = None) -> str:
    """Return a text of the source in a language, the user's unless `to` names one; as it is where it has no other."""
    to = to or language()
    return text if to == LANGUAGES[0] or not text else _catalogue(to).gettext(text)


def told(message: str, to: str | None = None) -> str:
    """Return a finished message, or each line of it, in a language; as it is where no text of the catalogue made it."""
    to = to or language()
    if to == LANGUAGES[0]:
        return message
    if "\n" in message:
        lines = "\n".join(told(line, to) for line in message.split("\n"))
        return lines if lines != message else _retold(message, to) or message
    inner = message.strip()
    if inner and inner != message and say(message, to) == message:
        return message.replace(inner, told(inner, to))
    return _retold(message, to) or message


@contextlib.contextmanager
def in_their_language() -> Iterator[None]:
    """Within, what is printed, and what is logged to the screen, is in the user's language; log files stay English."""
    if language() == LANGUAGES[0]:
        yield
        return
    handlers = [each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler]
    before = [handler.formatter for handler in handlers]
    for handler in handlers:
        handler.setFormatter(_Formatter(handler.formatter or logging.Formatter()))
    try:
        with contextlib.redirect_stdout(_Printed(sys.stdout)):
            yield
    finally:
        for handler, formatter in zip(handlers, before, strict=True):
            handler.setFormatter(formatter)


class _Formatter(logging.Formatter):
    def __init__(self, own: logging.Formatter) -> None:
        super().__init__()
        self.own = own

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.msg = say(record.msg) if isinstance(record.msg, str) and record.args else told(str(record.msg))
        return self.own.format(record)


class _Printed(io.TextIOBase):
    """Standard output, each printed text told anew; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(told(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self.stream.encoding)


@functools.cache
def _catalogue(to: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, HERE, [to])


@functools.cache
def _templates(to: str) -> list[tuple[list[str], re.Pattern[str], str]]:
    """Texts with places to be filled in: fixed parts, pattern and translation, those with most fixed text first."""
    found = []
    for text, other in _catalogue(to)._catalog.items():  # type: ignore[attr-defined]
        if not isinstance(text, str) or not PLACE.search(text):
            continue
        parts = PLACE.split(text.strip())  # fixed, name, fixed, name, ..., fixed
        fixed, names = parts[::2], parts[1::2]
        letters = sum(map(len, re.findall(r"[^\W\d_]{2,}", " ".join(fixed))))
        if letters < FEWEST_LETTERS or len({*names}) < len(names):
            continue
        beside = [bool(n) and not fixed[n] for n in range(len(names))]
        places = [f"(?P<_{name}>{HINT if after else '.*?'})" for name, after in zip(names, beside, strict=True)]
        pattern = "".join(re.escape(part) + place for part, place in zip(fixed, [*places, ""], strict=True))
        found.append(([part for part in fixed if part], re.compile(pattern, re.DOTALL), other.strip()))
    return sorted(found, key=lambda each: -sum(map(len, each[0])))


def _retold(message: str, to: str) -> str | None:
    """Return a message by the text that made it, and what fills its places likewise; None where there is none."""
    if " " not in message.strip():
        return None
    if (exact := say(message, to)) != message:
        return exact
    for fixed, pattern, other in _templates(to):
        if all(part in message for part in fixed) and (match := pattern.fullmatch(message)):
            parts = match.groupdict()
            return PLACE.sub(lambda place: told(parts[f"_{place[1]}"], to), other)  # noqa: B023
    return None
