"""The sentence of the nearest training clip: S steps, D numbers a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slt.corpora.folder import LsaTMultiStream
from slt.data import Features, Landmarks
from slt.evaluation.neighbour import BAND, STEPS, _moves, nearest, neighbour_floor, warped

POSE = Landmarks(folder="pose", points="upper_body", normalise="shoulders", jitter=0, noise=0)
HANDS = Landmarks(folder="pose", points="body_hands", normalise="shoulders", jitter=0, noise=0)
SAME: dict[str, Any] = {"bootstrap": 10, "seed": 1, "signers": None}


def plain(query: np.ndarray, other: np.ndarray, band: int) -> float:
    cost = np.full((len(query) + 1, len(other) + 1), np.inf)
    cost[0, 0] = 0
    for i, x in enumerate(query, start=1):
        for j, y in enumerate(other, start=1):
            if abs(i - j) <= band:
                cost[i, j] = np.linalg.norm(x - y) + min(cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1])
    return float(cost[-1, -1])


def test_costs_are_those_of_dynamic_time_warping() -> None:
    draw = np.random.default_rng(0)
    query, others = draw.normal(size=(STEPS, 3)), draw.normal(size=(4, STEPS, 3))
    found = warped(query.astype(np.float32), others.astype(np.float32))
    assert found == pytest.approx([plain(query, other, BAND) for other in others], rel=1e-4)


def test_the_nearest_is_the_same_movement_at_another_pace_and_never_the_clip_itself() -> None:
    times = np.linspace(0, 1, STEPS)
    bank = np.stack([np.sin(k * 6 * times)[:, None] for k in (1, 2, 3)]).astype(np.float32)
    query = np.sin(2 * 6 * times**1.2)[None, :, None].astype(np.float32)
    assert nearest(query, bank, np.array([-1])).tolist() == [1]
    assert nearest(bank, bank, np.array([-1, -1, -1])).tolist() == [0, 1, 2]
    assert 1 not in nearest(bank[1:2], bank, np.array([1]))


def test_where_the_signer_stands_and_frames_that_were_missed_change_nothing() -> None:
    pose = np.random.default_rng(1).normal(size=(20, 25, 3)).cumsum(0)
    pose[..., 2] = 1
    moved, line = pose.copy(), pose.copy()
    moved[..., :2] += 7
    every = np.ones(20, bool)
    assert _moves(moved, every, POSE) == pytest.approx(_moves(pose, every, POSE), abs=1e-9)
    line[5] = (line[4] + line[6]) / 2
    gap = line.copy()
    gap[5] = 0
    assert _moves(gap, np.arange(20) != 5, POSE) == pytest.approx(_moves(line, every, POSE))
    assert np.isfinite(_moves(0 * pose, ~every, POSE)).all()


def test_a_split_is_scored_by_its_neighbours_in_train_and_train_by_others(clips: Any) -> None:
    floor = neighbour_floor(clips, clips, most=100, **SAME)
    assert floor is not None
    assert (floor.streams, floor.clips, floor.train) == (("pose",), 12, 12)
    assert floor.scores["bleu"].value < 100
    assert {"bleu", "gloss_wer"} <= floor.scores.keys()
    few = neighbour_floor(clips, clips, most=5, **SAME)
    assert few is not None
    assert few.clips == 5


def test_features_serve_where_there_are_no_key_points_and_pictures_do_not(clips: Any, tmp_path: Any) -> None:
    import shutil

    corpus = shutil.copytree(clips.root, tmp_path / "copy")
    (corpus / "vectors").mkdir()
    draw = np.random.default_rng(0)
    for place, name in enumerate(clips.ids):
        np.save(corpus / "vectors" / f"{name}.npy", draw.normal(size=(clips.frame_counts[place], 6)).astype(np.float32))

    def read(streams: dict[str, Any]) -> LsaTMultiStream:
        return LsaTMultiStream(root=corpus, split="train", streams=streams, fps=None, max_frames=None,
                               length_tolerance=0, augment=None, seed=1)  # fmt: skip

    vectors = read({"face": clips.streams["face"], "vectors": Features(folder="vectors")})
    floor = neighbour_floor(vectors, vectors, most=100, **SAME)
    assert floor is not None
    assert floor.streams == ("vectors",)
    pictures = read({"face": clips.streams["face"]})
    assert neighbour_floor(pictures, pictures, most=100, **SAME) is None


class Paths:
    """Three movements along one number, beside thirty that hardly move; four times each."""

    def __init__(self, seed: int) -> None:
        times, draw = np.linspace(0, 3, 40), np.random.default_rng(seed)
        self.texts = [f"they wave {k} times now" for k in (1.0, 1.2, 1.4) for _ in range(4)]
        self.ids, self.columns = [f"{seed}-{i:02d}" for i in range(len(self.texts))], {}
        noise = 0.03 * draw.normal(size=(len(self.ids), 40, 30))
        waves = [np.sin(float(text.split()[2]) * times)[:, None] for text in self.texts]
        self.arrays = [np.concatenate(pair, axis=1) for pair in zip(waves, noise, strict=True)]
        self.streams = {"vectors": Features(folder="vectors")}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Any:
        return SimpleNamespace(streams={"vectors": self.arrays[index]})

    def read(self, index: int, name: str) -> Any:
        return self.arrays[index], np.ones(40, bool)


def test_numbers_that_hardly_move_do_not_outweigh_those_that_do() -> None:
    test: Any = Paths(0)
    train: Any = Paths(1)
    floor = neighbour_floor(test, train, most=100, **SAME)
    assert floor is not None
    assert floor.scores["bleu"].value == pytest.approx(100)


def test_a_hand_s_own_points_weigh_more_than_where_its_arm_is() -> None:
    pose = np.random.default_rng(2).normal(size=(20, 75, 3)).cumsum(0)
    pose[..., 2] = 1
    moved, shaped = pose.copy(), pose.copy()
    moved[:, 33:54, :2] += 0.1  # the whole hand
    shaped[:, 34:54, :2] += 0.1  # all but its wrist
    every = np.ones(20, bool)
    far = [float(np.abs(_moves(each, every, HANDS) - _moves(pose, every, HANDS)).sum()) for each in (moved, shaped)]
    assert far == pytest.approx([STEPS * 2 * 0.1, STEPS * 20 * 2 * 0.1 * 3])
