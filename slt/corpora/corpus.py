"""What a corpus is: rows by split. A new one is one class with what `Corpus` asks for, and one YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Row(NamedTuple):
    """A clip and what is known of it, as text."""

    id: str
    text: str  # its sentence
    columns: Mapping[str, str]  # gloss, signer, film, fps, frame_count ...: the same for all rows of a corpus
    file: str = ""  # which its streams' files bear, with folders before it; "" = the id


class Corpus(Protocol):
    """What is read of a corpus; made of the folder that it lies in."""

    @property
    def root(self) -> Path:
        """The folder under which its streams' folders lie."""

    @property
    def extractor(self) -> str | None:
        """The fingerprint of what extracted its clips; None = not known."""

    @property
    def fingerprint(self) -> str:
        """Of all that training takes from it but the streams' bytes; the same for every split."""

    def rows(self, split: str) -> Sequence[Row]:
        """Return the clips of a split in their order; raise ValueError or FileNotFoundError for what is wrong."""
