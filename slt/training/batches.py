"""Clips to an endless, resumable stream of batches, and to one plain pass for evaluation.

Of several processes each takes its part of every batch: the batches are those of one process. B clips.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from slt.corpora.clips import Clips
from slt.corpora.context import film_turns
from slt.streams.batch import Batch, Batching, Collate, LengthBatches
from slt.training import processes

Tokenizes = Callable[[list[str]], tuple[torch.Tensor, torch.Tensor]]


def ignore_first_signal(worker: int) -> None:
    """Makes a loader process outlast the first SIGTERM and SIGINT, as Ctrl-C and batch systems send to the whole group.

    The training process answers it: it saves and leaves. Were its loader gone by then, torch would end it in the middle
    of an update.
    """

    def catch(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, catch)


def parts(
    sampler: LengthBatches, consumed: int, *, rank: int, world: int
) -> Iterator[tuple[list[tuple[int, int]], bool]]:
    """A process's part of each batch as (epoch, clip), from batch `consumed` on, and whether it has clips of its own.

    It never ends: because each key says its epoch, workers read ahead over the end of an epoch and are never restarted.
    A process has every `world`-th clip of a batch, so that clips are of like length in all of them.
    """
    sampler, epoch = copy.copy(sampler), 0
    while True:
        sampler.set_epoch(epoch)
        if consumed < len(sampler):
            sampler.start_at(consumed)
            for batch in sampler:
                # Where the clips do not go round, the first comes along, so that each process keeps step.
                yield [(epoch, index) for index in batch[rank::world] or batch[:1]], rank < len(batch)
        consumed = max(consumed - len(sampler), 0)
        epoch += 1


class TrainBatches:
    """The training stream of a split; `tokenize` is sentences (B) -> tokens (B, L) and mask."""

    def __init__(self, clips: Clips, tokenize: Tokenizes, batching: Batching, *, pin_memory: bool, seed: int) -> None:
        self.clips, self.tokenize, self.batching = clips, tokenize, batching
        self.pin_memory, self.seed = pin_memory, seed
        self.sampler = LengthBatches(
            batching.up(clips.lengths), batch_size=batching.batch_size, batch_frames=batching.batch_frames,
            shuffle=True, seed=seed,
        )  # fmt: skip

    def start(self, consumed: int) -> Iterator[Batch]:
        """This process's part of the batches from number `consumed` on, for ever, whatever ran before."""
        rank, world = processes.rank(), processes.world()
        if len(self.clips) < world:
            raise ValueError(f"{len(self.clips)} clips for {world} processes; expected one for each at least")
        ours, counted = (parts(self.sampler, consumed, rank=rank, world=world) for _ in range(2))
        loader = _loader(
            self.clips, (keys for keys, _ in ours), self.tokenize, self.batching, seed=self.seed,
            pin_memory=self.pin_memory, prefetch_factor=4 if self.batching.num_workers else None,
        )  # fmt: skip
        return (replace(batch, counts=counts) for batch, (_, counts) in zip(loader, counted, strict=False))


def evaluation_batches(
    clips: Any, tokenize: Tokenizes, batching: Batching, *, by_film: bool = False
) -> DataLoader[Any]:
    """One pass over a split, longest clips first; each clip comes exactly once, over all processes together.

    These share the limits: what they hold at once is what one process would, a clip each at the least. `by_film` has
    the first clips of all films come before the second ones, and so on, and each film whole in one process.
    """
    world, size, frames = processes.world(), batching.batch_size, batching.batch_frames
    lengths = batching.up(clips.lengths)
    batched: Any = partial(
        LengthBatches, batch_size=None if size is None else -(-size // world),
        batch_frames=None if frames is None else max(frames // world, int(lengths.max())), shuffle=False, seed=0,
    )  # fmt: skip
    if by_film:
        first, turns = film_turns(clips.before)
        ours = np.isin(first, np.unique(first)[processes.rank() :: world])
        rounds = [np.flatnonzero(ours & (turns == turn)) for turn in range(int(turns.max()) + 1)]
        sampler = [places[batch].tolist() for places in rounds if len(places) for batch in batched(lengths[places])]
    else:
        sampler = batched(lengths, rank=processes.rank(), world=world)
    return _loader(clips, sampler, tokenize, batching, seed=0)


def _loader(
    clips: Any, keys: Any, tokenize: Tokenizes, batching: Batching, *, seed: int, **options: Any
) -> DataLoader[Any]:
    # The loader draws a seed for its workers from the global generator unless it has its own, and then a resumed
    # run, which builds its loader at another moment, has other dropout masks than the uninterrupted one.
    return DataLoader(
        clips, batch_sampler=keys, collate_fn=Collate(tokenize, batching.up), num_workers=batching.num_workers,
        generator=torch.Generator().manual_seed(seed), worker_init_fn=ignore_first_signal, **options,
    )  # fmt: skip
