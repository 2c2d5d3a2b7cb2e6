"""Batches of the tiny corpus: endless, resumable anywhere, the same with and without loader processes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from slt.corpora.folder import LsaTMultiStream
from slt.models.tokenizer import Tokenize
from slt.streams.batch import Batch, Batching, LengthBatches
from slt.training.batches import TrainBatches, evaluation_batches, ignore_first_signal, parts

# From Python 3.12 on a fork beside threads warns, such as tqdm's; ours and the loader's do nothing with them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

AUGMENT = {"speed": [0.8, 1.2], "warp": 0.0, "frame_dropout": 0.1, "stream_dropout": 0.3, "mirror": 0.5}
Start = Callable[..., list[Batch]]


@pytest.fixture
def start(clips: Any, tokenizer: Any) -> Start:
    """`count` training batches of up to 5 of the 12 clips (three an epoch) from number `consumed` on."""

    def take(consumed: int, count: int, *, workers: int = 0, augment: Any = AUGMENT) -> list[Batch]:
        split = LsaTMultiStream(
            root=clips.root, split="train", streams=_mirrored(clips), fps=None, max_frames=20, length_tolerance=0,
            augment=augment, seed=1,
        )  # fmt: skip
        batches = TrainBatches(split, Tokenize(tokenizer, 64), Batching(5, None, workers), pin_memory=False, seed=1)
        return list(islice(batches.start(consumed), count))

    return take


def _mirrored(clips: Any) -> dict[str, Any]:
    from slt.data import Crops

    hands = {"left_hand": ("hand_l", "right_hand"), "right_hand": ("hand_r", "left_hand")}
    made = {n: Crops(folder=f, size=32, jitter=0.1, colour=0.1, mirror=m) for n, (f, m) in hands.items()}
    return {**clips.streams, **made}


def same(one: Batch, other: Batch) -> bool:
    return one.ids == other.ids and all(
        torch.equal(one.streams[name], other.streams[name]) and torch.equal(one.seen[name], other.seen[name])
        for name in one.streams
    )


def test_each_clip_comes_once_an_epoch(start: Start) -> None:
    ids = [name for batch in start(0, 3) for name in batch.ids]
    assert len(ids) == len(set(ids)) == 12


def test_epochs_differ_in_order_and_augmentation(start: Start) -> None:
    first, second = start(0, 3), start(3, 3)
    assert [batch.ids for batch in first] != [batch.ids for batch in second]
    hands = [
        {n: batch.streams["left_hand"][i] for batch in e for i, n in enumerate(batch.ids)} for e in (first, second)
    ]
    alike = [name for name, hand in hands[0].items() if hand.any() and torch.equal(hand, hands[1][name])]
    assert alike == []


@pytest.mark.parametrize("consumed", [1, 3, 4, 8])
def test_starts_anywhere_with_what_would_have_come_next(start: Start, consumed: int) -> None:
    assert all(map(same, start(consumed, 2), start(0, consumed + 2)[consumed:]))


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_processes_change_nothing(start: Start, workers: int) -> None:
    assert all(map(same, start(1, 4, workers=workers), start(1, 4)))


@pytest.mark.parametrize("workers", [0, 1])
def test_starting_the_loader_leaves_the_global_generator_alone(start: Start, workers: int) -> None:
    before = torch.get_rng_state()  # or a resumed run, which starts its loader later, has other dropout masks
    start(0, 4, workers=workers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("chance", [0.1, 0.4])
def test_streams_are_dropped_as_often_as_asked_and_one_always_stays(clips: Any, chance: float) -> None:
    split = LsaTMultiStream(
        root=clips.root, split="train", streams=clips.streams, fps=None, max_frames=20, length_tolerance=0,
        augment=AUGMENT | {"stream_dropout": chance, "mirror": 0}, seed=1,
    )  # fmt: skip
    dropped = [len(split._choose_dropped(np.random.default_rng(seed))) for seed in range(2000)]
    assert np.mean(dropped) == pytest.approx(4 * chance - chance**4, rel=0.1)
    assert max(dropped) < 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loader_outlasts_the_first_signal_and_not_the_second(number: int) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        ignore_first_signal(0)
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_tokens_are_of_the_batchs_sentences(start: Start, tokenizer: Any) -> None:
    batch = start(0, 1)[0]
    tokens, mask = Tokenize(tokenizer, 64)(batch.texts)
    assert torch.equal(batch.tokens, tokens)
    assert torch.equal(batch.tokens_mask, mask)


def test_keys_say_their_epoch() -> None:
    sampler = LengthBatches([4, 5, 6, 7], batch_size=2, batch_frames=None, shuffle=True, seed=0)
    keys = [keys for keys, _ in islice(parts(sampler, 1, rank=0, world=1), 4)]
    assert [{epoch for epoch, _ in batch} for batch in keys] == [{0}, {1}, {1}, {2}]
    assert sorted(index for batch in keys[1:3] for _, index in batch) == [0, 1, 2, 3]


@pytest.mark.parametrize("limits", [{"batch_size": 5, "batch_frames": None}, {"batch_size": None, "batch_frames": 60}])
def test_evaluation_takes_each_clip_once_long_ones_first(clips: Any, tokenizer: Any, limits: dict[str, Any]) -> None:
    batches = list(evaluation_batches(clips, Tokenize(tokenizer, 64), Batching(**limits, num_workers=0)))
    assert sorted(name for batch in batches for name in batch.ids) == sorted(clips.ids)
    lengths = batches[0].frames.sum(1).tolist() + batches[-1].frames.sum(1).tolist()
    assert lengths == sorted(lengths, reverse=True)
    assert all(batch.frames.numel() <= 60 for batch in batches) or limits["batch_frames"] is None


@pytest.mark.parametrize("limits", [{"batch_size": 5, "batch_frames": None}, {"batch_size": None, "batch_frames": 64}])
def test_lengths_are_padded_to_a_multiple_within_the_limits(clips: Any, tokenizer: Any, limits: dict[str, Any]) -> None:
    tokenize = Tokenize(tokenizer, 64)
    plain = Batching(**limits, num_workers=0)
    split = TrainBatches(clips, tokenize, replace(plain, length_multiple=16), pin_memory=False, seed=1)
    for batch in [*islice(split.start(0), 6), *evaluation_batches(clips, tokenize, split.batching)]:
        assert batch.frames.shape[1] % 16 == batch.tokens.shape[1] % 16 == 0
        assert batch.frames.numel() <= 64 or limits["batch_frames"] is None
        assert all(stream.shape[:2] == batch.frames.shape for stream in batch.streams.values())
        assert [int(length) for length in batch.frames.sum(1)] == batch.lengths
        tokens, mask = tokenize(batch.texts)
        assert torch.equal(batch.tokens[:, : tokens.shape[1]], tokens)
        assert torch.equal(batch.tokens_mask.nonzero(), mask.nonzero())


def test_evaluation_pass_leaves_the_global_generator_alone(clips: Any, tokenizer: Any) -> None:
    before = torch.get_rng_state()
    list(evaluation_batches(clips, Tokenize(tokenizer, 64), Batching(8, None, 0)))
    assert torch.equal(torch.get_rng_state(), before)
