"""A grammar of a few lines, of which sentences are drawn: patterns of words and of slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import yaml

from slt.files import existing

TRIES = 100


class Grammar(NamedTuple):
    """Which sentences there are."""

    patterns: tuple[str, ...]  # words and names of slots, parted by blanks
    slots: Mapping[str, tuple[str, ...]]  # patterns of which one stands for it; "" = nothing
    silent: tuple[str, ...]  # words that are signed and not written, such as a pause


def read_grammar(grammar: Mapping[str, Any] | str) -> Grammar:
    """Return the grammar of a mapping of `patterns`, `slots` and `silent`, or of the YAML file that holds one.

    ValueError says what is wrong: other keys, no patterns, a slot that stands in itself.
    """
    where = "dataset.corpus.grammar"
    content: Any = grammar
    if isinstance(grammar, str):
        where = grammar
        content = yaml.safe_load(existing(grammar, "a grammar").read_text(encoding="utf-8"))
    if not isinstance(content, Mapping) or not content.get("patterns") or set(content) - set(Grammar._fields):
        raise ValueError(f"{where}: expected `patterns`, and perhaps `slots` and `silent`")
    slots = {str(name): tuple(str(each or "") for each in some) for name, some in (content.get("slots") or {}).items()}
    found = Grammar(tuple(map(str, content["patterns"])), slots, tuple(map(str, content.get("silent") or ())))
    for name in slots:
        _check_slot(found, name, (), where)
    return found


def _check_slot(grammar: Grammar, name: str, above: tuple[str, ...], where: str) -> None:
    if name in above:
        raise ValueError(f"{where}: slot {name!r} stands in itself, so that a sentence has no end")
    if not grammar.slots[name]:
        raise ValueError(f"{where}: slot {name!r} has nothing that stands for it")
    for token in " ".join(grammar.slots[name]).split():
        if token in grammar.slots:
            _check_slot(grammar, token, (*above, name), where)


def drawn(grammar: Grammar, rng: np.random.Generator) -> list[str]:
    """Return the words of a sentence of which something is written."""
    for _ in range(TRIES):
        words = _expanded(grammar, grammar.patterns[rng.integers(len(grammar.patterns))], rng)
        if any(word not in grammar.silent for word in words):
            return words
    raise ValueError(f"dataset.corpus.grammar: {TRIES} sentences in a row have no word that is written")


def _expanded(grammar: Grammar, pattern: str, rng: np.random.Generator) -> list[str]:
    words = []
    for token in pattern.split():
        options = grammar.slots.get(token)
        words += [token] if options is None else _expanded(grammar, options[rng.integers(len(options))], rng)
    return words
