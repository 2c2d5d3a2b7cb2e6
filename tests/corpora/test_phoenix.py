"""PHOENIX-2014T as published: official tables with frames, and pickles with features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import COUNTS, write_pickle, write_picture, write_text

from slt.corpora.phoenix import PARTS, FeatureFiles, Phoenix14T
from slt.corpora.pickles import read_pickle

HEAD = "name|video|start|end|speaker|orth|translation"


@pytest.fixture
def official(tmp_path: Path) -> Path:
    root = tmp_path / "PHOENIX-2014-T"
    for split, part in PARTS.items():
        lines = [HEAD]
        for number in range(COUNTS[split]):
            name = f"{part}_heute-{number}"
            end = " ." if split == "train" else ""
            lines.append(f"{name}|{name}/1/*.png|-1|-1|Signer0{number}|__ON__ REGEN NORD|im norden regen {number}{end}")
            for frame in range(1, 5):
                write_picture(
                    root / f"features/fullFrame-210x260px/{part}/{name}/images{frame:04d}.png", value=40 * frame
                )
        kind = "-complex-annotation" if split == "train" else ""
        write_text(root / f"annotations/manual/PHOENIX-2014-T.{part}{kind}.corpus.csv", lines, end="\r\n")
    return root


@pytest.fixture
def features(tmp_path: Path) -> Path:
    root = tmp_path / "signjoey"
    for split, part in PARTS.items():
        clips = [
            {"name": f"{part}/heute-{number}", "signer": "Signer01", "gloss": "REGEN  NORD",
             "text": f"regen {number} .", "sign": torch.full((4 + number, 8), float(number))}
            for number in range(COUNTS[split])
        ]  # fmt: skip
        write_pickle(root / f"phoenix14t.{part}", clips)
    return root


def test_official_tables_give_texts_with_the_stop_that_scores_have(official: Path) -> None:
    corpus = Phoenix14T(official, stop=True)
    assert [len(corpus.rows(split)) for split in PARTS] == [*COUNTS.values()]
    train, test = corpus.rows("train")[1], corpus.rows("test")[1]
    assert (train.text, test.text) == ("im norden regen 1 .", "im norden regen 1 .")
    assert train.columns == {"gloss": "REGEN NORD", "signer": "Signer01"}
    assert test.file == "test/test_heute-1"
    assert Phoenix14T(official, stop=False).rows("train")[1].text == "im norden regen 1"


def test_frames_are_trained_on_and_scored(official: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("phoenix14t", official, "dataset.streams.frames.size=32", "streams.frames.depth=1")


def test_features_are_trained_on_and_scored(features: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("phoenix14t_features", features)


def test_features_are_unpacked_once_for_these_files(features: Path, tmp_path: Path) -> None:
    corpus = FeatureFiles(features)
    row = corpus.rows("train")[3]
    assert (row.id, row.text, row.columns["gloss"]) == ("train/heute-3", "regen 3 .", "REGEN NORD")
    stored = np.load(corpus.root / "features" / f"{row.id}.npy")
    assert stored.shape == (7, 8)
    assert (stored == 3).all()
    before = stored.tobytes(), (corpus.root / "unpacked.json").stat().st_mtime_ns
    again = FeatureFiles(features)
    assert again.fingerprint == corpus.fingerprint
    assert (again.root / "unpacked.json").stat().st_mtime_ns == before[1]


def test_a_name_that_leaves_the_cache_is_refused(features: Path) -> None:
    clip = {"name": "../../out", "signer": "", "gloss": "A", "text": "a", "sign": torch.ones(3, 8)}
    write_pickle(features / "phoenix14t.train", [clip])
    with pytest.raises(ValueError, match=r"'../../out': a name that leaves the folder"):
        FeatureFiles(features).rows("train")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "tables"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not on this machine (../shared/data/tables)")


@real
def test_both_published_forms_of_the_real_tables_say_the_same() -> None:
    official = Phoenix14T(REAL / "phoenix14t_official", stop=True)
    pickles = {split: read_pickle(REAL / f"phoenix14t_signjoey/phoenix14t.{PARTS[split]}") for split in PARTS}
    for split in ("train", "test"):
        same = {row.id: row for row in official.rows(split)}
        for clip in pickles[split]:
            row = same[clip["name"].partition("/")[2]]
            assert row.text == clip["text"]
            assert split == "train" or row.columns == {"gloss": clip["gloss"], "signer": clip["signer"]}
