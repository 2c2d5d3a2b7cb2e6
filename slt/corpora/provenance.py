"""Where clips come from: what a corpus states of itself, and which extractor cut the crops of a model's training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slt.files import read_json

log = logging.getLogger(__name__)


# What `corpus.json` may state of a corpus, each a text: `signed` and `language` are the signed and the written one.
STATED = ("name", "signed", "language", "licence", "license", "consent", "url")


def stated_of(root: Path, columns: Mapping[str, Sequence[str]], clips: int) -> dict[str, Any]:
    """Return what a corpus says of its training clips: `clips`, `consent` (what its column says -> clips), `corpus`.

    A checkpoint carries it, so that a model's card can say it wherever the corpus is by then.
    """
    path = root / "corpus.json"
    found = read_json(path) if path.is_file() else {}
    corpus = {key: found[key] for key in STATED if isinstance(found.get(key), str)}
    consent = Counter(str(said).strip() for said in columns.get("consent", ()))
    return {"clips": clips, "consent": dict(consent), "corpus": corpus}


def refuse_other_extractor(trained: str | None, came: str | None, *, where: str, allowed: bool) -> None:
    """Refuse, or if allowed warn of, crops and poses that another extractor made than those that a model learned from.

    Both are fingerprints, None = not known; `where` is the corpus or camera that this is, for the message.
    """
    if trained is None or came is None:
        side = "the model" if trained is None else where
        log.warning("%s does not say which extractor made its clips: whether it is the same cannot be checked", side)
    elif trained != came:
        message = f"{where}: extracted by {came}, the model was trained on clips of {trained}"
        if not allowed:
            raise ValueError(
                f"{message}; a model knows only crops as its own extractor cuts them: extract with the same version "
                "and parameters (metadata.jsonl of the training corpus names them), or set other_extractor=true"
            )
        log.warning("%s, taken as other_extractor says", message)


def extractor_fault(clips: Counter[str]) -> str:
    """Return what is to be said of clips that several extractors made, counted by fingerprint."""
    counts = ", ".join(f"{count} by {name or 'one that is not named'}" for name, count in clips.most_common())
    return f"clips of {len(clips)} extractors ({counts})"


ONE_EXTRACTOR = (
    "expected one for all: their crops differ in ways that have nothing to do with signing. Extract all with one, take "
    "the others out of subs.csv and index/, or set dataset.mixed_extractors=true (in evaluation other_extractor=true)"
)
