"""Unlabelled crops of corpora in the layout: which there are, and batches of them, without listing them all.

Shape letters: N crops of a batch, R crop side.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slt.corpora.folder import FolderCorpus
from slt.pretraining.views import CropViews, Draws, Views
from slt.streams.crops import Crops
from slt.streams.packed import PackedCrops, decode_jpeg, frame_path
from slt.streams.seen import Share, seen_lines
from slt.training import processes
from slt.training.batches import ignore_first_signal

log = logging.getLogger(__name__)

# Stream -> (folder's stream, whether its crops are mirrored). Both hands as left ones: as training sees them, where
# the right hand is mirrored into the left hand's backbone (`tied`).
POOLS = {
    "face": (("face", False),),
    "left_hand": (("left_hand", False),),
    "right_hand": (("right_hand", False),),
    "hands": (("left_hand", False), ("right_hand", True)),
}


@dataclass(frozen=True)
class PoolPart:
    """One stream of one corpus: every `every`-th seen crop of its clips, at `rate` frames a second, is in the pool."""

    root: Path
    stream: str
    folder: str
    mirrored: bool
    rate: float
    every: int


class CropPool(Dataset[Tensor]):
    """All crops of a stream that were seen, thinned in time; the k-th is found, not listed.

    Per clip and stream one number is kept: `ends`, how many crops there are up to its own last one. Which frames are
    seen is read again when one of them is asked for.

    Args:
        roots: corpora in the layout.
        stream: face, left_hand, right_hand or hands (both, the right ones mirrored).
        folders: stream -> its folder.
        splits: whose clips are taken.
        seconds: time between two crops that are taken of a clip; neighbours are near-copies.
        fps: of a corpus that does not say its own rate.
    """

    def __init__(
        self,
        *,
        roots: Sequence[str],
        stream: str,
        folders: Mapping[str, str],
        splits: Sequence[str],
        seconds: float,
        fps: float,
    ) -> None:
        if stream not in POOLS:
            raise ValueError(f"stream={stream}: expected one of {', '.join(POOLS)}")
        for known in (_opened, _marks):  # of folders as they were when another pool was made
            known.cache_clear()
        self.stream, self.parts = stream, list[PoolPart]()
        self.clips: list[tuple[PoolPart, str]] = []
        facts: list[Any] = []
        for root in map(Path, roots):
            corpus = FolderCorpus(root, captions=False)
            ids = [name for split in splits for name in corpus.splits.get(split, ())]
            facts.append([sorted(ids), sorted({str(clip.get("fingerprint", "")) for clip in corpus.metadata})])
            rate = float(corpus.table[ids[0]].get("fps") or fps) if ids else fps
            for part, mirrored in POOLS[stream]:
                if not (root / folders[part]).is_dir():
                    raise FileNotFoundError(f"{root / folders[part]}: no such folder; there are no crops of {part}")
                every = max(round(seconds * rate), 1)
                self.parts.append(PoolPart(root, part, folders[part], mirrored, rate, every))
                self.clips += [(self.parts[-1], name) for name in ids]
        self.fingerprint = hashlib.sha256(json.dumps([stream, facts, seconds]).encode()).hexdigest()
        self.size, counts = self._count()
        if not sum(counts):
            raise ValueError(f"stream={stream}: no crop was seen in {', '.join(map(str, roots))} ({', '.join(splits)})")
        self.ends = np.cumsum(counts)
        self._refuse_black()

    def _count(self) -> tuple[int, list[int]]:
        """The side R of all crops, and how many each clip and stream gives; says in what share each is seen."""
        counts, sizes, shares = list[int](), dict[int, str](), dict[str, Share]()
        for part, name in self.clips:
            seen, size = _marks(part.root, part.folder, name)
            sizes.setdefault(size, f"{part.root / part.folder}, clip {name}")
            counts.append(-(-int(seen.sum()) // part.every))
            shares[part.stream] = shares.get(part.stream, Share()).add(int(seen.sum()), len(seen))
        if len(sizes) > 1:
            each = "; ".join(f"{size} pixels in {where}" for size, where in sorted(sizes.items()))
            raise ValueError(
                f"stream={self.stream}: crops of several sizes ({each}); extract them anew at one crop_size"
            )
        for line in seen_lines(shares) if sum(counts) else ():
            log.info(line)
        return next(iter(sizes), 0), counts

    def _refuse_black(self) -> None:
        places = np.linspace(0, len(self) - 1, min(len(self), 64)).astype(int).tolist()
        if not any(self[place].any() for place in places):
            raise ValueError(
                f"stream={self.stream}: crops marked as seen are all black, the first in clip {self.where(places[0])}; "
                "`python -m slt.extract check=FOLDER` lists what is wrong"
            )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def where(self, place: int) -> str:
        """The file of a crop, for messages."""
        part, name, _ = self.find(place)
        return f"{part.root / part.folder / name}"

    def places(self, clip: int) -> range:
        """The crops of a clip and stream."""
        return range(int(self.ends[clip - 1]) if clip else 0, int(self.ends[clip]))

    def moment(self, place: int) -> tuple[int, float]:
        """The clip and stream a crop is of, and when it was seen there, seconds."""
        part, _, frame = self.find(place)
        return self._clip(place), frame / part.rate

    def _clip(self, place: int) -> int:
        return int(np.searchsorted(self.ends, place, side="right"))

    def find(self, place: int) -> tuple[PoolPart, str, int]:
        """Where a crop is: stream of a corpus, clip, frame."""
        clip = self._clip(place)
        part, name = self.clips[clip]
        seen, _ = _marks(part.root, part.folder, name)
        return part, name, int(np.flatnonzero(seen)[(place - self.places(clip).start) * part.every])

    def __getitem__(self, place: int) -> Tensor:
        """The crop, uint8 (3, R, R)."""
        return self._read(*self.find(place))

    def near(self, place: int, seconds: float, chance: float) -> Tensor:
        """A crop of the same clip and stream, seen at most `seconds` before or after: uint8 (3, R, R).

        It may be the crop itself; `chance` in [0, 1) says which of these frames.
        """
        part, name, frame = self.find(place)
        seen = np.flatnonzero(_marks(part.root, part.folder, name)[0])
        near = seen[np.abs(seen - frame) <= seconds * part.rate]
        return self._read(part, name, int(near[int(chance * len(near))]))

    def _read(self, part: PoolPart, name: str, frame: int) -> Tensor:
        clip = _opened(part.root, part.folder, name)
        crop = _single(part.root / part.folder, name, frame) if clip is None else clip.frames(np.array([frame]))[0]
        if part.mirrored:
            crop = crop[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)


# Crops of one clip are often asked for one after another, and half of their cost is the opening.
@lru_cache(maxsize=64)
def _opened(root: Path, folder: str, name: str) -> PackedCrops | None:
    """A clip's packed crops; None = they lie there as single pictures."""
    path = root / folder / f"{name}.safetensors"
    return PackedCrops(path) if path.is_file() else None


