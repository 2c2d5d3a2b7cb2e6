"""A run as it leaves the lab: the model, its tokenizer and what whoever feeds it must know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt.files import parse_json
from slt.models.confidence import Confidence
from slt.models.search import Search, Tokens
from slt.models.signature import StreamSpec
from slt.models.translator import Translator


@dataclass(frozen=True, kw_only=True)
class Model:
    """A translator with what its sentences need: tokenizer, search, glosses of its gloss head, and how sure they are.

    Without `confidence` nobody has said how sure.
    """

    translator: Translator
    tokenizer: Any
    search: Search
    glosses: tuple[str, ...] = ()
    confidence: Confidence | None = None


@dataclass(frozen=True, kw_only=True)
class Trained(Model):
    """What a checkpoint holds, rebuilt; its translator is in evaluation mode, float32.

    Attributes:
        name: of the run, for files and messages.
        fps, max_frames: frames a second and frames a clip that its training kept; None = all.
        extractor: fingerprint of what cut its training clips; None = not known.
        extractor_settings: its name, version and parameters, where the training corpus is here and says so.
        seen: the `corpus` fingerprint and the digests of the `signers` that it was trained on, for `lineage.json`.
        precision: it was trained and evaluated in: fp32, tf32, bf16 or fp16.
    """

    name: str
    streams: tuple[StreamSpec, ...]
    fps: float | None
    max_frames: int | None
    extractor: str | None
    extractor_settings: dict[str, Any] | None
    precision: str
    seen: dict[str, Any]

    @property
    def tokens(self) -> Tokens:
        """The ids that a search needs."""
        return self.translator.decoder.tokens

    @property
    def longest(self) -> int | None:
        """The most frames that the model itself takes (a text encoder's positions bound them); None = any number."""
        positions = self.translator.decoder.positions
        return None if positions is None else positions * self.translator.encoder.stride


def extractor_settings(root: Path, fingerprint: str | None) -> dict[str, Any] | None:
    """Return name, version and parameters of the extractor of a fingerprint, where a corpus says that it made it."""
    for path in (root / "extraction.json", root / "metadata.jsonl"):
        if fingerprint is None or not path.is_file():
            continue
        with path.open(encoding="utf-8") as file:
            text = file.read() if path.suffix == ".json" else file.readline()
        found = parse_json(text or "{}", path)
        if isinstance(found, dict) and found.get("fingerprint") == fingerprint:
            return {"name": found.get("extractor"), "version": found.get("version"),
                    "parameters": found.get("parameters")}  # fmt: skip
    return None
