"""Samples to padded batches, and which clips go together.

B clips, T frames, R crop side, K landmarks, F feature width, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler

from slt.streams.sample import Sample, pad_clips
from slt.text import tagged


@dataclass
class Batch:
    """Clips padded with zeros to the longest."""

    ids: list[str]
    texts: list[str]
    streams: dict[str, Tensor]  # name -> (B, T, ...), crops stay uint8
    seen: dict[str, Tensor]  # name -> bool (B, T), False on padding
    frames: Tensor  # bool (B, T), False on padding
    tokens: Tensor | None  # int64 (B, L); None where no tokenizer was given
    tokens_mask: Tensor | None  # bool (B, L), True = a token of the sentence
    glosses: list[str] = field(default_factory=list)  # empty strings where the corpus has none
    languages: list[str] = field(default_factory=list)  # empty strings where the decoder is not told
    counts: bool = True  # False where a process without a clip of its own in a step repeats another's, without weight
    lengths: list[int] = field(default_factory=list)  # frames of each clip, for which no device need be asked
    contexts: list[str] = field(default_factory=list)  # the sentence before each in its film, "" where there is none
    previous: list[str] = field(default_factory=list)  # the ids of the clips of these, "" likewise

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device; from pinned memory the copy runs beside the computation."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; a DataLoader with `pin_memory=True` calls this."""
        return self._each(Tensor.pin_memory)

    def __len__(self) -> int:
        return len(self.ids)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: change(tensor) for name, tensor in value.items()}
            return change(value) if isinstance(value, Tensor) else value

        return replace(self, **{key: changed(value) for key, value in vars(self).items()})


def collate(samples: Sequence[Sample], length: int | None = None) -> Batch:
    """Pad clips with zeros to the longest, or to a length; no tokens."""
    streams, seen, frames = pad_clips(samples, length)
    return Batch(
        ids=[s.id for s in samples],
        texts=[s.text for s in samples],
        streams={name: torch.from_numpy(array) for name, array in streams.items()},
        seen={name: torch.from_numpy(array) for name, array in seen.items()},
        frames=torch.from_numpy(frames),
        tokens=None,
        tokens_mask=None,
        glosses=[s.gloss for s in samples],
        languages=[s.language for s in samples],
        lengths=frames.sum(1).tolist(),
        contexts=[s.context for s in samples],
        previous=[s.previous for s in samples],
    )


@dataclass(frozen=True)
class Collate:
    """`collate`, and the sentences as tokens."""

    tokenize: Callable[[list[str]], tuple[Tensor, Tensor]]  # (B) -> tokens int64 (B, L), mask bool (B, L)
    up: Callable[[int], int] = int  # a length -> as long as it is padded

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        batch = collate(samples, self.up(max(len(sample) for sample in samples)))
        texts = [tagged(text, language) for text, language in zip(batch.texts, batch.languages, strict=True)]
        tokens, mask = self.tokenize(texts)
        more = self.up(tokens.shape[1]) - tokens.shape[1]  # what stands there is masked
        batch.tokens, batch.tokens_mask = functional.pad(tokens, (0, more)), functional.pad(mask, (0, more))
        return batch


@dataclass(frozen=True)
class Batching:
    """How clips are batched, and how many processes load them."""

    batch_size: int | None  # most clips
    batch_frames: int | None  # most frames, padding counted
    num_workers: int
    length_multiple: int = 1  # of which every batch's frames and tokens are a multiple

    def up(self, length: Any) -> Any:
        """A length, or an array of them, as long as it is padded."""
        return -(-length // self.length_multiple) * self.length_multiple


class LengthBatches(Sampler[list[int]]):
    """A batch sampler: clips of like length together, each once an epoch, in an order of (seed, epoch) only.

    With `shuffle` clips are sorted by length with a tenth of noise, cut into batches, and the batches shuffled; without
    it batches come from long to short, every `world`-th from number `rank` on.
    """

    NOISE = 0.1

    def __init__(
        self,
        lengths: ArrayLike,
        *,
        batch_size: int | None,
        batch_frames: int | None,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.lengths: NDArray[np.int64] = np.asarray(lengths, np.int64)
        assert batch_size or batch_frames, "a limit is needed"
        if batch_frames is not None and self.lengths.max() > batch_frames:
            raise ValueError(
                f"batch_frames={batch_frames} is below the longest clip, {self.lengths.max()} frames (clip number "
                f"{self.lengths.argmax()}); raise batch_frames or set max_frames"
            )
        self.batch_size, self.batch_frames, self.shuffle, self.seed = batch_size, batch_frames, shuffle, seed
        self.part = slice(rank, None, world)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Make the order of an epoch, from its beginning."""
        self.start = 0
        self.batches = self._plan(np.random.default_rng((self.seed, epoch)))

    def start_at(self, batch_index: int) -> None:
        """Begin the epoch at a later batch, to resume; `set_epoch` begins at 0 again."""
        assert 0 <= batch_index <= len(self.batches), (batch_index, len(self.batches))
        self.start = batch_index

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in self.batches[self.start :]])

    def __len__(self) -> int:
        """Return how many batches the whole epoch has, also after `start_at`."""
        return len(self.batches)

    def _plan(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        if not self.shuffle:
            return self._cut(np.argsort(-self.lengths, kind="stable"))[self.part]
        noisy = self.lengths * rng.uniform(1 - self.NOISE, 1 + self.NOISE, len(self.lengths))
        batches = self._cut(np.argsort(noisy))
        batches.sort(key=lambda batch: (int(self.lengths[batch].max()), int(batch[0])))
        return [batches[turn] for turn in rng.permutation(len(batches))]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut clips (N,) into batches within both limits."""
        if self.batch_frames is None:
            assert self.batch_size is not None
            # 33 clips as 17 + 16, not 32 + 1: the gradient of one clip is mostly noise
            return np.array_split(order, -(-len(order) // self.batch_size))
        batches, begin, longest = [], 0, 0
        for end, clip in enumerate(order):
            longest = max(longest, int(self.lengths[clip]))
            count = end + 1 - begin
            if count * longest > self.batch_frames or (self.batch_size is not None and count > self.batch_size):
                batches.append(order[begin:end])
                begin, longest = end, int(self.lengths[clip])
        return [*batches, order[begin:]]
