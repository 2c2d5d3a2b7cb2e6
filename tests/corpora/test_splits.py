"""Whole films, signers or clips to each split: near the shares, the same for the same seed, and never by surprise."""

import hashlib
import logging
from pathlib import Path

import pytest

from slt.config.checks import HOME
from slt.corpora import layout
from slt.corpora.splits import clips_of_signers, write_splits
from slt.extraction.captions import Captions
from slt.extraction.source import Source
from slt.extraction.sources import Footage, find_sources
from slt.extraction.splitting import Splitting

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
META = HOME.parent / "shared" / "data" / "lsa_t" / "meta.csv"


def clips(films: int, each: int, **row: str) -> list[Source]:
    return [Source(f"f{f}_{n}", Path(f"f{f}.mp4"), text="a", columns=row) for f in range(films) for n in range(each)]


def split_ids(found: list[Source], **keys) -> dict[str, list[str]]:
    return Splitting(**keys).deal(found)


def test_splits_share_no_clip_and_depend_on_the_seed_alone():
    found = clips(50, 1)
    one = split_ids(found, by="random", **SHARES, seed=1)
    assert {split: len(names) for split, names in one.items()} == {"train": 40, "val": 5, "test": 5}
    assert sorted(name for names in one.values() for name in names) == sorted(clip.video_id for clip in found)
    assert one == split_ids(found, by="random", **SHARES, seed=1) != split_ids(found, by="random", **SHARES, seed=2)


def test_a_longer_list_moves_few_clips():
    before, after = (split_ids(clips(n, 1), by="random", **SHARES, seed=1) for n in (200, 210))
    moved = set(before["train"]) - set(after["train"])
    assert len(moved) <= 4


def test_a_film_s_clips_stay_together():
    splits = split_ids(clips(20, 7), by="film", **SHARES, seed=3)
    films = {split: {name.split("_")[0] for name in names} for split, names in splits.items()}
    assert {split: len(names) for split, names in films.items()} == {"train": 16, "val": 2, "test": 2}
    assert not films["train"] & films["val"] | films["val"] & films["test"] | films["train"] & films["test"]


def test_a_film_is_the_column_video_where_there_is_one():
    one = [Source(f"c{n}", Path("keypoints.h5"), video=f"v{n // 10}") for n in range(100)]
    splits = split_ids(one, by="film", **SHARES, seed=3)
    assert [len(splits[split]) for split in layout.SPLITS] == [80, 10, 10]


def test_a_signer_s_clips_stay_together_whatever_the_film():
    found = [Source(f"c{n}", Path(f"{n}.mp4"), columns={"signer": f"s{n % 10}"}) for n in range(100)]
    splits = split_ids(found, by="signer", **SHARES, seed=1)
    assert {len({int(name[1:]) % 10 for name in names}) for names in splits.values()} == {8, 1}


@pytest.mark.parametrize("row", [{}, {"signer": " "}])
def test_a_clip_without_a_signer_is_named(row):
    with pytest.raises(ValueError, match=r"clip 'f0_0' has no signer; fill the column"):
        split_ids(clips(9, 2, **row), by="signer", **SHARES, seed=1)


@pytest.mark.parametrize(("films", "each", "by"), [(3, 1, "film"), (1, 9, "film"), (2, 10, "film"), (1, 1, "random")])
def test_clips_that_cannot_be_split_are_all_trained_on_and_that_is_said(films, each, by, caplog):
    found = clips(films, each)
    assert split_ids(found, by=by, **SHARES, seed=1) == {"train": [clip.video_id for clip in found]}
    assert f"{films * each} clips of" in caplog.text
    assert "train" in caplog.text


def test_a_split_without_a_share_is_not_made():
    splits = split_ids(clips(10, 3), by="film", train=0.9, val=0.1, test=0, seed=1)
    assert sorted(splits) == ["train", "val"]


@pytest.mark.parametrize("shares", [{"train": 0.8, "val": 0.3, "test": 0.1}, {"train": 1.2, "val": -0.2, "test": 0}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="shares that sum to 1"):
        split_ids(clips(9, 1), by="film", **shares, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_the_real_table_of_lsa_t_comes_near_its_shares_film_by_film(seed, tmp_path):
    if not META.is_file():
        pytest.skip("LSA-T's table is not on this machine (../shared/data/lsa_t/meta.csv)")
    (tmp_path / "some.mp4").write_bytes(b"")
    found, _ = find_sources(tmp_path, Footage("films"), Captions(META, "lsa_t", False, 0.3))
    splits = split_ids(found, by="film", **SHARES, seed=seed)
    assert all(abs(len(splits[split]) / len(found) - share) < 0.02 for split, share in SHARES.items())


def test_the_splits_are_written_with_their_sums(tmp_path: Path):
    index = tmp_path / "index"
    write_splits(index, {"val": ["c"], "train": ["a", "b"]})
    assert layout.read_index(index / "train.csv") == ["a", "b"]
    digest = hashlib.sha256((index / "val.csv").read_bytes()).hexdigest()
    assert (index / "SHA256SUMS").read_text().splitlines()[1] == f"{digest}  val.csv"
    assert layout.index_faults(tmp_path) == []


def test_the_shares_that_were_reached_are_logged(caplog):
    with caplog.at_level(logging.INFO):
        split_ids(clips(20, 2), by="film", **SHARES, seed=1)
    assert "split by film: {'train': 32, 'val': 4, 'test': 4} of 40 clips" in caplog.text


# ---------------------------------------------------------------- clips of a few signers

WHO = {f"c{n:02d}": f"s{n % 5}" for n in range(50)}  # ten clips of each of five


@pytest.mark.parametrize("signers", [1, 2, 5])
def test_equally_many_clips_are_taken_whoever_signs_them_and_evenly(signers):
    taken = clips_of_signers(list(WHO), WHO, signers=signers, limit=10, seed=4)
    each = [sum(WHO[name] == who for name in taken) for who in {WHO[name] for name in taken}]
    assert each == [10 // signers] * signers
    assert taken == sorted(taken)


def test_which_signers_is_the_seed_s_to_say_and_fewer_are_among_the_more():
    chosen = {
        seed: [
            {WHO[name] for name in clips_of_signers(list(WHO), WHO, signers=n, limit=None, seed=seed)} for n in (1, 3)
        ]
        for seed in range(6)
    }
    assert all(few < more for few, more in chosen.values())
    assert len({frozenset(few) for few, _ in chosen.values()}) > 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signers": 6, "limit": None}, "dataset.signers=6: expected 1 to 5, the signers of train"),
        ({"signers": 0, "limit": None}, "dataset.signers=0: expected 1 to 5"),
        ({"signers": 2, "limit": 21}, r"dataset.limit=21: the drawn signers \(s\d, s\d\) have 20 clips"),
    ],
)
def test_signers_that_cannot_be_compared_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        clips_of_signers(list(WHO), WHO, seed=1, **options)


def test_a_clip_without_a_signer_cannot_be_counted():
    with pytest.raises(ValueError, match=r"dataset.signers=1: clip 'x' has none; fill the column `signer`"):
        clips_of_signers(["x"], {"x": ""}, signers=1, limit=None, seed=1)
