"""Which extractor cut the crops a model was trained on, held against the one that cuts what it is to read now."""

from __future__ import annotations

import logging
from collections import Counter

log = logging.getLogger(__name__)


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
