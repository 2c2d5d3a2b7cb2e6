"""A run as it leaves the lab: the model, its tokenizer and what whoever feeds it must know.

T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt.models.search import Search, Tokens
from slt.models.signature import StreamSpec
from slt.models.translator import Translator
from slt.streams.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Model:
    """A translator with what its sentences need: their tokenizer, their search, and the glosses of its gloss head."""

    translator: Translator
    tokenizer: Any
    search: Search
    glosses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trained(Model):
    """What a checkpoint holds, rebuilt; its translator is in evaluation mode, float32.

    Attributes:
        name: of the run, for files and messages.
        streams: that it reads, in the order of its inputs.
        fps, max_frames: frames a second and frames a clip that its training kept; None = all.
        extractor: fingerprint of what cut its training clips; None = not known.
        extractor_settings: its name, version and parameters, where the training corpus is here and says so.
        precision: it was trained and evaluated in: fp32, bf16 or fp16.
    """

    name: str
    streams: tuple[StreamSpec, ...]
    fps: float | None
    max_frames: int | None
    extractor: str | None
    extractor_settings: dict[str, Any] | None
    precision: str

    @property
    def tokens(self) -> Tokens:
        """The ids that a search needs."""
        return self.translator.decoder.tokens

    @property
    def longest(self) -> int | None:
        """The most frames that the model itself takes (a text encoder's positions bound them); None = any number."""
        positions = self.translator.decoder.positions
        stride: Any = self.translator.encoder.temporal.stride
        return None if positions is None else positions * stride


def stream_specs(shapes: Mapping[str, Sequence[int]], readers: Mapping[str, Stream]) -> tuple[StreamSpec, ...]:
    """What each stream of a trained model is, in the model's order; `shapes` are of one frame."""
    return tuple(readers[name].spec(name, shape) for name, shape in shapes.items())


def extractor_settings(root: Path, fingerprint: str | None) -> dict[str, Any] | None:
    """Name, version and parameters of the extractor that made a corpus; None where its files do not say.

    Args:
        root: the corpus.
        fingerprint: of the extractor that a model was trained on; settings of another are not given.
    """
    for path in (root / "extraction.json", root / "metadata.jsonl"):
        if fingerprint is None or not path.is_file():
            continue
        with path.open(encoding="utf-8") as file:
            text = file.read() if path.suffix == ".json" else file.readline()
        try:
            found = json.loads(text or "{}")
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error}); make the corpus anew, or remove the file") from error
        if isinstance(found, dict) and found.get("fingerprint") == fingerprint:
            return {"name": found.get("extractor"), "version": found.get("version"),
                    "parameters": found.get("parameters")}  # fmt: skip
    return None
