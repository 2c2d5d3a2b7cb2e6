"""Splits of one's own, and clips that are never read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slt.corpora.choosing import Chosen, units
from slt.corpora.corpus import Row
from slt.corpora.counts import count_corpus, lines
from slt.corpora.splits import deal, write_splits


class Made:
    """Twelve clips of four signers, a film each two; `consent` of the last is no."""

    extractor = None
    fingerprint = "f" * 64

    def __init__(self, root: Path) -> None:
        self.root, self.published = root, {"train": 8, "val": 2, "test": 3}
        self.all = [
            Row(f"c{n}", f"uno dos {n % 5}", {
                "signer": f"s{n % 4}", "film": f"f{n // 2}", "date": f"2020-01-{n + 1:02d}",
                "consent": "no" if n == 11 else "yes", "start": "1.5", "end": "4.5",
            })
            for n in range(12)
        ]  # fmt: skip

    def rows(self, split: str) -> list[Row]:
        return {"train": self.all[:8], "val": self.all[8:10], "test": self.all[10:]}[split]


@pytest.mark.parametrize("by", ["signer", "film", "sentence", "date", "clip"])
def test_a_drawn_split_keeps_together_what_it_is_drawn_by(tmp_path: Path, by: str) -> None:
    rows = Made(tmp_path).all
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    kept = dict(zip([row.id for row in rows], units(rows, by), strict=True))
    dealt = deal([*kept], [*kept.values()], shares=shares, seed=1, ordered=by == "date")
    assert sorted(name for names in dealt.values() for name in names) == sorted(kept)
    assert all(dealt.values())
    held = [{kept[name] for name in names} for names in dealt.values()]
    assert sum(map(len, held)) == len(set.union(*held))
    if by == "date":
        assert max(held[0]) < min(held[1]) <= max(held[1]) < min(held[2])


def test_splits_of_a_shared_folder_take_the_place_of_the_corpus_own(tmp_path: Path) -> None:
    made = Made(tmp_path)
    write_splits(tmp_path / "mine" / "index", {"train": ["c9", "c0"], "test": ["c3", "c11"]})
    chosen = Chosen(made, splits=tmp_path / "mine", withdrawn=None)
    assert [row.id for row in chosen.rows("train")] == ["c9", "c0"]
    assert [row.id for row in chosen.rows("test")] == ["c3"], "c11 does not consent"
    assert chosen.fingerprint != made.fingerprint
    (tmp_path / "mine" / "index" / "train.csv").write_text("video_id\nc9\nc3\n")
    with pytest.raises(ValueError, match=r"train\.csv: sha256 \w+ expected"):
        chosen.rows("train")


def test_clips_of_who_withdrew_or_did_not_consent_are_never_read(tmp_path: Path) -> None:
    made = Made(tmp_path)
    (tmp_path / "gone.txt").write_text("s1\n\ns3\n")
    chosen = Chosen(made, splits=None, withdrawn=tmp_path / "gone.txt")
    assert {row.columns["signer"] for split in ("train", "val", "test") for row in chosen.rows(split)} == {"s0", "s2"}
    assert Chosen(made, splits=None, withdrawn=None).fingerprint == made.fingerprint
    assert len(Chosen(made, splits=None, withdrawn=None).rows("test")) == 1
    made.all[2] = made.all[2]._replace(columns={**made.all[2].columns, "consent": "perhaps"})
    with pytest.raises(ValueError, match=r"'c2': consent 'perhaps'; expected one of yes"):
        chosen.rows("train")


def test_a_split_by_what_a_clip_has_not_says_what_there_is(tmp_path: Path) -> None:
    rows = [Row("a", "x", {"film": "f", "signer": ""}), Row("b", "y", {"film": "g", "signer": ""})]
    with pytest.raises(ValueError, match=r"split\.by=signer: clip 'a' has none; there are sentence, clip, film"):
        units(rows, "signer")


def test_numbers_stand_beside_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    for name in ("c0", "c1", "c2", "c3", "c8", "c9"):
        (tmp_path / "features" / f"{name}.npy").touch()
    made: Any = Made(tmp_path)
    counts, faults = count_corpus(made, {"features": "features"})
    train, val, test = (counts[split] for split in ("train", "val", "test"))
    assert (train.clips, train.words, train.types, train.length, train.signers) == (8, 24, 7, (3, 3), 4)
    assert train.hours == pytest.approx(8 * 3 / 3600)
    assert (train.missing["features"], val.missing["features"], test.missing["features"]) == (0.5, 0, 1)
    assert (val.shared["train"], val.new_words) == (1.0, 0.0)
    assert faults == ["test: 2 clips, its authors count 3"]
    said = "\n".join(lines(tmp_path, counts, faults))
    assert "train: 50.0% of its clips have no files of features" in said
    assert "does not fit: test: 2 clips" in said
