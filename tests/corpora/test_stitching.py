"""Stitched clips: what is shown of whom, in which order, and that a sign is only replaced by one of its name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt.corpora.clips import Clips
from slt.corpora.corpus import Row
from slt.corpora.stitching import Part, Stitching, choose
from slt.data import Features
from slt.streams.arrays import write_features

TOLD = ["A:1-2 B:4-4", "B:0-1 C:3-5", ""]
LENGTHS = np.array([6, 7, 4])
KEYS: dict[str, Any] = {"fps": None, "max_frames": None, "length_tolerance": 0, "seed": 1}
NOTHING = {"speed": [1, 1], "frame_dropout": 0.0, "stream_dropout": 0.0, "mirror": 0.0}


def plain(parts: list[Part]) -> list[tuple[int, list[int]]]:
    return [(part.clip, part.frames.tolist()) for part in parts]


def test_a_sign_is_another_s_of_its_name_and_what_is_between_stays() -> None:
    made, seen = Stitching(TOLD, LENGTHS), set()
    for seed in range(20):
        parts = plain(made.draw(0, 6, 1.0, np.random.default_rng(seed)))
        seen.add(str(parts))
    own, other = [(0, [0, 1, 2, 3, 4, 5])], [(0, [0, 1, 2, 3]), (1, [0, 1]), (0, [5])]
    assert seen == {str(own), str(other)}  # B is its own or clip 1's; of A there is none but its own


def test_without_a_chance_or_pieces_a_clip_stays_as_it_is() -> None:
    made = Stitching(TOLD, LENGTHS)
    assert plain(made.draw(0, 6, 0.0, np.random.default_rng(0))) == [(0, [0, 1, 2, 3, 4, 5])]
    assert plain(made.draw(2, 4, 1.0, np.random.default_rng(0))) == [(2, [0, 1, 2, 3])]


def test_frames_are_chosen_over_all_parts() -> None:
    parts = [Part(0, np.array([3, 4])), Part(7, np.array([0, 1, 2])), Part(0, np.array([9]))]
    assert plain(choose(parts, np.array([0, 1, 1, 3, 5]))) == [(0, [3, 4, 4]), (7, [1]), (0, [9])]
    assert plain(choose(parts, np.array([4]))) == [(7, [2])]


@pytest.mark.parametrize("text", ["A", "A:1", "A:2-1", "A:0-6", ":0-1", "A:x-2"])
def test_pieces_that_cannot_be_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"column `pieces`: NAME:FIRST-LAST with frames from 0 to 5 .* came '"):
        Stitching([text], np.array([6]))


class Told:
    """Three clips of features whose numbers say clip and frame."""

    def __init__(self, root: Path, *, pieces: bool) -> None:
        self.root, self.fingerprint, self.extractor, self.pieces = root, "f", None, pieces

    def rows(self, split: str) -> list[Row]:
        return [Row(str(clip), f"Sentence {clip}", {"pieces": told} if self.pieces else {"signer": "a"})
                for clip, told in enumerate(TOLD)]  # fmt: skip


@pytest.fixture
def clips(tmp_path: Path) -> Any:
    for clip, length in enumerate(LENGTHS):
        array = np.stack([np.full(length, clip), np.arange(length)], axis=1).astype(np.float32)
        write_features(tmp_path / "features" / f"{clip}.npy", array)
    reader = Features(folder="features", scale=0.0, noise=0.0)

    def make(stitch: float, *, pieces: bool = True) -> Clips:
        return Clips(root=tmp_path, corpus=partial(Told, pieces=pieces), split="train", streams={"features": reader},
                     augment=NOTHING | {"stitch": stitch}, **KEYS)  # fmt: skip

    return make


def test_a_stitched_clip_shows_the_frames_of_both_and_keeps_its_sentence(clips: Any) -> None:
    made = clips(1.0)
    shown = {str(made[epoch, 0].streams["features"].tolist()) for epoch in range(10)}
    own = [[0.0, float(t)] for t in range(6)]
    assert shown == {str(own), str([*own[:4], [1.0, 0.0], [1.0, 1.0], own[5]])}
    assert made[0, 0].text == "Sentence 0"
    assert len(made[0, 2].seen["features"]) == 4


def test_a_corpus_that_does_not_say_where_its_signs_are_is_refused(clips: Any) -> None:
    clips(0.0, pieces=False)
    with pytest.raises(ValueError, match="augment.stitch: .* no column 'pieces'"):
        clips(0.5, pieces=False)
