"""GloSL: one form for many corpora, here and on the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_text
from pose_files import write_holistic

from slt.corpora.glosl import GloSL

HEAD = "id,split,text,gloss,gloss_type,signer,start,end,fps,n_frames,mood"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_glosl(tmp_path / "glosl")


def write_glosl(root: Path, names: tuple[str, ...] = ("train", "dev", "test"), head: str = HEAD) -> Path:
    pytest.importorskip("pose_format", reason='pose-format is absent: pip install "slt[media]"')
    lines = [head]
    for split, count in zip(names, COUNTS.values(), strict=True):
        for number in range(count):
            name = f"{split}_{number}"
            lines.append(f'{name},{split},"hola, clip {number}",HOLA CLIP,manual,ana,0.5,0.9,25,10,glad')
            write_holistic(root / f"poses/000{number % 2}/{name}.pose", 10 + number)
    write_text(root / "annotations.csv", lines)
    (root / "card.json").write_text(json.dumps({"name": "lsat", "languages": ["aed", "es"], "license": "MIT", "n": 3}))
    return root


def test_rows_have_their_pose_by_its_folder_and_the_columns_that_are_known(root: Path) -> None:
    corpus = GloSL(root)
    assert [len(corpus.rows(split)) for split in COUNTS] == [*COUNTS.values()]
    row = corpus.rows("train")[1]
    assert (row.id, row.file, row.text) == ("train_1", "0001/train_1", "hola, clip 1")
    assert row.columns == {"gloss": "HOLA CLIP", "signer": "ana", "start": "0.5", "end": "0.9", "fps": "25"}
    assert corpus.notes == ["name: lsat", "language: aed, es", "licence: MIT"]


def test_poses_are_trained_on_and_scored(root: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("glosl", root, "streams.pose.num_features=16")


def test_a_data_set_of_the_hub_is_downloaded_and_trained_on(
    tmp_path: Path, two_steps: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_glosl(tmp_path / "snapshot" / "lsat")
    asked = []

    def snapshot_download(name: str, **keys: Any) -> str:
        asked.append((name, keys))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    two_steps("glosl", "hf://someone/glosl/lsat", "streams.pose.num_features=16")  # type: ignore[arg-type]
    assert {name for name, _ in asked} == {"someone/glosl"}
    assert asked[0][1] == {"repo_type": "dataset", "allow_patterns": "lsat/*"}


@pytest.mark.parametrize("root", ["hf://someone", "hf://someone/glosl/../..", "hf:someone/glosl"])
def test_an_address_of_the_hub_that_is_none_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match=r"expected hf://OWNER/NAME"):
        GloSL(root)


@pytest.mark.parametrize("name", ["val", "validation", "DEV"])
def test_validation_goes_by_several_names(name: str, tmp_path: Path) -> None:
    corpus = GloSL(write_glosl(tmp_path / "other", ("train", name, "test")))
    assert len(corpus.rows("val")) == COUNTS["val"]


def test_rows_of_another_split_are_counted(root: Path) -> None:
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("train_0,train", "train_0,extra"))
    corpus = GloSL(root)
    assert len(corpus.rows("train")) == COUNTS["train"] - 1
    assert "annotations.csv: 1 rows are of 'extra', which is no split" in corpus.notes


def test_columns_that_no_row_fills_are_none(tmp_path: Path) -> None:
    root = write_glosl(tmp_path / "other")
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("HOLA CLIP", "").replace("ana", " "))
    assert "gloss" not in GloSL(root).rows("train")[0].columns


def test_a_row_with_too_few_fields_is_named(root: Path) -> None:
    with (root / "annotations.csv").open("a") as file:
        file.write("train_9,train\n")
    with pytest.raises(ValueError, match=r"annotations\.csv line 12: 11 fields expected, 2 came"):
        GloSL(root).rows("train")
