"""What a split is scored with instead of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slt.evaluation.controls import Frozen, Swapped, partners


def of(lengths: list[int], texts: list[str]) -> Any:
    made = SimpleNamespace(lengths=np.array(lengths), texts=texts, split="test")
    return type("Clips", (SimpleNamespace,), {"__len__": lambda self: len(lengths)})(**vars(made))


def test_a_partner_is_another_clip_of_the_nearest_length_with_another_sentence() -> None:
    assert partners(of([10, 50, 12, 48, 30], ["a", "b", "c", "d", "e"])).tolist() == [2, 3, 4, 1, 3]
    assert partners(of([10, 11, 12], ["a", "a", "b"])).tolist() == [2, 2, 1]
    assert partners(of([10, 11], ["a", "a"])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="two clips"):
        partners(of([10], ["a"]))


def test_a_swapped_clip_keeps_its_sentence_and_shows_another(clips: Any) -> None:
    swapped = Swapped(clips)
    for index, shown in enumerate(partners(clips).tolist()):
        mine, other, sample = clips[index], clips[shown], swapped[index]
        assert (sample.id, sample.text, sample.gloss) == (mine.id, mine.text, mine.gloss)
        assert all(np.array_equal(sample.streams[name], other.streams[name]) for name in other.streams)
        assert len(sample.seen["pose"]) == swapped.lengths[index]
        assert shown != index


def test_a_frozen_clip_is_its_middle_frame_held(clips: Any) -> None:
    own, sample = clips[0], Frozen(clips)[0]
    middle = int(clips.lengths[0]) // 2
    for name, x in own.streams.items():
        assert sample.streams[name].shape == x.shape
        assert (sample.streams[name] == x[middle]).all()
        assert (sample.seen[name] == own.seen[name][middle]).all()
