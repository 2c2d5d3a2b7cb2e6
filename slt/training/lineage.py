"""What runs hand to one another, which boards know as artifacts: corpora, backbones, checkpoints, predictions, exports.

An artifact's name ends in the first digits of what it holds, so that the lineage joins up without asking a server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt.files import read_json, sha256

FILE = "lineage.json"  # of an exported folder: the corpus and the signers that its model was trained on
TYPES = {"checkpoint": "model", "backbone": "model", "export": "model"}  # the others are their own type


@dataclass(frozen=True)
class Item:
    kind: str  # dataset, checkpoint, backbone, predictions or export
    files: Mapping[str, Path] = field(default_factory=dict)  # name within the artifact -> file
    facts: Mapping[str, Any] = field(default_factory=dict)  # stand for it where its files are too many: a corpus
    about: Mapping[str, Any] = field(default_factory=dict)  # shown beside it; they do not tell one item from another
    light: bool = False  # its files are small and always uploaded; others only with `board.log_checkpoints`

    @property
    def type(self) -> str:
        return TYPES.get(self.kind, self.kind)

    @property
    def text(self) -> str:
        """The facts that stand for it, as JSON."""
        return json.dumps(self.facts, sort_keys=True)

    @property
    def name(self) -> str:
        """`kind-digest`, of its facts and what its files hold."""
        parts = [self.text, *(f"{name} {sha256(path)}" for name, path in sorted(self.files.items()))]
        return f"{self.kind}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"


def signer_marks(signers: Iterable[str]) -> list[str]:
    """Return the signers of the clips that a model is trained on as digests: whoever has a name can ask for it."""
    return sorted({hashlib.sha256(name.encode()).hexdigest()[:16] for name in signers})


def who_has_seen(signer: str, folder: Path) -> Iterator[tuple[Path, bool | None]]:
    """Yield every checkpoint and exported folder below a folder, and whether its training saw a signer.

    None where it does not say: it is older than this record, or its corpus names no signers.
    """
    from slt.training.checkpoint import load_checkpoint  # here: `--help` comes by and needs no torch

    (mark,) = signer_marks([signer])
    for path in sorted(folder.rglob("*.pt")):
        try:
            marks = load_checkpoint(path).get("signers")
        except ValueError:
            continue
        yield path, mark in marks if marks else None
    for path in sorted(folder.rglob("manifest.json")):
        told = path.with_name(FILE)
        marks = read_json(told)["signers"] if told.is_file() else None
        yield path.parent, mark in marks if marks else None


def dataset(root: Path, *, fingerprint: str, extractor: str | None) -> Item:
    """A corpus by its fingerprint; its data is never read for it and never uploaded."""
    return Item("dataset", facts={"fingerprint": fingerprint, "extractor": extractor}, about={"root": str(root)})


def checkpoint(path: Path, **about: Any) -> Item:
    return Item("checkpoint", {"checkpoint.pt": path}, about={"file": path.name, **about})


def backbone(path: Path) -> Item:
    """A file of pretrained weights, and what stands beside it as JSON."""
    beside = path.with_suffix(".json")
    files = {f"backbone{path.suffix}": path} | ({"backbone.json": beside} if beside.is_file() else {})
    return Item("backbone", files, about={"file": path.name})


def predictions(folder: Path, *, split: str) -> Item:
    files = {name: folder / name for name in ("predictions.tsv", "scores.json")}
    return Item("predictions", files, about={"split": split}, light=True)


def exported(folder: Path) -> Item:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return Item("export", files, about={"folder": folder.name})
