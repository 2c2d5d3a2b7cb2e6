"""What a split is scored with instead of itself: a model that reads its input must do worse on it.

T frames, N clips.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slt.corpora.clips import Clips
from slt.streams.sample import Array, Sample


class Control(Dataset[Sample]):
    """A split that shows something else than its clips do."""

    def __init__(self, clips: Clips) -> None:
        self.clips, self.lengths = clips, clips.lengths

    @property
    def before(self) -> NDArray[np.int64]:
        return self.clips.before

    def __len__(self) -> int:
        return len(self.clips)


class Swapped(Control):
    """A split in which each clip keeps its id, sentence and glosses and shows another's streams, of like length."""

    def __init__(self, clips: Clips) -> None:
        super().__init__(clips)
        self.shown = partners(clips)
        self.lengths = clips.lengths[self.shown]

    def __getitem__(self, index: int) -> Sample:
        gloss = self.clips.columns["gloss"][index] if "gloss" in self.clips.columns else ""
        sample = self.clips[int(self.shown[index])]
        said: Any = {"context": "", "previous": ""} | self.clips.said_before(index)
        return replace(sample, id=self.clips.ids[index], text=self.clips.texts[index], gloss=gloss, **said)


class Frozen(Control):
    """A split in which each clip is its middle frame, T // 2, held for as long as it lasts."""

    def __getitem__(self, index: int) -> Sample:
        def held(arrays: dict[str, Array]) -> dict[str, Array]:
            return {name: np.repeat(x[len(x) // 2][None], len(x), 0) for name, x in arrays.items()}

        sample = self.clips[index]
        return replace(sample, streams=held(sample.streams), seen=held(sample.seen))


class Foreign(Control):
    """Another corpus' clips, of which only what they show counts: all say `text`, which the model can write."""

    def __init__(self, clips: Clips, text: str) -> None:
        super().__init__(clips)
        self.text = text

    def __getitem__(self, index: int) -> Sample:
        return replace(self.clips[index], text=self.text, gloss="")


def partners(clips: Clips) -> NDArray[np.int64]:
    """For each clip another, (N,): the nearest by length whose sentence differs, where there is one.

    The whole split is looked at, so that it is the same whatever the batches and the number of processes.
    """
    count = len(clips)
    if count < 2:
        raise ValueError(f"split {clips.split}: expected two clips or more to exchange, got {count}")
    order, texts = np.argsort(clips.lengths, kind="stable"), list(clips.texts)
    found = np.zeros(count, np.int64)
    for rank, clip in enumerate(order):
        near = chain.from_iterable((rank + d, rank - d) for d in range(1, count))
        others = (int(order[place]) for place in near if 0 <= place < count)
        fallback = int(order[rank + 1 if rank + 1 < count else rank - 1])
        found[clip] = next((other for other in others if texts[other] != texts[clip]), fallback)
    return found
