"""How a sentence is written everywhere: before a tokenizer learns it, after a model writes it, when both are compared.

A file of its own, without torch, for what extracts films and for what runs an exported model.
"""

from __future__ import annotations

import unicodedata


def clean(text: str) -> str:
    """NFC (so that `ñ` is one character however it was typed), runs of white space to one blank, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())
