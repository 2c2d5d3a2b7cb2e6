"""Which clips are trained on and which are held out: whole films, whole signers or single clips to each split."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slt.data import layout
from slt.data.films import Source

log = logging.getLogger(__name__)

CHOICES = ("film", "signer", "random", "all_train")


def clips_of_signers(
    ids: Sequence[str], who: Mapping[str, str], *, signers: int, limit: int | None, seed: int
) -> list[str]:
    """Clips of a few signers, as many of one as of the other as far as they go, in the order of `ids`.

    With `limit` a model of one signer and a model of ten see equally many sentences. Of one seed fewer signers are
    among the more.

    Args:
        ids: the clips of a split.
        who: clip -> its signer.
        signers: how many of them to take, drawn at random.
        limit: clips to take, from each signer in turn; None = all of theirs.
        seed: of the draw.

    Raises:
        ValueError: clips without a signer, fewer signers than asked for, or signers with fewer clips than `limit`.
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


def split_ids(
    sources: Sequence[Source], *, by: str, train: float, val: float, test: float, seed: int
) -> dict[str, list[str]]:
    """Share clips out to the splits, ids in the order of `sources`.

    Groups (films, signers, or single clips) stand in an order that their own names and the seed give, so that a longer
    list moves few; they fill `test`, then `val`, each as near to its share of the clips as whole groups allow, and
    `train` has the rest. Clips that are too few to leave something in each split are all trained on, which is said.

    Args:
        sources: the clips.
        by: "film" or "signer" keep a film's or a signer's clips together; "random" deals single clips out; "all_train"
            is for a handful of clips that are all trained on.
        train, val, test: shares of the clips that sum to 1; unused by "all_train".
        seed: of the order in which groups are shared out.

    Raises:
        ValueError: shares that are none, or a clip without a signer.
    """
    ids = [source.video_id for source in sources]
    if by == "all_train":
        return {"train": ids}
    shares = {"train": train, "val": val, "test": test}
    if by not in CHOICES or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(
            f"split: by must be one of {', '.join(CHOICES)}, with shares of at least 0 that sum to 1; "
            f"came by={by}, train={train}, val={val}, test={test}"
        )
    groups: dict[str, list[str]] = {}
    for source in sources:
        groups.setdefault(_group(source, by), []).append(source.video_id)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen: dict[str, set[str]] = {split: set() for split in layout.SPLITS}
    for split in ("test", "val"):
        room = shares[split] * len(ids)
        for name in order[:]:
            if len(groups[name]) <= room:
                chosen[split].update(groups[name])
                room -= len(groups[name])
                order.remove(name)
        # One more, where that brings the split nearer to its share than leaving it out.
        nearest = min(order, key=lambda name: len(groups[name]), default="")
        if nearest and len(groups[nearest]) <= 2 * room:
            chosen[split].update(groups[nearest])
            order.remove(nearest)
    chosen["train"].update(video_id for name in order for video_id in groups[name])
    if empty := [split for split, share in shares.items() if share > 0 and not chosen[split]]:
        log.warning(
            "split: %d clips of %d %s leave %s empty at %g/%g/%g, so all are in train and nothing is held out%s",
            len(ids), len(groups), {"film": "films", "signer": "signers", "random": "clips"}[by], " and ".join(empty),
            train, val, test, "" if by == "random" else "; split.by=random deals single clips out",
        )  # fmt: skip
        return {"train": ids}
    splits = {split: [name for name in ids if name in names] for split, names in chosen.items() if names}
    log.info("split by %s: %s of %d clips", by, {name: len(part) for name, part in splits.items()}, len(ids))
    return splits


def _group(source: Source, by: str) -> str:
    if by == "film":
        return film_name(source)
    if by == "random":
        return source.video_id
    signer = source.row.get("signer", "").strip()
    if not signer:
        raise ValueError(
            f"split.by=signer: clip {source.video_id!r} has no signer; fill the column `signer` of the table of "
            "captions, or take split.by=film"
        )
    return signer


def film_name(source: Source) -> str:
    """Return the film that a clip was cut from: the column `video` where the table has it, else the file's name."""
    return source.row.get("video", "").strip() or source.film


def write_splits(folder: Path, splits: Mapping[str, Sequence[str]]) -> list[Path]:
    """Write `<split>.csv` for each split and SHA256SUMS beside them (for `sha256sum --check`); return the files."""
    files, sums = [], []
    for name in sorted(splits):
        path = folder / f"{name}.csv"
        layout.write_index(path, splits[name])
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
        files.append(path)
    with layout.atomic(folder / "SHA256SUMS") as file:
        file.write("".join(sums).encode())
    return [*files, folder / "SHA256SUMS"]
