"""RWTH-BOSTON-104: folds over recordings and over sentences, and twenty numbers a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import write_text

from slt.corpora.boston104 import FOLDS, Boston104, features

KEYS = {"fold": 0, "held_out": "recordings", "val_share": 0.25, "composed": 0, "seed": 1}
PARTS = ("train", "val", "test")


def keys(**changed: Any) -> Any:
    return {**KEYS, **changed}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    hands, words = (
        ["video,frame,left-x,left-y,right-x,right-y,nose-x,nose-y"],
        ["video,speaker,word,startframe,endframe"],
    )
    for video in range(1, 21):
        hands += [f"{video},{t},{150 + t},180,{170 - t},175,161,62" for t in range(12)]
        # Not in the order in which they were signed.
        words += [f"{video},ann,{word},{start},{start + 1}"
                  for word, start in (("BUY", 3), ("JOHN", 1), (f"CAR{video % 7}", 10))]  # fmt: skip
    write_text(tmp_path / "hands.csv", hands)
    write_text(tmp_path / "words.csv", words)
    write_text(tmp_path / "speakers.csv", ["video,speaker", *(f"{video},ann" for video in range(1, 21))])
    return tmp_path


def test_words_are_put_in_the_order_in_which_they_are_signed(root: Path) -> None:
    corpus = Boston104(root, **keys())
    row = corpus.clips["3"]
    assert row.text == row.columns["gloss"] == "JOHN BUY CAR3"
    assert (row.columns["signer"], row.columns["fps"]) == ("ann", "30")


def test_each_recording_is_tested_in_one_of_the_folds(root: Path) -> None:
    tested = Counter(row.id for fold in range(FOLDS) for row in Boston104(root, **keys(fold=fold)).rows("test"))
    assert tested == Counter(str(video) for video in range(1, 21))
    corpus = Boston104(root, **keys())
    assert [len(corpus.rows(split)) for split in PARTS] == [12, 4, 4]


def test_no_sentence_is_on_two_sides_where_they_are_held_out(root: Path) -> None:
    for fold in range(FOLDS):
        corpus = Boston104(root, **keys(fold=fold, held_out="sentences"))
        sides = [{row.text for row in corpus.rows(split)} for split in PARTS]
        assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_features_are_trained_on_and_scored(root: Path, two_steps: Callable[..., Any]) -> None:
    two_steps("boston104", root)


def test_twenty_numbers_say_where_the_hands_are_and_how_they_move() -> None:
    places = np.tile([100.0, 100, 60, 140, 80, 60], (5, 1))
    places[:, 0] += 12 * np.arange(5)
    out = features(places)
    assert (out.shape, out.dtype) == ((5, 20), np.float32)
    assert out[0, :4] == pytest.approx([0.5, 1, -0.5, 2])
    assert out[:, 4:8] == pytest.approx(np.tile([2, 0, 0, 0], (5, 1)))
    assert (out[:, 8:12] == 0).all()
    assert out[0, 12:14] == pytest.approx([-1, 1])
    assert (out[:, 16:] == 0).all()  # the nose stands still


def test_a_frame_that_is_missing_is_named(root: Path) -> None:
    table = root / "hands.csv"
    table.write_text(table.read_text().replace("1,2,152,180,168,175,161,62\n", "", 1))
    with pytest.raises(ValueError, match=r"hands\.csv line 4: frame 2 of video 1 expected, came 3"):
        _ = Boston104(root, **keys()).root


def test_a_name_that_leaves_the_cache_is_refused(root: Path) -> None:
    table = root / "hands.csv"
    table.write_text(table.read_text().replace("\n1,", "\n../../../out,"))
    with pytest.raises(ValueError, match="a name that leaves the folder"):
        _ = Boston104(root, **keys()).root


@pytest.mark.parametrize("key", [{"fold": 5}, {"held_out": "signers"}, {"val_share": 0.9}])
def test_a_key_that_is_wrong_is_named(root: Path, key: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.corpus\.{next(iter(key))} must be"):
        Boston104(root, **keys(**key))


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "boston104"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not on this machine (../shared/data/boston104)")
@pytest.mark.parametrize("held_out", ["recordings", "sentences"])
def test_the_real_recordings_are_161_of_127_sentences(held_out: str) -> None:
    corpus = Boston104(REAL, **keys(held_out=held_out, val_share=0.1))
    assert len(corpus.clips) == 161
    assert len({row.text for row in corpus.clips.values()}) == 127
    assert {row.columns["signer"] for row in corpus.clips.values()} == {"man-1", "woman-1", "woman-2"}
    print(held_out, [len(corpus.rows(split)) for split in PARTS])
    assert len(corpus.rows("test")) in (32, 33)
    assert not corpus.notes


def test_what_is_composed_is_of_training_signs_and_of_training_sentences(root: Path) -> None:
    corpus = Boston104(root, **keys(composed=30))
    rows = corpus.rows("train")
    own = {row.text for row in rows[:-30]}
    assert len(rows) == 12 + 30
    assert {row.text for row in rows[-30:]} <= own
    whose = {sign.video for signs in corpus.compositions.values() for sign in signs}
    assert len(whose) > 3
    assert all(corpus.parts[video] == "train" for video in whose)
    assert any(len({sign.video for sign in signs}) > 1 for signs in corpus.compositions.values())
    for row in rows[-30:]:
        signs = corpus.compositions[row.id]
        frames = sum(sign.end - sign.start + 1 for sign in signs)
        made = np.load(corpus.root / "features" / f"{row.id}.npy")
        assert frames + 2 * 2 <= len(made) <= frames + 2 * 8
        assert np.isfinite(made).all()
    assert Boston104(root, **keys(composed=30)).compositions == corpus.compositions
    assert corpus.root != Boston104(root, **keys()).root
