"""What runs hand on has one name wherever it is met: by what it holds, not by where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slt.training import lineage
from slt.training.boards.wandb import artifact_of


@pytest.fixture(autouse=True)
def _staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))


def named(item: lineage.Item, *, upload: bool = False) -> tuple[str, str]:
    made: Any = artifact_of(item, upload=upload)
    return made.name, made.digest


def written(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_copy_of_a_checkpoint_under_another_name_is_the_same_artifact(tmp_path: Path) -> None:
    here, there = written(tmp_path / "run/best.pt", "weights"), written(tmp_path / "models/mine.pt", "weights")
    assert named(lineage.checkpoint(here, score=3.0)) == named(lineage.checkpoint(there))
    assert named(lineage.checkpoint(here)) != named(lineage.checkpoint(written(tmp_path / "other.pt", "others")))


def test_uploaded_or_only_pointed_at_it_is_the_same_artifact(tmp_path: Path) -> None:
    item = lineage.checkpoint(written(tmp_path / "a folder/best.pt", "weights"))
    assert named(item, upload=True) == named(item, upload=False)


def test_corpus_is_known_by_its_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    one, two = (lineage.dataset(Path(place), fingerprint="f1", extractor="e1") for place in ("/data/a", "/scratch/b"))
    assert named(one) == named(two) != named(lineage.dataset(Path("/data/a"), fingerprint="f2", extractor="e1"))
    assert artifact_of(one, upload=False).metadata == {"fingerprint": "f1", "extractor": "e1", "root": "/data/a"}


def test_backbone_is_its_weights_with_what_stands_beside_them(tmp_path: Path) -> None:
    path = written(tmp_path / "backbone_hands.safetensors", "weights")
    bare = named(lineage.backbone(path))
    written(tmp_path / "backbone_hands.json", "{}")
    assert named(lineage.backbone(path)) != bare
    assert {*lineage.backbone(path).files} == {"backbone.safetensors", "backbone.json"}


def test_export_is_all_files_of_its_folder(tmp_path: Path) -> None:
    for name in ("encoder_m.onnx", "tokenizer/vocab.json"):
        written(tmp_path / "m" / name, name)
    assert {*lineage.exported(tmp_path / "m").files} == {"encoder_m.onnx", "tokenizer/vocab.json"}
