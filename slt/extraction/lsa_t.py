"""LSA-T's table and key points (slt/corpora/lsa_t.py) as sources of extraction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slt.corpora import lsa_t
from slt.extraction.source import Fault, Source


def read_table(path: Path) -> Iterator[Source | Fault]:
    """Read the table as `slt.corpora.lsa_t.read_table` does."""
    for item in lsa_t.read_table(path):
        if isinstance(item, lsa_t.Oddity):
            yield Fault(item.where, item.id, item.reason, dropped=item.dropped)
        else:
            name, text, video, start, end, person, where = item
            yield Source(name, start=start, end=end, text=text, video=video, person=person, where=where)


def read_points(source: Source) -> tuple[NDArray[np.float32], tuple[int, int], float]:
    """Read a clip's signer, (T, 75, 3) of x, y in pixels, confidence, NaN = missing; the picture's size; the rate."""
    with lsa_t.opened(source.path) as file:
        points, size = lsa_t.read_points(file, source.video_id, source.person, str(source.path))
    if source.start is None or source.end is None or source.end <= source.start:
        where = f"{source.path}: {source.video_id}.mp4"
        raise ValueError(f"{where}: start and end of the clip are needed to know its rate, came {source.row}")
    return points, size, len(points) / (source.end - source.start)
