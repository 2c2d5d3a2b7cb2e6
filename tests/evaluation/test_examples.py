"""The same handful of clips at every evaluation, drawn once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from slt.evaluation.prediction import Prediction
from slt.evaluation.results import Examples


class Board(SimpleNamespace):
    def __init__(self, examples: int) -> None:
        super().__init__(examples=examples, told=[])

    def translations(self, name: str, step: int, predictions: Any, pictures: Any) -> None:
        self.told.append((name, step, [p.id for p in predictions], [*pictures]))


def said(clips: Any) -> list[Prediction]:
    return [Prediction(name, "", "", 0.0) for name in clips.ids]


def test_same_clips_are_shown_at_every_evaluation_and_drawn_at_the_first(clips: Any) -> None:
    board: Any = Board(3)
    examples = Examples(clips, board)
    for step in (10, 20):
        examples.show(step, said(clips))
    names = [clips.ids[0], clips.ids[5], clips.ids[11]]
    assert board.told == [("train/examples", 10, names, names), ("train/examples", 20, names, [])]


@pytest.mark.parametrize(("wanted", "shown"), [(0, 0), (1, 1), (50, 12)])
def test_no_more_are_shown_than_wanted_or_there(clips: Any, wanted: int, shown: int) -> None:
    board: Any = Board(wanted)
    Examples(clips, board).show(1, said(clips))
    assert sum(len(names) for _, _, names, _ in board.told) == shown
