"""The clips of a few signers, clips dealt to splits, and the files that say which clip is in which split."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slt.corpora import layout
from slt.files import atomic, sha256


def clips_of_signers(
    ids: Sequence[str], who: Mapping[str, str], *, signers: int, limit: int | None, seed: int
) -> list[str]:
    """Return clips of a few signers, drawn by the seed, as many of one as of the other, in the order of `ids`.

    With `limit` a model of one signer and a model of ten see equally many sentences. Of one seed fewer signers are
    among the more.

    Args:
        ids: the clips of a split.
        who: clip -> its signer.
        signers: how many of them to take.
        limit: clips to take, from each signer in turn; None = all of theirs.
        seed: of the draw.
    """
    clips: dict[str, list[str]] = {}
    for name in ids:
        clips.setdefault(who[name], []).append(name)
    if "" in clips:
        raise ValueError(f"dataset.signers={signers}: clip {clips[''][0]!r} has none; fill the column `signer`")
    if not 1 <= signers <= len(clips):
        raise ValueError(f"dataset.signers={signers}: expected 1 to {len(clips)}, the signers of train")
    order = np.random.default_rng(seed).permutation(sorted(clips))[:signers]
    turns = itertools.zip_longest(*(clips[name] for name in order))
    taken = [name for turn in turns for name in turn if name is not None]
    if limit is not None and len(taken) < limit:
        raise ValueError(
            f"dataset.limit={limit}: the drawn signers ({', '.join(order)}) have {len(taken)} clips in train; lower "
            "the limit, so that any choice of signers is compared at equally many sentences"
        )
    kept = set(taken[:limit])
    return [name for name in ids if name in kept]


def deal(
    ids: Sequence[str], units: Sequence[str], *, shares: Mapping[str, float], seed: int, ordered: bool = False
) -> dict[str, list[str]]:
    """Share clips out to train, val and test so that those of one unit stay together; each in the order of `ids`.

    Units stand in an order that their names and the seed give, so that a longer list moves few, or with `ordered` in
    that of their names, the last first; they fill `test`, then `val`, as near to their shares as whole units allow.

    Args:
        ids: the clips.
        units: of each clip, a signer, film or the like.
        shares: split -> its share of the clips; they sum to 1.
        seed: of the order.
        ordered: of dates: the latest are tested on.
    """
    groups: dict[str, list[str]] = {}
    for name, unit in zip(ids, units, strict=True):
        groups.setdefault(unit, []).append(name)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    if ordered:
        order = sorted(groups, reverse=True)
    chosen: dict[str, set[str]] = {split: set() for split in layout.SPLITS}
    for split in ("test", "val"):
        room = shares[split] * len(ids)
        for name in order[:]:
            if len(groups[name]) > room and ordered:
                break  # none that is later may be trained on
            if len(groups[name]) <= room:
                chosen[split].update(groups[name])
                room -= len(groups[name])
                order.remove(name)
        # One more, where that brings the split nearer to its share than leaving it out.
        nearest = order[0] if ordered and order else min(order, key=lambda name: len(groups[name]), default="")
        if nearest and len(groups[nearest]) <= 2 * room:
            chosen[split].update(groups[nearest])
            order.remove(nearest)
    chosen["train"].update(clip for name in order for clip in groups[name])
    return {split: [name for name in ids if name in names] for split, names in chosen.items()}


def split_of(name: str, *, val: float, test: float) -> str:
    """Return the split of a film or other group by the sha256 of its name, so that all of its clips are in one.

    It stays where it is whatever other films come or go; `val` and `test` are shares of the names.
    """
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "test" if place < test else "val" if place < test + val else "train"


def write_splits(folder: Path, splits: Mapping[str, Sequence[str]]) -> list[Path]:
    """Write `<split>.csv` for each split and SHA256SUMS beside them (for `sha256sum --check`); return the files."""
    files = [folder / f"{name}.csv" for name in sorted(splits)]
    for path in files:
        layout.write_index(path, splits[path.stem])
    with atomic(folder / "SHA256SUMS") as file:
        file.write("".join(f"{sha256(path)}  {path.name}\n" for path in files).encode())
    return [*files, folder / "SHA256SUMS"]
