"""Which clip comes before which in the same film, for decoders that read what was said before.

N clips of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("film", "start")


def before_in_film(ids: Any, columns: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the place of the clip before each in its film, int64 (N,), by the column `start`, in seconds.

    It is -1 of a film's first, of a clip whose film or start is empty, and of all where the corpus lacks the columns.
    Clips that start together follow each other as their rows do.
    """
    before = np.full(len(ids), -1, np.int64)
    if not {*COLUMNS} <= columns.keys():
        return before
    last: dict[str, int] = {}
    times = [_seconds(name, text) for name, text in zip(ids, columns["start"], strict=True)]
    for place in np.argsort(times, kind="stable").tolist():  # NaN, of no start, comes last
        film = str(columns["film"][place])
        if film and not np.isnan(times[place]):
            before[place] = last.get(film, -1)
            last[film] = place
    return before


def film_turns(before: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place of the first clip of each one's film, and how many come before it there, (N,) each."""
    first, turns, earlier = np.arange(len(before)), np.zeros(len(before), np.int64), before
    while (there := earlier >= 0).any():
        first, turns = np.where(there, earlier, first), turns + there
        earlier = np.where(there, before[earlier], -1)
    return first, turns


def _seconds(name: str, text: str) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        raise ValueError(f"clip {name!r} has start {text!r}; expected seconds, or nothing") from None
