"""Batches: frames are chosen evenly, padding is masked, every clip comes once, in an order of seed and epoch only."""

import pickle

import numpy as np
import pytest
import torch

from slt.streams.batch import Collate, LengthBatches, collate
from slt.streams.sample import Sample, frame_index

LENGTHS = np.random.default_rng(0).integers(5, 80, 101)


def sample(name: str, frames: int) -> Sample:
    return Sample(
        id=name,
        text=f"texto {name}",
        streams={"face": np.full((frames, 3, 4, 4), 7, np.uint8), "pose": np.ones((frames, 33, 3), np.float32)},
        seen={"face": np.ones(frames, bool), "pose": np.arange(frames) % 2 == 0},
    )


def tokenize(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(len(texts), 3, dtype=torch.int64), torch.ones(len(texts), 3, dtype=torch.bool)


def batches(rank: int = 0, world: int = 1, **keys) -> LengthBatches:
    keys = {"batch_size": 8, "batch_frames": None, "shuffle": True, "seed": 1, **keys}
    return LengthBatches(keys.pop("lengths", LENGTHS), rank=rank, world=world, **keys)


def test_padding_is_zero_and_masked():
    batch = collate([sample("a", 3), sample("b", 5)])
    assert batch.streams["face"].shape == (2, 5, 3, 4, 4)
    assert batch.streams["face"].dtype == torch.uint8
    assert batch.frames.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert batch.seen["pose"][0].tolist() == [True, False, True, False, False]
    assert (batch.streams["face"][0, :3] == 7).all()
    assert not batch.streams["face"][0, 3:].any()
    assert not batch.streams["pose"][0, 3:].any()
    assert (batch.ids, batch.texts, batch.tokens) == (["a", "b"], ["texto a", "texto b"], None)
    assert len(batch) == 2


@pytest.mark.parametrize(
    ("frames", "step", "most", "index"),
    [
        (6, 1.0, None, [0, 1, 2, 3, 4, 5]),
        (6, 2.0, None, [0, 2, 4]),
        (7, 2.5, None, [0, 2, 5]),
        (10, 1.0, 5, [1, 3, 5, 7, 9]),
        (1, 30.0, None, [0]),
        (3, 0.5, None, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_frames_are_chosen_evenly(frames, step, most, index):
    assert frame_index(frames, step, most).tolist() == index


def test_no_frame_is_chosen_past_the_end():
    assert all(frame_index(n, step, None).max() < n for n in range(1, 90) for step in (0.7, 1, 25 / 12, 3.1))


def test_collate_with_a_tokenizer_survives_the_way_to_a_worker():
    batch = pickle.loads(pickle.dumps(Collate(tokenize)))([sample("a", 3)])
    assert batch.tokens.shape == batch.tokens_mask.shape == (1, 3)


def test_a_batch_moves_as_a_whole():
    batch = Collate(tokenize)([sample("a", 3)]).to("meta")
    tensors = [*batch.streams.values(), *batch.seen.values(), batch.frames, batch.tokens, batch.tokens_mask]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert batch.ids == ["a"]


@pytest.mark.parametrize("keys", [{}, {"batch_size": None, "batch_frames": 200}, {"batch_frames": 200}])
@pytest.mark.parametrize(("world", "shuffle"), [(1, True), (1, False), (2, False), (3, False)])
def test_every_clip_comes_exactly_once_over_all_ranks(keys, world, shuffle):
    ranks = [batches(rank, world, shuffle=shuffle, **keys) for rank in range(world)]
    clips = [clip for rank in ranks for batch in rank for clip in batch]
    assert sorted(clips) == list(range(len(LENGTHS)))
    counts = [len(list(rank)) for rank in ranks]
    assert counts == [len(rank) for rank in ranks]
    assert max(counts) - min(counts) <= 1


def test_both_limits_hold():
    for batch in batches(batch_size=8, batch_frames=200):
        assert len(batch) <= 8
        assert len(batch) * LENGTHS[batch].max() <= 200


def test_clips_of_a_batch_are_of_like_length():
    padded = sum(len(batch) * LENGTHS[batch].max() for batch in batches())
    assert padded < 1.25 * LENGTHS.sum()


def test_the_order_depends_on_seed_and_epoch_only():
    one, other = batches(), batches()
    for epoch in (3, 0, 3):
        one.set_epoch(epoch)
    other.set_epoch(3)
    assert list(one) == list(other)
    other.set_epoch(4)
    assert list(one) != list(other)
    assert list(batches(seed=2)) != list(batches(seed=1))


def test_short_batches_do_not_come_first():
    lengths = [LENGTHS[batch].mean() for batch in batches()]
    assert abs(np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]) < 0.9


def test_a_resumed_epoch_goes_on_where_it_stopped():
    sampler = batches()
    whole = list(sampler)
    sampler.start_at(5)
    assert list(sampler) == whole[5:]
    assert len(sampler) == len(whole)
    sampler.set_epoch(0)
    assert list(sampler) == whole


def test_no_clip_is_left_alone():
    assert sorted(len(batch) for batch in batches(lengths=LENGTHS[:33], batch_size=32)) == [16, 17]


def test_evaluation_begins_with_the_longest():
    longest = [LENGTHS[batch].max() for batch in batches(shuffle=False)]
    assert longest == sorted(longest, reverse=True)


def test_a_clip_that_no_batch_can_hold_is_named():
    with pytest.raises(ValueError, match="batch_frames=70 is below the longest clip, 79 frames"):
        batches(batch_frames=70)
