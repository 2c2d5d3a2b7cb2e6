"""Captions as ELAN's tiers: the sentences at their times, below each its score, who signs, and the other sentences."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slt.files import atomic, needing
from slt.inference.subtitles import Caption, composed

CAPTIONS, SCORES, SIGNERS, ALTERNATIVES = "captions", "scores", "signers", "alternatives"
AUTHOR = "slt"


class Elan:
    """A .eaf that is written when all captions are there; it keeps of each no more than what it writes."""

    def __init__(self) -> None:
        with needing("writing .eaf files needs pympi-ling", extra="media"):
            import pympi
        self._eaf: Any = pympi.Eaf(author=AUTHOR)
        self._eaf.remove_tier("default")
        self._eaf.add_linguistic_type("sentence")
        self._eaf.add_linguistic_type("score", "Symbolic_Association", timealignable=False)
        self._eaf.add_linguistic_type("signer", "Symbolic_Association", timealignable=False)
        self._eaf.add_linguistic_type("alternative", "Symbolic_Subdivision", timealignable=False)
        self._eaf.add_tier(CAPTIONS, "sentence")
        for tier, kind in ((SCORES, "score"), (SIGNERS, "signer"), (ALTERNATIVES, "alternative")):
            self._eaf.add_tier(tier, kind, parent=CAPTIONS)

    def add(self, caption: Caption) -> None:
        """Put a caption in; alternatives stand in their order, as `sentence (-0.52)`, as the parts of a subdivision."""
        start = max(0, round(caption.start * 1000))
        end = max(start + 1, round(caption.end * 1000))
        self._eaf.add_annotation(CAPTIONS, start, end, caption.text)
        middle = (start + end) // 2
        if caption.hypotheses:
            self._eaf.add_ref_annotation(SCORES, CAPTIONS, middle, f"{caption.hypotheses[0].score:.4f}")
        if caption.signer is not None:
            self._eaf.add_ref_annotation(SIGNERS, CAPTIONS, middle, f"signer {caption.signer}")
        before = None
        for one in caption.hypotheses[1:]:
            text = f"{composed(one.text)} ({one.score:.2f})"
            self._eaf.add_ref_annotation(ALTERNATIVES, CAPTIONS, middle, text, prev=before)
            before = list(self._eaf.tiers[ALTERNATIVES][1])[-1]

    def write(self, path: Path, film: Path | None) -> None:
        """Write the file; it names its film, if there is one, without a folder: ELAN looks beside the file first."""
        if film is not None:
            self._eaf.add_linked_file(film.name, relpath=f"./{film.name}", mimetype="video/mp4")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / path.name
            self._eaf.to_file(made)
            with atomic(path) as file:
                file.write(made.read_bytes())


def write_elan(captions: Iterable[Caption], path: Path, film: Path | None) -> None:
    elan = Elan()
    for caption in captions:
        elan.add(caption)
    elan.write(path, film)
