"""Sentences of single signs: recordings apart, signs joined, and what is written of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import COUNTS, write_text

from slt.corpora.grammar import drawn, read_grammar
from slt.corpora.words import Recording as Made
from slt.corpora.words import Words, as_pose, divided, joined
from slt.streams.arrays import read_pose

WORDS = ["hello", "tea", "-"]
GRAMMAR = {"patterns": ["hello rest drink", "rest drink"], "slots": {"rest": ["-", ""], "drink": ["tea", "tea tea"]},
           "silent": ["-"]}  # fmt: skip
PARTS = tuple(COUNTS)


def holistic(frames: int, value: float) -> np.ndarray:
    """Numbers (T, 258) of a person whose points all lie at `value`, but for a left hand that is not there."""
    out = np.full((frames, 258), value, np.float16)
    out[:, [44, 48]] = 0.6, 0.4  # x of the shoulders
    out[:, 132:195] = 0
    return out


def keys(**changed: Any) -> Any:
    return {"grammar": GRAMMAR, "sentences": COUNTS, "shares": {"val": 0.25, "test": 0.25}, "blend": 2, "seed": 1,
            **changed}  # fmt: skip


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Eight recordings a word, of which each has a value of its own."""
    count = 8 * len(WORDS)
    clips = np.stack([holistic(5, 0.3 + 0.01 * n) for n in range(count)])
    np.savez(tmp_path / "words.npz", x=clips, y=np.repeat(np.arange(len(WORDS)), 8), seq=np.tile(np.arange(8), 3),
             words=np.array(WORDS))  # fmt: skip
    return tmp_path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Eight recordings a word by four people, in a folder a word."""
    lines = ["recording,signer"]
    for word in WORDS:
        (tmp_path / word).mkdir()
        for n in range(8):
            np.save(tmp_path / word / f"{n}.npy", holistic(4 + n, 0.3 + 0.1 * (n % 4)))
            lines.append(f"{word}/{n},p{n % 4}")
    write_text(tmp_path / "signers.csv", lines)
    return tmp_path


def used(corpus: Words, split: str) -> set[float]:
    """The values of the recordings whose frames stand in the sentences of a split."""
    poses = [read_pose(corpus.root / "pose" / f"{row.id}.npz").points for row in corpus.rows(split)]
    return {round(float(value), 3) for pose in poses for value in pose[:, 0, 1]}


def test_sentences_are_written_without_what_is_silent(packed: Path) -> None:
    corpus = Words(packed, **keys())
    assert {split: len(corpus.rows(split)) for split in PARTS} == COUNTS
    texts = {row.text for row in corpus.rows("train")}
    assert texts <= {"hello tea", "hello tea tea", "tea", "tea tea"}
    row = corpus.rows("train")[0]
    assert row.columns == {"gloss": row.text.upper(), "signer": ""}


def test_signs_of_a_recording_are_on_one_side_alone(packed: Path) -> None:
    corpus = Words(packed, **keys(blend=0, sentences={"train": 30, "val": 30, "test": 30}))
    train, val, test = (used(corpus, split) for split in PARTS)
    assert len(train) > 5
    assert not train & val | train & test | val & test


def test_signs_of_a_person_are_on_one_side_alone(folders: Path) -> None:
    corpus = Words(folders, **keys())
    people = [{row.columns["signer"] for row in corpus.rows(split)} for split in PARTS]
    assert all(people)
    assert "" not in set.union(*people)  # one person signs a sentence
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]


@pytest.mark.parametrize("form", ["packed", "folders"])
def test_sentences_are_trained_on_and_scored(
    form: str, request: Any, tmp_path: Path, two_steps: Callable[..., Any]
) -> None:
    write_text(tmp_path / "shop.yaml", ["patterns: [hello x tea]", "slots: {x: ['-', '']}", "silent: ['-']"])
    two_steps(
        "words", request.getfixturevalue(form), "streams.pose.num_features=16",
        "dataset.corpus.sentences={train:6,val:2,test:2}", "dataset.corpus.shares={val:0.25,test:0.25}",
        f"dataset.corpus.grammar={tmp_path / 'shop.yaml'}",
    )  # fmt: skip


def test_the_same_seed_gives_the_same_sentences_and_another_seed_others(packed: Path) -> None:
    more = {"sentences": {"train": 30, "val": 2, "test": 2}}
    first, again, other = (Words(packed, **keys(seed=seed, **more)) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.root == again.root != other.root


def test_two_signs_are_joined_by_frames_between_them() -> None:
    one, two = np.full((2, 75, 3), 0.2, np.float32), np.full((3, 75, 3), 0.5, np.float32)
    one[..., 2] = two[..., 2] = 1
    two[:, 40] = 0  # in one of the two alone
    out = joined([one, two], 2)
    assert len(out) == 7
    assert out[:, 0, 0] == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])
    assert (out[2:4, 40] == 0).all()
    assert (out[:, 0, 2] == 1).all()


def test_zeros_and_nan_are_not_there_and_what_is_below_the_picture_is_not_seen() -> None:
    flat = holistic(2, 0.5).astype(np.float32)
    flat[0, 4 * 27 + 1] = 1.5  # a knee
    flat[1, 195:258] = np.nan
    pose = as_pose(flat, "here")
    assert (pose[0, :33, 2] == [n != 27 for n in range(33)]).all()
    assert (pose[:, 33:54] == 0).all()
    assert (pose[0, 54:, 2] == 1).all()
    assert (pose[1, 54:] == 0).all()
    assert as_pose(pose[..., :2], "here") == pytest.approx(pose)


def test_recordings_of_a_word_are_divided_in_their_order() -> None:
    some = [Made("a", f"{n}", "", np.zeros((1, 75, 3), np.float32)) for n in range(10)]
    parts = divided(some, {"val": 0.2, "test": 0.2})
    assert {split: "".join(one.name for one in parts[split]) for split in PARTS} == {
        "train": "012345", "val": "67", "test": "89"}  # fmt: skip


@pytest.mark.parametrize(
    ("grammar", "message"),
    [({"patterns": []}, "expected `patterns`"), ({"patterns": ["a"], "more": 1}, "expected `patterns`"),
     ({"patterns": ["a"], "slots": {"a": ["b a"]}}, "'a' stands in itself"),
     ({"patterns": ["a"], "slots": {"a": []}}, "'a' has nothing")],
)  # fmt: skip
def test_a_grammar_that_gives_no_sentences_is_refused(grammar: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_grammar(grammar)


def test_a_grammar_that_writes_nothing_is_refused() -> None:
    grammar = read_grammar({"patterns": ["-"], "silent": ["-"]})
    with pytest.raises(ValueError, match="no word that is written"):
        drawn(grammar, np.random.default_rng(0))


def test_a_word_that_was_not_recorded_is_named(packed: Path) -> None:
    with pytest.raises(ValueError, match=r"no recording of 'teas' for train.*did you mean tea\?"):
        _ = Words(packed, **keys(grammar={"patterns": ["teas"]})).root


def test_a_grammar_may_lie_in_a_file(tmp_path: Path) -> None:
    write_text(tmp_path / "shop.yaml", ["patterns: [hello]"])
    assert read_grammar(str(tmp_path / "shop.yaml")).patterns == ("hello",)


@pytest.mark.parametrize(
    "key", [{"sentences": {"train": 1}}, {"shares": {"val": 0.5, "test": 0.5}}, {"blend": -1}], ids=str
)
def test_a_key_that_is_wrong_is_named(packed: Path, key: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.corpus\.{next(iter(key))}"):
        Words(packed, **keys(**key))


def test_a_recording_of_another_form_is_named(folders: Path) -> None:
    np.save(folders / "tea" / "0.npy", np.ones((5, 12), np.float32))
    with pytest.raises(ValueError, match=r"0\.npy: \(T, 258\) or \(T, 75, 2 or 3\) expected, came float32 \(5, 12\)"):
        _ = Words(folders, **keys()).root


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "asl_words"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not on this machine (../shared/data/asl_words)")
def test_the_real_recordings_make_sentences_of_a_coffee_shop() -> None:
    from slt.config.checks import CONF

    corpus = Words(REAL, **keys(grammar=str(CONF / "corpus" / "coffee_shop.yaml"), sentences=dict.fromkeys(PARTS, 20)))
    rows = corpus.rows("test")
    print([row.text for row in rows])
    assert {word for row in rows for word in row.text.split()} > {"coffee", "i", "get"}
    clip = read_pose(corpus.root / "pose" / f"{rows[0].id}.npz")
    assert (clip.points[:, 11:13, 2] > 0).mean() > 0.95  # the shoulders
