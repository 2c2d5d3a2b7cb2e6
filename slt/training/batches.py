"""Clips to an endless, resumable stream of batches, and to one plain pass for evaluation.

Shape letters: B clips.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from slt.data import Batch, Collate, LengthBatches, LsaTMultiStream


def outlast_signal(worker: int) -> None:
    """Makes a loader process take no notice of the first SIGTERM and SIGINT; the second is as ever.

    Ctrl-C and batch systems signal the whole process group. That is the training process's to answer, which saves and
    leaves; were its loader gone by then, torch would end it in the middle of an update.
    """

    def catch(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, catch)


class EpochKeys:
    """A batch sampler that never ends: lists of (epoch, index), from batch number `consumed` on.

    Because each key says its epoch, workers read ahead over the end of an epoch and are never restarted.
    """

    def __init__(self, sampler: LengthBatches, consumed: int) -> None:
        self.sampler = sampler
        self.consumed = consumed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, skip = 0, self.consumed
        while True:
            self.sampler.set_epoch(epoch)
            if skip >= len(self.sampler):
                skip -= len(self.sampler)
            else:
                self.sampler.start_at(skip)
                for batch in self.sampler:
                    yield [(epoch, index) for index in batch]
                skip = 0
            epoch += 1


class TrainBatches:
    """The training stream of a split.

    Args:
        clips: the split.
        sampler: which clips go together; shuffled.
        tokenize: sentences (B) -> tokens (B, L) and mask.
        num_workers: loader processes; 0 loads in the training process.
        pin_memory: for copies to a GPU beside the computation.
        seed: of the loader's own generator.
    """

    def __init__(
        self,
        clips: LsaTMultiStream,
        sampler: LengthBatches,
        tokenize: Callable[[list[str]], tuple[torch.Tensor, torch.Tensor]],
        *,
        num_workers: int,
        pin_memory: bool,
        seed: int,
    ) -> None:
        self.clips, self.sampler, self.tokenize = clips, sampler, tokenize
        self.num_workers, self.pin_memory, self.seed = num_workers, pin_memory, seed

    def start(self, consumed: int) -> Iterator[Batch]:
        """Batches from number `consumed` on, for ever, the same ones whatever ran before."""
        keys: Any = EpochKeys(self.sampler, consumed)
        return iter(self._loader(keys))

    def _loader(self, keys: Any) -> DataLoader[Any]:
        # The loader draws a seed for its workers from the global generator unless it has its own, and then a resumed
        # run, which builds its loader at another moment, has other dropout masks than the uninterrupted one.
        own = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            self.clips,
            batch_sampler=keys,
            collate_fn=Collate(self.tokenize),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            generator=own,
            prefetch_factor=4 if self.num_workers else None,
            worker_init_fn=outlast_signal,
        )


def evaluation_batches(
    clips: LsaTMultiStream,
    tokenize: Callable[[list[str]], tuple[torch.Tensor, torch.Tensor]],
    *,
    batch_size: int | None,
    batch_frames: int | None,
    num_workers: int,
) -> DataLoader[Any]:
    """One pass over a split, longest clips first, each clip exactly once; batches of like length."""
    sampler = LengthBatches(clips.lengths, batch_size=batch_size, batch_frames=batch_frames, shuffle=False, seed=0)
    return DataLoader(
        clips, batch_sampler=sampler, collate_fn=Collate(tokenize), num_workers=num_workers,
        generator=torch.Generator().manual_seed(0), worker_init_fn=outlast_signal,
    )  # fmt: skip
