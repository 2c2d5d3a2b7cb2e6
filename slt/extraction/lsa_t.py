"""LSA-T as its authors publish it: their table of clips, and the key points of its signers in `keypoints.h5`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.extraction.source import Fault, Source, parse_seconds
from slt.files import needing
from slt.streams.skeleton import BODY, HAND
from slt.text import plain_name

# Two layouts of the table are about; its first line says which, and with it the separator.
COLUMNS = {
    ";": ("id", "text", "video", "start", "end", "split"),
    ",": ("id", "label", "video", "start", "end", "splits"),
}
# In a row of keypoints.h5, each point with x, y, z and confidence. The right hand comes before the left.
FACE = 468
POINTS = BODY + FACE + 2 * HAND
SIZE = (1920, 1080)  # of the films from which they were taken


def read_table(path: Path) -> Iterator[Source | Fault]:
    """Read the table; its times come from `start` and `end` or, where those were damaged, from `split`.

    `duration` is not read: a spreadsheet damaged it. How many disagree is one fault.
    """
    known = {"duration", "signers_amount", "infered_signer"}.union(*COLUMNS.values())
    table = tables.read_table(path, *COLUMNS.values(), known=known, numbers=("start", "end"), standard=";,")
    names = next((names for names in COLUMNS.values() if set(names) <= set(table.columns)), None)
    if names is None:
        expected = " or ".join(f"`{delimiter.join(names)}`" for delimiter, names in COLUMNS.items())
        raise ValueError(f"{path} line 1: the columns {expected} expected, came {str(table.columns)[:200]}")
    if table.note:
        yield Fault(path.name, "", table.note)
    rows = differs = unread = 0
    for line, cells, error in table.rows:
        if error:
            raise ValueError(f"{path} line {line}: {error}; quotes inside a field are doubled")
        if len(cells) != len(table.columns):
            todo = f"a field that holds `{table.delimiter}` must stand in double quotes"
            raise ValueError(f"{path} line {line}: {len(table.columns)} fields expected, {len(cells)} came; {todo}")
        row = dict(zip(table.columns, cells, strict=True))
        for item in _clips(row, names, f"{path.name} line {line}", path.parent):
            yield item
            if isinstance(item, Source):
                stated, rows = parse_seconds(row.get("duration", "0").strip()), rows + 1
                unread += stated is None
                if stated is not None and "duration" in row:
                    differs += abs(stated - ((item.end or 0) - (item.start or 0))) > 0.01
    if unread or differs:
        reason = (
            f"the column `duration` is no plain number in {unread} of {rows} rows and differs from end - start by more "
            f"than 0.01 s in {differs} more; it is not used"
        )
        yield Fault(path.name, "", reason)


def _clips(row: Mapping[str, str], names: tuple[str, ...], where: str, folder: Path) -> Iterator[Source | Fault]:
    """Yield what is wrong with a row, then its clip, where it is one."""
    name, video, texts = plain_name(row["id"]), plain_name(row["video"]), (row["start"].strip(), row["end"].strip())
    if not video:
        yield Fault(where, name, "no film is named in the column `video`", dropped=True)
        return
    start, end = map(parse_seconds, texts)
    if start is None or end is None:
        reason = f"not both plain numbers: start {texts[0]!r}, end {texts[1]!r}"
        rebuilt = _times_of_lines(row[names[5]])
        if rebuilt is None:
            yield Fault(where, name, f"{reason}, and no times in {names[5]!r}", dropped=True)
            return
        yield Fault(where, name, f"{reason}; times rebuilt from {names[5]!r}")
        start, end = rebuilt
    start, end = round(start, 6), round(end, 6)  # 165.32999999999998 is 165.33
    person = _person(row, folder / where)
    yield Source(name, start=start, end=end, text=row[names[1]], video=video, person=person, where=where)


def _times_of_lines(text: str) -> tuple[float, float] | None:
    """Return the first start and last end of `[(line, start, end), ...]` in Python's spelling; None where it is not."""
    try:
        lines = ast.literal_eval(text.strip())
        times = [(float(start), float(end)) for _, start, end in lines]
        return min(start for start, _ in times), max(end for _, end in times)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _person(row: Mapping[str, str], where: Path) -> int:
    """Return n of the `signer_n` that LSA-T's authors took for the signer; with one person there is nothing to take."""
    text = row.get("infered_signer", "").strip()
    if not text or row.get("signers_amount", "").strip() in ("0", "1"):
        return 0
    if match := re.fullmatch(r"(?:signer_)?(\d{1,9})(?:\.0)?", text, re.ASCII):
        return int(match[1])
    raise ValueError(f"{where}: column `infered_signer` must be signer_0, signer_1, ... or empty, came {text!r}")


# ---------------------------------------------------------------- keypoints.h5


def clip_names(path: Path | str) -> list[str]:
    """Return the ids of the clips in keypoints.h5, whose groups are named `<id>.mp4`."""
    with _opened(Path(path)) as file:
        return [name.removesuffix(".mp4") for name in file]


def read_points(source: Source) -> tuple[NDArray[np.float32], tuple[int, int], float]:
    """Read a clip's signer, (T, 75, 3) of x, y in pixels, confidence, NaN = missing; the picture's size; the rate."""
    group = f"{source.video_id}.mp4"
    with _opened(source.path) as file:
        where = f"{source.path}: {group}"
        clip = file.get(group)
        if clip is None:  # perhaps its name is spelled in another way
            clip = next((file[name] for name in file if plain_name(name) == group), None)
        if clip is None:
            raise ValueError(f"{where}: no such clip among the {len(file)} in this file")
        signer = clip.get(f"signer_{source.person}")
        if signer is None or "keypoints" not in signer:
            raise ValueError(f"{where}: no key points of signer_{source.person}, only of {sorted(clip)}")
        rows = np.asarray(signer["keypoints"])
        size = int(clip.attrs.get("width", SIZE[0])), int(clip.attrs.get("height", SIZE[1]))
    if rows.ndim != 2 or rows.shape[1] != 4 * POINTS or not len(rows) or rows.dtype.kind != "f":
        raise ValueError(
            f"{where}/signer_{source.person}: key points (T, {4 * POINTS}) expected, came {rows.dtype} {rows.shape}"
        )
    if source.start is None or source.end is None or source.end <= source.start:
        raise ValueError(f"{where}: start and end of the clip are needed to know its rate, came {source.row}")
    values = rows.astype(np.float32).reshape(len(rows), POINTS, 4)
    right, left = slice(BODY + FACE, BODY + FACE + HAND), slice(BODY + FACE + HAND, POINTS)
    found = np.concatenate([values[:, :BODY], values[:, left], values[:, right]], axis=1)[..., [0, 1, 3]]
    # Hands have no confidence of their own: they are there or they are not.
    found[:, BODY:, 2] = np.isfinite(found[:, BODY:, :2]).all(-1)
    return found, size, len(rows) / (source.end - source.start)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with needing(f"reading {path.name} needs h5py", extra="media"):
        import h5py
    damage = (OSError, RuntimeError, KeyError, TypeError, AttributeError, MemoryError)  # as h5py says it
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file that can be read ({error}); copy it again") from error
    with file:
        try:
            yield file
        except damage as error:
            raise ValueError(f"{path}: a damaged HDF5 file ({error}); copy it again") from error