def _single(folder: Path, name: str, frame: int) -> NDArray[np.uint8]:
    path = frame_path(folder, name, frame)
    return decode_jpeg(path.read_bytes(), str(path), None)


# Single JPEGs without marks are all opened to see which are black; a batch and its neighbours ask for the same clips.
@lru_cache(maxsize=4096)
def _marks(root: Path, folder: str, name: str) -> tuple[NDArray[np.bool_], int]:
    """Which frames of a clip show the stream, (T,), and the side of its crops in pixels."""
    clip = _opened(root, folder, name)
    if clip is not None:
        return clip.seen, clip.size
    reader = Crops(folder=folder, size=1, jitter=0, colour=0)
    frames = np.arange(reader.lengths(root, [name])[0])
    return reader.read(root, name, frames).seen, len(_single(root / folder, name, 0))


class Shuffled:
    """A random order of 0 to count - 1 that is computed place by place and never stored.

    A Feistel network permutes the numbers of twice so many bits; what falls outside is put through again (cycle
    walking; Black and Rogaway 2002).
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.half = max((max(count - 1, 1).bit_length() + 1) // 2, 1)
        self.keys = np.random.default_rng(seed).integers(1, 2**31, 4, dtype=np.uint64)

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where `places` (n,) go."""
        found = self._permute(places.astype(np.uint64))
        while (outside := found >= self.count).any():
            found[outside] = self._permute(found[outside])
        return found.astype(np.int64)

    def _permute(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, mask = np.uint64(self.half), np.uint64((1 << self.half) - 1)
        left, right = numbers >> low, numbers & mask
        for key in self.keys:
            mixed = (right * np.uint64(0x9E3779B1) + key) & np.uint64(0xFFFFFFFF)
            mixed = ((mixed ^ (mixed >> np.uint64(15))) * np.uint64(0x85EBCA77)) & np.uint64(0xFFFFFFFF)
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(13))) & mask)
        return (left << low) | right


