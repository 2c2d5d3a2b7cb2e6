"""Clips to an endless, resumable stream of batches, and to one plain pass for evaluation.

Of several processes each takes its part of every batch: the batches are those of one process. B clips.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from slt.corpora.folder import LsaTMultiStream
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


class EpochKeys:
    """A batch sampler that never ends: lists of (epoch, index), from batch number `consumed` on.

    Because each key says its epoch, workers read ahead over the end of an epoch and are never restarted. A process has
    every `world`-th clip of each batch, so that clips are of like length in all of them.
    """

    def __init__(self, sampler: LengthBatches, consumed: int, *, rank: int, world: int) -> None:
        self.sampler = copy.copy(sampler)
        self.consumed, self.rank, self.world = consumed, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # Where the clips do not go round, the first comes along, so that each process has one to keep step with.
        for epoch, batch in self.batches():
            yield [(epoch, index) for index in batch[self.rank :: self.world] or batch[:1]]

    def counted(self) -> Iterator[bool]:
        """For each batch, whether this part of it has clips of its own."""
        return (self.rank < len(batch) for _, batch in self.batches())

    def batches(self) -> Iterator[tuple[int, list[int]]]:
        epoch, skip = 0, self.consumed
        while True:
            self.sampler.set_epoch(epoch)
            if skip >= len(self.sampler):
                skip -= len(self.sampler)
            else:
                self.sampler.start_at(skip)
                for batch in self.sampler:
                    yield epoch, batch
                skip = 0
            epoch += 1


class TrainBatches:
    """The training stream of a split; `tokenize` is sentences (B) -> tokens (B, L) and mask."""

    def __init__(
        self, clips: LsaTMultiStream, tokenize: Tokenizes, batching: Batching, *, pin_memory: bool, seed: int
    ) -> None:
        self.clips, self.tokenize, self.batching = clips, tokenize, batching
        self.pin_memory, self.seed = pin_memory, seed
        self.sampler = LengthBatches(
            clips.lengths, batch_size=batching.batch_size, batch_frames=batching.batch_frames, shuffle=True, seed=seed
        )

    def start(self, consumed: int) -> Iterator[Batch]:
        """This process's part of the batches from number `consumed` on, for ever, whatever ran before."""
        place = {"rank": processes.rank(), "world": processes.world()}
        if len(self.clips) < place["world"]:
            raise ValueError(f"{len(self.clips)} clips for {place['world']} processes; expected one for each at least")
        loader = iter(self._loader(EpochKeys(self.sampler, consumed, **place)))
        if place["world"] == 1:
            return loader
        counted = EpochKeys(self.sampler, consumed, **place).counted()
        return (replace(batch, counts=counts) for batch, counts in zip(loader, counted, strict=False))

    def _loader(self, keys: EpochKeys) -> DataLoader[Any]:
        # The loader draws a seed for its workers from the global generator unless it has its own, and then a resumed
        # run, which builds its loader at another moment, has other dropout masks than the uninterrupted one.
        own = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            self.clips,
            batch_sampler=keys,  # type: ignore[arg-type]
            collate_fn=Collate(self.tokenize),
            num_workers=self.batching.num_workers,
            pin_memory=self.pin_memory,
            generator=own,
            prefetch_factor=4 if self.batching.num_workers else None,
            worker_init_fn=ignore_first_signal,
        )


def evaluation_batches(clips: Any, tokenize: Tokenizes, batching: Batching) -> DataLoader[Any]:
    """One pass over a split, longest clips first; each clip comes exactly once, over all processes together.

    These share the limits: what they hold at once is what one process would, a clip each at the least.
    """
    world, size, frames = processes.world(), batching.batch_size, batching.batch_frames
    sampler = LengthBatches(
        clips.lengths, batch_size=None if size is None else -(-size // world),
        batch_frames=None if frames is None else max(frames // world, int(clips.lengths.max())),
        shuffle=False, seed=0, rank=processes.rank(), world=world,
    )  # fmt: skip
    return DataLoader(
        clips, batch_sampler=sampler, collate_fn=Collate(tokenize), num_workers=batching.num_workers,
        generator=torch.Generator().manual_seed(0), worker_init_fn=ignore_first_signal,
    )  # fmt: skip
