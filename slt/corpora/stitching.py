"""A training clip of which some signs are another clip's: which frames of which clips are shown one after the other.

N clips, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLUMN = "pieces"


class Piece(NamedTuple):
    """A stretch of a clip in which one sign is shown; pieces of one name may stand for each other."""

    name: str
    clip: int
    first: int  # frame on disk
    last: int


class Part(NamedTuple):
    """Frames of one clip, int64 (n,), as they are shown."""

    clip: int
    frames: NDArray[np.int64]


class Stitching:
    """The pieces of a training split, and clips made of them.

    Args:
        told: of each clip its pieces in signed order, `NAME:FIRST-LAST` with frames on disk, parted by blanks; "" =
            not known, such a clip stays as it is.
        lengths: (N,) frames on disk.
    """

    def __init__(self, told: Sequence[str], lengths: NDArray[np.int64]) -> None:
        self.clips = [
            [_piece(text, clip, int(length)) for text in str(each).split()]
            for clip, (each, length) in enumerate(zip(told, lengths, strict=True))
        ]
        self.same: dict[str, list[Piece]] = {}
        for piece in (piece for pieces in self.clips for piece in pieces):
            self.same.setdefault(piece.name, []).append(piece)

    def draw(self, clip: int, frames: int, chance: float, rng: np.random.Generator) -> list[Part]:
        """Return the frames on disk of a clip in which each sign is, by a chance, one of those of its name.

        What lies between two signs stays with the clip.
        """
        parts: list[Part] = []
        begin = 0
        for piece in self.clips[clip]:
            other = self.same[piece.name][rng.integers(len(self.same[piece.name]))] if rng.random() < chance else piece
            if other is not piece:
                parts += [
                    Part(clip, np.arange(begin, piece.first)),
                    Part(other.clip, np.arange(other.first, other.last + 1)),
                ]
                begin = piece.last + 1
        return [part for part in (*parts, Part(clip, np.arange(begin, frames))) if len(part.frames)]


def choose(parts: Sequence[Part], index: NDArray[np.int64]) -> list[Part]:
    """Return what is shown where of all frames of the parts, one after the other, only those of an index are taken."""
    ends = np.cumsum([len(part.frames) for part in parts])
    found = []
    for part, end in zip(parts, ends, strict=True):
        inside = index[(index >= end - len(part.frames)) & (index < end)] - (end - len(part.frames))
        if len(inside):
            found.append(Part(part.clip, part.frames[inside]))
    return found


def _piece(text: str, clip: int, length: int) -> Piece:
    name, _, span = text.rpartition(":")
    first, _, last = span.partition("-")
    if not (name and first.isdecimal() and last.isdecimal() and int(first) <= int(last) < length):
        raise ValueError(
            f"column `{COLUMN}`: NAME:FIRST-LAST with frames from 0 to {length - 1} expected, came {text!r}"
        )
    return Piece(name, clip, int(first), int(last))