class ViewBatches(Dataset[Views]):
    """The endless stream of batches that the training loop asks for; batch n is the same whatever ran before.

    Of several processes each has every so-many-th crop of each batch, in the views that one process would draw.

    Args:
        pool: of crops.
        views: draws them.
        drift: seconds, see `CropPool.near`; every second view is cut from such a neighbour. 0 = all from one frame.
        batch_size: N of all processes together; every batch is whole.
        clips: a batch has equally many crops of so many clips and streams, drawn anew for each batch; None = every crop
            comes once before any comes again, whatever its clip.
        num_workers: loader processes; 0 loads in the training process.
        pin_memory: for copies to a GPU beside the computation.
        seed: of order and views.
    """

    def __init__(
        self,
        pool: CropPool,
        views: CropViews,
        *,
        drift: float,
        batch_size: int,
        clips: int | None,
        num_workers: int,
        pin_memory: bool,
        seed: int,
    ) -> None:
        if len(pool) < batch_size:
            raise ValueError(
                f"stream={pool.stream}: {len(pool)} crops are fewer than a batch (batch_size={batch_size}); "
                "give more films, a shorter `seconds`, or a smaller batch_size"
            )
        if clips is not None and (clips < 1 or batch_size % (clips * processes.world())):
            raise ValueError(
                f"clips={clips}: batch_size={batch_size} must be a multiple of it, times devices ({processes.world()})"
            )
        self.pool, self.views, self.drift = pool, views, drift
        self.batch_size, self.clips, self.seed = batch_size, clips, seed
        # Clips of a single crop tell nothing from anything.
        self.several = np.flatnonzero(np.diff(pool.ends, prepend=0) > 1)
        if clips is not None and len(self.several) < clips:
            raise ValueError(
                f"clips={clips}: only {len(self.several)} clips of stream={pool.stream} have two crops or more"
            )
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.mine = slice(processes.rank(), None, processes.world())

    def __getitem__(self, number: int) -> Views:
        places = self._places(number)
        generator = Draws()
        generator.manual_seed((self.seed << 32) + number)
        generator.count, generator.mine = len(places), self.mine
        mine = places[self.mine].tolist()
        crops = others = torch.stack([self.pool[place] for place in mine])
        if self.drift:
            chances = torch.rand(len(places), generator=generator)[self.mine].tolist()
            drawn = zip(mine, chances, strict=True)
            others = torch.stack([self.pool.near(place, self.drift, chance) for place, chance in drawn])
        clip, time = zip(*map(self.pool.moment, mine), strict=True)
        return Views(*self.views(crops, others, generator), torch.tensor(clip), torch.tensor(time))

    def _places(self, number: int) -> NDArray[np.int64]:
        """The crops of batch `number`, (N,)."""
        if self.clips is None:
            return _deal(len(self.pool), self.batch_size, number, self.seed)
        random = np.random.default_rng([self.seed, number])
        each = self.batch_size // self.clips
        chosen = []
        for clip in self.several[_deal(len(self.several), self.clips, number, self.seed)]:
            places = np.array(self.pool.places(int(clip)))
            rounds = [random.permutation(places) for _ in range(-(-each // len(places)))]
            chosen.append(np.concatenate(rounds)[:each])
        return np.concatenate(chosen)

    def start(self, consumed: int) -> Iterator[Views]:
        """Batches from number `consumed` on, for ever."""
        return iter(DataLoader(
            self, batch_size=None, sampler=itertools.count(consumed), num_workers=self.num_workers,
            pin_memory=self.pin_memory, generator=torch.Generator().manual_seed(self.seed),
            prefetch_factor=4 if self.num_workers else None, worker_init_fn=ignore_first_signal,
        ))  # fmt: skip


def _deal(count: int, size: int, number: int, seed: int) -> NDArray[np.int64]:
    """Hand `number` of `size` of the numbers below `count`, which are shuffled anew when all have been dealt."""
    epoch, first = divmod(number, count // size)
    return Shuffled(count, seed + 1_000_003 * epoch)[np.arange(first * size, (first + 1) * size)]
