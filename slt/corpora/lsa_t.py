"""LSA-T as its authors publish it: their table of clips, and the key points of its signers in `keypoints.h5`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.published import Published, below
from slt.corpora.splits import split_of
from slt.corpora.tables import parse_seconds
from slt.files import needing, read_json, write_json
from slt.streams.arrays import write_pose
from slt.streams.pose_format import as_shares
from slt.streams.skeleton import BODY, HAND, MEDIAPIPE
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


class Clip(NamedTuple):
    """A row of the table."""

    id: str
    text: str
    film: str
    start: float  # seconds
    end: float
    person: int  # n of the `signer_n` that the authors took for the signer
    where: str  # file and line


class Oddity(NamedTuple):
    """What does not fit in a row, or in the table as a whole."""

    where: str
    id: str  # "" where there is none
    reason: str
    dropped: bool = False  # True: the row is no clip


def read_table(path: Path) -> Iterator[Clip | Oddity]:
    """Read the table; its times come from `start` and `end` or, where those were damaged, from `split`.

    `duration` is not read: a spreadsheet damaged it. How many disagree is one oddity.
    """
    known = {"duration", "signers_amount", "infered_signer"}.union(*COLUMNS.values())
    table = tables.read_table(path, *COLUMNS.values(), known=known, numbers=("start", "end"), standard=";,")
    names = next((names for names in COLUMNS.values() if set(names) <= set(table.columns)), None)
    if names is None:
        expected = " or ".join(f"`{delimiter.join(names)}`" for delimiter, names in COLUMNS.items())
        raise ValueError(f"{path} line 1: the columns {expected} expected, came {str(table.columns)[:200]}")
    if table.note:
        yield Oddity(path.name, "", table.note)
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
            if isinstance(item, Clip):
                stated, rows = parse_seconds(row.get("duration", "0").strip()), rows + 1
                unread += stated is None
                if stated is not None and "duration" in row:
                    differs += abs(stated - (item.end - item.start)) > 0.01
    if unread or differs:
        reason = (
            f"the column `duration` is no plain number in {unread} of {rows} rows and differs from end - start by more "
            f"than 0.01 s in {differs} more; it is not used"
        )
        yield Oddity(path.name, "", reason)


def _clips(row: Mapping[str, str], names: tuple[str, ...], where: str, folder: Path) -> Iterator[Clip | Oddity]:
    """Yield what is wrong with a row, then its clip, where it is one."""
    name, video, texts = plain_name(row["id"]), plain_name(row["video"]), (row["start"].strip(), row["end"].strip())
    if not video:
        yield Oddity(where, name, "no film is named in the column `video`", dropped=True)
        return
    start, end = map(parse_seconds, texts)
    if start is None or end is None:
        reason = f"not both plain numbers: start {texts[0]!r}, end {texts[1]!r}"
        rebuilt = _times_of_lines(row[names[5]])
        if rebuilt is None:
            yield Oddity(where, name, f"{reason}, and no times in {names[5]!r}", dropped=True)
            return
        yield Oddity(where, name, f"{reason}; times rebuilt from {names[5]!r}")
        start, end = rebuilt
    start, end = round(start, 6), round(end, 6)  # 165.32999999999998 is 165.33
    yield Clip(name, row[names[1]], video, start, end, _person(row, folder / where), where)


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
    with opened(Path(path)) as file:
        return [name.removesuffix(".mp4") for name in file]


def read_points(
    file: Any, name: str, person: int, where: str, *, face: bool = False
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Read a person of a clip from an `opened` file: (T, 75, 3) of x, y in pixels, confidence, NaN = missing; and size.

    With `face` the points are 543, those of `mediapipe_543`.
    ValueError, naming `where`, for a clip or person that is not there, and for other points than LSA-T's.
    """
    group = f"{name}.mp4"
    where = f"{where}: {group}"
    clip = file.get(group)
    if clip is None:  # perhaps its name is spelled in another way
        clip = next((file[other] for other in file if plain_name(other) == group), None)
    if clip is None:
        raise ValueError(f"{where}: no such clip among the {len(file)} in this file")
    signer = clip.get(f"signer_{person}")
    if signer is None or "keypoints" not in signer:
        raise ValueError(f"{where}: no key points of signer_{person}, only of {sorted(clip)}")
    rows = np.asarray(signer["keypoints"])
    size = int(clip.attrs.get("width", SIZE[0])), int(clip.attrs.get("height", SIZE[1]))
    if rows.ndim != 2 or rows.shape[1] != 4 * POINTS or not len(rows) or rows.dtype.kind != "f":
        raise ValueError(
            f"{where}/signer_{person}: key points (T, {4 * POINTS}) expected, came {rows.dtype} {rows.shape}"
        )
    values = rows.astype(np.float32).reshape(len(rows), POINTS, 4)
    right, left = slice(BODY + FACE, BODY + FACE + HAND), slice(BODY + FACE + HAND, POINTS)
    body = values[:, : BODY + FACE * face]
    found = np.concatenate([body, values[:, left], values[:, right]], axis=1)[..., [0, 1, 3]]
    # Hands and the face have no confidence of their own: they are there or they are not.
    found[:, BODY:, 2] = np.isfinite(found[:, BODY:, :2]).all(-1)
    return found, size


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open keypoints.h5; whatever is damaged in it, then or later, is a ValueError that names the file."""
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


# ---------------------------------------------------------------- the corpus


class LsaT(Published):
    """LSA-T (Dal Bianco et al., IBERAMIA 2022) without its films: `meta.csv` and `keypoints.h5`.

    The points of the person whom the authors took for the signer go to the cache as `pose/<id>.npz`. The authors divide
    the clips of each film 80 to 20, so that every film is on both sides; here films are divided, 80 : 10 : 10, by the
    sha256 of their names (`slt.corpora.splits.split_of`), which is written nowhere else.

    Args:
        root: the folder of both.
        face: whether the 468 points of the face are kept too; the cache is then seven times as large.
    """

    expects = "meta.csv and keypoints.h5"
    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}  # another split than the authors'
    _folder: Path | None = None
    _clips: list[Clip] | None = None

    def __init__(self, root: Path | str, *, face: bool = False) -> None:
        super().__init__(root)
        self.face = face

    @property
    def root(self) -> Path:
        if self._folder is None:
            table, points = self.file("meta.csv"), self.file("keypoints.h5")
            settings = {"face": True} if self.face else None
            self._folder = self.unpacked(
                [table, points], lambda folder: _unpack(self.clips, points, folder, face=self.face), settings
            )
            if faults := read_json(self._folder / "clips.json")["faults"]:
                self.notes.append(f"{len(faults)} clips have no key points that can be used, the first: {faults[0]}")
        return self._folder

    @property
    def clips(self) -> list[Clip]:
        """The rows of the table that are clips; what is odd about the others goes to the notes."""
        if self._clips is None:
            items = [*read_table(self.file("meta.csv"))]
            self._clips = [item for item in items if isinstance(item, Clip)]
            odd = [item for item in items if isinstance(item, Oddity)]
            self.notes += [f"{item.where}: {item.reason}" for item in odd if not item.id and not item.dropped]
            for said, some in (
                ("rows are no clips", [item for item in odd if item.dropped]),
                ("rows have damaged times", [item for item in odd if item.id and not item.dropped]),
            ):
                if some:
                    self.notes.append(f"{len(some)} {said}, the first {some[0].where}: {some[0].reason}")
        return self._clips

    def read(self, split: str) -> Iterator[Row]:
        fps = read_json(self.root / "clips.json")["fps"]
        for clip in self.clips:
            if split_of(clip.film, val=0.1, test=0.1) == split:
                times = {"start": f"{clip.start:g}", "end": f"{clip.end:g}", "fps": fps.get(clip.id, "")}
                yield Row(clip.id, clip.text, {"film": clip.film, **times})


def _unpack(clips: list[Clip], path: Path, folder: Path, *, face: bool) -> None:
    """Write the pose of each clip, its rate, and which clips have none that can be used."""
    fps: dict[str, str] = {}
    faults: list[str] = []
    with opened(path) as file:
        for clip in clips:
            where = below(folder / "pose", clip.id, ".npz")
            try:
                points, size = read_points(file, clip.id, clip.person, str(path), face=face)
                pose = as_shares(points, size, f"{path}: {clip.id}.mp4/signer_{clip.person}")
            except ValueError as error:
                faults.append(f"{clip.where}: {error}")
                continue
            write_pose(where, pose, size=size, seen=None, skeleton="mediapipe_543" if face else MEDIAPIPE.name)
            if clip.end > clip.start:
                fps[clip.id] = f"{len(pose) / (clip.end - clip.start):.6g}"
    if not fps:
        raise ValueError(f"{path}: no clip of meta.csv has key points here; {faults[0] if faults else 'no clips'}")
    write_json(folder / "clips.json", {"fps": fps, "faults": faults})
