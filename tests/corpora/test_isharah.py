"""Isharah: bars, two tasks, a test without glosses, and pickles of 86 points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import COUNTS, write_pickle, write_text

from slt.corpora.isharah import PARTS, Isharah, scaled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    home = tmp_path / "isharah"
    for task in ("SI", "US"):
        clips = {}
        for number, (split, part) in enumerate(PARTS.items()):
            names = [f"0{number}_{clip:04d}" for clip in range(COUNTS[split])]
            write_text(home / f"{task}_{part}.csv", ["id|gloss", *(f"{name}|هو  معلم" for name in names)])
            clips |= {name: {"keypoints": rng.uniform(0, 1, (6 + clip, 86, 2))} for clip, name in enumerate(names)}
        clips["00_0001"]["keypoints"] = np.concatenate([clips["00_0001"]["keypoints"], np.ones((7, 86, 1))], axis=2)
        write_pickle(home / f"pose_data_isharah2000_hands_lips_body_{task}.pkl", clips, zipped=False)
    return home


def test_the_glosses_are_the_sentence_and_the_signer_begins_the_id(root: Path) -> None:
    corpus = Isharah(root, protocol="SI")
    assert [len(corpus.rows(split)) for split in PARTS] == [*COUNTS.values()]
    row = corpus.rows("val")[1]
    assert (row.id, row.text, row.columns) == ("01_0001", "هو معلم", {"gloss": "هو معلم", "signer": "01"})


def test_points_are_trained_on_and_scored(root: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("isharah", root, "dataset.corpus.protocol=US")


def test_a_test_without_glosses_says_that_they_were_kept_back(root: Path) -> None:
    write_text(root / "SI_test.csv", ["id", "08_0001", "08_0002"])
    with pytest.raises(ValueError, match="none of 2 clips has a sentence: are they kept back"):
        Isharah(root, protocol="SI").rows("test")


def test_tables_in_a_folder_a_task_are_read_too(root: Path) -> None:
    (root / "annotations" / "SI").mkdir(parents=True)
    (root / "SI_dev.csv").rename(root / "annotations" / "SI" / "dev.csv")
    assert len(Isharah(root, protocol="SI").rows("val")) == COUNTS["val"]


def test_points_go_about_their_mean_and_what_is_missing_is_zero() -> None:
    points = np.random.default_rng(1).uniform(5, 9, (4, 86, 2)).astype(np.float32)
    points[1, 3] = 0
    points[2] = 0
    out = scaled(points).reshape(4, 86, 2)
    there = (points != 0).any(-1)
    assert out[there].mean(0) == pytest.approx(0, abs=1e-4)
    assert out[there].std() == pytest.approx(1, abs=1e-4)
    assert (out[1, 3] == 0).all()
    assert np.isnan(out[2]).all()  # a frame of which nothing was seen


def test_another_number_of_points_is_refused_by_name(root: Path) -> None:
    write_pickle(root / "pose_SI.pkl", {"00_0000": {"keypoints": np.ones((5, 85, 2))}})
    with pytest.raises(ValueError, match=r"pose_SI\.pkl: clip '00_0000': key points \(T, 86, 2\) expected"):
        _ = Isharah(root, protocol="SI").root


def test_an_id_that_leaves_the_cache_is_refused(root: Path) -> None:
    write_pickle(root / "pose_SI.pkl", {"../../../out": {"keypoints": np.ones((5, 86, 2))}})
    with pytest.raises(ValueError, match="a name that leaves the folder"):
        _ = Isharah(root, protocol="SI").root


def test_a_task_that_is_none_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="must be one of SI, US, came 'SD'"):
        Isharah(root, protocol="SD")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "tables" / "isharah2000"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not on this machine (../shared/data/tables)")
@pytest.mark.parametrize(("protocol", "signers"), [("SI", ("00", "02")), ("US", ("00", "00"))])
def test_the_real_tables_are_read(protocol: str, signers: tuple[str, str]) -> None:
    corpus = Isharah(REAL, protocol=protocol)
    assert tuple(corpus.rows(split)[0].columns["signer"] for split in ("train", "val")) == signers
    assert [len(corpus.rows(split)) for split in ("train", "val")] == [8, 8]
    assert corpus.published == {"SI": {"train": 19_500, "val": 1_950, "test": 7_800},
                                "US": {"train": 20_899, "val": 550, "test": 550}}[protocol]  # fmt: skip
    with pytest.raises(ValueError, match="kept back"):
        corpus.rows("test")
