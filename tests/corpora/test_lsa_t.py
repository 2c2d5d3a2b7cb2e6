"""LSA-T as published: a table with damaged durations, and the points of several people in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import write_text
from pose_files import BODY, FACE, HAND, pixels

from slt.corpora.lsa_t import LsaT
from slt.corpora.splits import split_of
from slt.streams.arrays import read_pose

h5py = pytest.importorskip("h5py", reason='h5py is absent: pip install "slt[media]"')

HEAD = "id,label,video,playlist,start,end,duration,splits,prev_delta,post_delta,signers_amount,infered_signer"
FILMS = [f"film-{n}" for n in range(12)]
SPLITS = {film: split_of(film, val=0.1, test=0.1) for film in FILMS}


def rows_of(points: np.ndarray) -> np.ndarray:
    """Lay points (T, 543, 3) of body, face, left and right hand out as LSA-T has them, (T, 2172)."""
    out = np.full((len(points), points.shape[1], 4), np.nan, np.float16)
    out[..., [0, 1, 3]] = points
    left, right = slice(BODY + FACE, BODY + FACE + HAND), slice(BODY + FACE + HAND, None)
    out[:, left], out[:, right] = out[:, right].copy(), out[:, left].copy()
    out[:, BODY:, 3] = np.nan
    return out.reshape(len(points), -1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lines = [HEAD]
    with h5py.File(tmp_path / "keypoints.h5", "w") as file:
        for number, film in enumerate(FILMS):
            lines.append(f'{film}_1,"hola, {number}",{film},list,1.0,2.0,1.0,[],0,0,2,signer_1')
            for person in (0, 1):
                points = pixels(10 + number, width=1920, height=1080)
                points[:, 0, 0] += 50 * person
                file[f"{film}_1.mp4/signer_{person}/keypoints"] = rows_of(points)
    write_text(tmp_path / "meta.csv", lines)
    return tmp_path


def test_every_split_of_the_sample_has_a_film() -> None:
    assert {*SPLITS.values()} == {"train", "val", "test"}


def test_clips_are_divided_by_film(root: Path) -> None:
    corpus = LsaT(root)
    for split in ("train", "val", "test"):
        assert [row.columns["film"] for row in corpus.rows(split)] == [film for film in FILMS if SPLITS[film] == split]


def test_points_of_the_signer_are_trained_on_and_scored(root: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("lsa_t_published", root, "streams.pose.num_features=16")


def test_the_points_are_those_of_the_signer_with_the_left_hand_first(root: Path) -> None:
    corpus = LsaT(root)
    row = corpus.rows("train")[0]
    number = FILMS.index(row.columns["film"])
    given = pixels(10 + number, width=1920, height=1080)
    clip = read_pose(corpus.root / "pose" / f"{row.id}.npz")
    assert clip.size == (1920, 1080)
    assert row.columns["fps"] == f"{10 + number}"
    assert clip.points[:, 0, 0] == pytest.approx((given[:, 0, 0] + 50) / 1920, abs=1e-3)  # of signer_1
    assert clip.points[:, BODY, :2] == pytest.approx(given[:, BODY + FACE, :2] / (1920, 1080), abs=1e-3)
    assert clip.skeleton == "mediapipe_75"
    whole = read_pose(LsaT(root, face=True).root / "pose" / f"{row.id}.npz")
    assert (whole.points.shape[1], whole.skeleton) == (543, "mediapipe_543")
    assert whole.points[:, BODY:, :2] == pytest.approx(given[:, BODY:, :2] / (1920, 1080), abs=1e-3)


def test_damaged_durations_and_times_are_counted(root: Path) -> None:
    table = root / "meta.csv"
    text = table.read_text().replace("1.0,2.0,1.0,[]", "1.0,2.0,6.359.999.999,[]", 3)
    table.write_text(text.replace("1.0,2.0,1.0,[]", '"1.500.000",2.0,1.0,"[(\'a\', 1.5, 2.0)]"', 1))
    corpus = LsaT(root)
    found = {row.id: row for split in ("train", "val", "test") for row in corpus.rows(split)}
    assert found["film-3_1"].columns["start"] == "1.5"
    assert any("`duration` is no plain number in 3 of 12 rows" in note for note in corpus.notes)
    assert any(note.startswith("1 rows have damaged times, the first meta.csv line 5") for note in corpus.notes)


def test_clips_without_points_of_their_signer_are_counted_each_time(root: Path) -> None:
    with h5py.File(root / "keypoints.h5", "a") as file:
        del file["film-2_1.mp4/signer_1"]
    for _ in range(2):  # the second time from the cache
        corpus = LsaT(root)
        assert not (corpus.root / "pose" / "film-2_1.npz").exists()
        assert any("1 clips have no key points" in note and "signer_1" in note for note in corpus.notes)


def test_an_id_that_leaves_the_cache_is_refused(root: Path) -> None:
    table = root / "meta.csv"
    table.write_text(table.read_text().replace("film-0_1", "../../../out"))
    with pytest.raises(ValueError, match="a name that leaves the folder"):
        LsaT(root).rows("train")


def test_a_damaged_file_is_named(root: Path) -> None:
    (root / "keypoints.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"keypoints\.h5: not an HDF5 file"):
        LsaT(root).rows("train")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "lsa_t"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not on this machine (../shared/data/lsa_t)")


@real
def test_the_real_table_is_divided_by_film_near_its_shares() -> None:
    corpus = LsaT(REAL)
    counts = {"train": 0, "val": 0, "test": 0}
    for clip in corpus.clips:
        counts[split_of(clip.film, val=0.1, test=0.1)] += 1
    print(counts, corpus.notes)
    assert sum(counts.values()) == 8_459 - 47
    assert any(note.startswith("47 rows are no clips") and "no film is named" in note for note in corpus.notes)
    assert counts["train"] / 8_412 == pytest.approx(0.8, abs=0.08)


@real
def test_the_layout_of_the_real_files_is_read(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").symlink_to(REAL / "layout_meta_sample.csv")
    (tmp_path / "keypoints.h5").symlink_to(REAL / "layout_sample.h5")
    corpus = LsaT(tmp_path)
    assert len([*(corpus.root / "pose").glob("*.npz")]) == len(corpus.clips) == 3
    assert not any("no key points" in note for note in corpus.notes)
