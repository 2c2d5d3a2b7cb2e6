"""The LSA-T folder on disk: the one place that writes and reads its tables, crops, poses and features.

T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from slt.data import tables

log = logging.getLogger(__name__)

REQUIRED_COLUMNS = ("video_id", "texto")
OPTIONAL_COLUMNS = ("gloss", "signer", "film", "video", "start", "end", "fps", "duration", "frame_count", "mirrored")
SPLITS = ("train", "val", "test")
NUMBERS = ("start", "end", "fps", "duration", "frame_count")
NOTE = "note: "
# What How2Sign's authors call them in their tables of cuts; VIDEO_ID is a film there, and is not read.
HOW2SIGN = {"sentence_name": "video_id", "video_name": "video", "sentence": "texto"} | {
    f"{key}{realigned}": key for key in ("start", "end") for realigned in ("", "_realigned")
}
_EMPTY_TEXT = "has an empty texto"
_NOT_IN_IDS = '/\\:*?"<>|;'  # each is refused by some file system, or parts the columns of our tables
_FRAME_NAME = re.compile(r"(.+)_f(\d{6}|[1-9]\d{6,})\.jpg")


@contextmanager
def atomic(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with Path(temporary).open("wb") as file:
            yield file
        Path(temporary).replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------- tables


def write_table(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `subs.csv`: `;`-separated RFC 4180, columns `video_id;texto` first, then those of the first row."""
    rows = list(rows)
    if not rows:
        raise ValueError(f"{path}: no rows to write; a corpus has at least one clip")
    columns = [*REQUIRED_COLUMNS, *(key for key in rows[0] if key not in REQUIRED_COLUMNS)]
    check_columns(Path(path), columns)
    with atomic(path) as file:
        text = _TextLines(file)
        writer = csv.DictWriter(text, columns, delimiter=";", lineterminator="\n")  # raises on a key not in columns
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path | str, *, captions: bool = True) -> list[dict[str, str]]:
    """Read `subs.csv` strictly: one dict of strings a clip, in file order, with the columns of its header.

    Args:
        path: of the table.
        captions: False takes clips without a sentence too, as pretraining does.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming file and line: a column missing, twice or unknown; a row with too few or too many fields; a
            broken quote; an empty text; an id that cannot name files or came before; an encoding that is not known; no
            rows at all.
    """
    rows: list[dict[str, str]] = []
    for _, row, fault in table_rows(path):
        if fault.startswith(NOTE):
            _say_once(fault)
            continue
        if fault and (captions or not lacks_only_text(fault)):
            raise ValueError(fault)
        rows.append(row)
    return rows


@cache
def _say_once(note: str) -> None:
    log.warning(note)


def lacks_only_text(fault: str) -> bool:
    """Whether a fault of `table_rows` is that a clip, otherwise good, has no sentence."""
    return _EMPTY_TEXT in fault


def table_rows(path: Path | str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (line, row, fault) for each row of `subs.csv` and each fault, in file order; fault is "" for a good row.

    A faulty row holds what could be read of it, which may be nothing. A fault that begins with `NOTE` is none: it says
    in which other form than the standard one the table was read.

    Raises:
        FileNotFoundError: no such file.
    """
    path = _existing(path, "the table of clips, `video_id;texto[;...]`")
    try:
        table = _clip_table(path)
    except ValueError as error:
        yield 1, {}, str(error)
        return
    if table.note:
        yield 1, {}, f"{NOTE}{path}: {table.note}"
    yield from ((1, {}, fault) for fault in _column_faults(path, table.columns))
    if not set(REQUIRED_COLUMNS) <= set(table.columns):
        return  # without them no row can be read
    lines: dict[str, int] = {}
    for line, fields, broken in table.rows:
        if broken:
            yield line, {}, _quote_fault(path, line, broken)
            continue
        row = dict(zip(table.columns, fields, strict=False))
        row["video_id"] = row.get("video_id", "").strip()
        yield line, row, _row_fault(path, line, table.columns, fields, row, lines)
    if not table.rows:
        yield 1, {}, f"{path}: a header and no rows; expected at least one clip"


def _clip_table(path: Path) -> tables.Table:
    """Read a table with our columns, or How2Sign's with its columns named as ours."""
    theirs, known = list(HOW2SIGN)[:3], {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *HOW2SIGN}
    table = tables.read_table(path, REQUIRED_COLUMNS, theirs, known=known, numbers=NUMBERS)
    if not set(theirs) <= set(table.columns):
        return table
    places = {place: HOW2SIGN[column] for place, column in enumerate(table.columns) if column in HOW2SIGN}
    width = len(table.columns)
    rows = [
        (line, [fields[place] for place in places], fault)
        if len(fields) == width
        else (line, fields, fault or f"{width} fields expected, {len(fields)} came")
        for line, fields, fault in table.rows
    ]
    return table._replace(columns=list(places.values()), rows=rows)


def id_fault(name: str) -> str:
    """Return why `name` cannot be an id, "" where it can: on every system it names files, and it is a line of its own.

    Letters of any language, blanks, brackets and a leading `-` are fine.
    """
    strange = sorted({sign for sign in name if sign in _NOT_IN_IDS or not sign.isprintable()})
    if strange or name.startswith(".") or name.endswith((".", " ")):
        what = f"no {', '.join(map(repr, strange))}" if strange else "no `.` first, and no `.` or blank last"
        return f"cannot name files on every system; use {what} in it (letters, digits, `_` and `-` are always good)"
    if len(name.encode("utf-8", "replace")) > 200:  # of the 255 bytes of a file name, with room for endings
        return "is too long to name files; use at most 200 bytes"
    return ""


def _quote_fault(path: Path, line: int, error: str) -> str:
    return (
        f"{path} line {line}: {error}; a field that holds `;`, a quote or a line break must stand in "
        'double quotes, with quotes inside it doubled: "a; ""b"""'
    )


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise ValueError, naming the first fault, unless a table of clips may have these columns."""
    for fault in _column_faults(path, columns):
        raise ValueError(fault)


def _column_faults(path: Path, columns: Sequence[str]) -> Iterator[str]:
    for column in REQUIRED_COLUMNS:
        if column not in columns:
            yield f"{path} line 1: no column {column!r}; name the columns `video_id;texto[;...]`, came {columns}"
    for place, column in enumerate(columns):
        if column in columns[:place]:
            yield f"{path} line 1: column {column!r} stands twice; name each column once"
        elif column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS:
            near = difflib.get_close_matches(column, REQUIRED_COLUMNS + OPTIONAL_COLUMNS, 1)
            yield (
                f"{path} line 1: unknown column {column!r}"
                + (f", did you mean {near[0]!r}?" if near else ";")
                + f" Beside `video_id` and `texto` these are read: {', '.join(OPTIONAL_COLUMNS)}; rename or remove it"
            )


def _row_fault(
    path: Path, line: int, columns: list[str], fields: list[str], row: Mapping[str, str], lines: dict[str, int]
) -> str:
    """Return what is wrong with a row, "" where nothing is; `lines` remembers where each id stood first."""
    where = f"{path} line {line}"
    if len(fields) != len(columns):
        todo = (
            'a text that holds `;` must be quoted: id;"one; two"' if len(fields) > len(columns) else "fill the row up"
        )
        return f"{where}: {len(columns)} fields expected, {len(fields)} came ({fields}); {todo}"
    name = row["video_id"]
    if not name:
        return f"{where}: empty video_id; every row names its clip"
    if fault := id_fault(name):
        return f"{where}: video_id {name!r} {fault}"
    if name in lines:
        return f"{where}: video_id {name!r} stands already in line {lines[name]}; ids are unique"
    lines[name] = line
    if not row["texto"].strip():
        return f"{where}: clip {name!r} {_EMPTY_TEXT}; give its sentence or remove the row"
    return ""


class _TextLines:
    """What csv writes to, as utf-8 bytes (a TextIOWrapper would close the atomic file behind its back)."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, text: str) -> int:
        return self.file.write(text.encode("utf-8"))


def write_index(path: Path | str, ids: Iterable[str]) -> None:
    """Write `index/<split>.csv`: the header `video_id`, then one id a line."""
    with atomic(path) as file:
        file.write("\n".join(["video_id", *ids, ""]).encode("utf-8"))


def read_index(path: Path | str) -> list[str]:
    """Read the ids of a split, in file order; the header `video_id` is optional.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the split is empty, an id stands twice, a line holds more than an id, or text that is not utf-8.
    """
    ids: list[str] = []
    for _, name, fault in index_rows(path):
        if fault.startswith(NOTE):
            _say_once(fault)
            continue
        if fault:
            raise ValueError(fault)
        ids.append(name)
    return ids


def index_rows(path: Path | str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, id, fault) for each id of a split and each fault, in file order; fault is "" for a good line.

    A fault that begins with `NOTE` is none, as in `table_rows`.

    Raises:
        FileNotFoundError: no such file.
    """
    path = _existing(path, "the ids of a split, one a line")
    lines: dict[str, int] = {}
    try:
        text, encoding = tables.read_text(path)
    except ValueError as error:
        yield 0, "", str(error)
        return
    if encoding:
        yield 0, "", f"{NOTE}{path}: read as {encoding}, which is not utf-8"
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip().strip('"')
        if not name or (number == 1 and name.lower() == "video_id"):
            continue
        if ";" in name:
            yield number, "", f"{path} line {number}: one id a line expected, came {line!r}"
        elif name in lines:
            fault = f"{path} line {number}: id {name!r} stands already in line {lines[name]}; remove one"
            yield number, name, fault
        else:
            lines[name] = number
            yield number, name, ""
    if not lines:
        yield 0, "", f"{path}: the split is empty; expected one id a line"


def index_faults(folder: Path | str) -> list[str]:
    """Return where `index/` differs from `index/SHA256SUMS` (lines as `sha256sum` writes them); no such file = nothing.

    Args:
        folder: the corpus.
    """
    index = Path(folder) / "index"
    path = index / "SHA256SUMS"
    if not path.is_file():
        return []
    faults, stated = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if match := re.fullmatch(r"([0-9a-fA-F]{64})[ *]+(\S.*)", line):
            stated[match[2]] = match[1].lower()
        elif line.strip():
            faults.append(f"{path} line {number}: `<sha256>  <file>` expected, came {line!r}; write the sums anew")
    todo = "give back the split that was written, or, if it was changed on purpose, delete SHA256SUMS"
    for name, digest in stated.items():
        if not (index / name).is_file():
            faults.append(f"{index / name}: no such file, but {path.name} lists it; {todo}")
        elif (came := hashlib.sha256((index / name).read_bytes()).hexdigest()) != digest:
            faults.append(f"{index / name}: sha256 {digest[:12]} expected by {path.name}, came {came[:12]}; {todo}")
    for name in sorted(f"{split}.csv" for split in SPLITS):
        if (index / name).is_file() and name not in stated:
            faults.append(f"{index / name}: not listed in {path.name}; {todo}")
    return faults


def parse_json(text: str, where: Path | str) -> Any:
    """Read JSON; raise ValueError, naming `where` (file, or file and line), for text that is none or nests too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); was writing it interrupted? Make it anew") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of one JSON object; raise ValueError, naming it, for one that is none."""
    value = parse_json(path.read_text(encoding="utf-8", errors="replace"), path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: keys with values expected, came {type(value).__name__}; make it anew")
    return value


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file (`corpus.json` last of all: its presence means that the folder is complete)."""
    with atomic(path) as file:
        file.write((json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8"))


def write_metadata(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `metadata.jsonl`: one JSON object a clip."""
    with atomic(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))


# ---------------------------------------------------------------- crops


def write_packed(
    path: Path | str,
    frames: NDArray[np.uint8],
    seen: NDArray[np.bool_] | NDArray[np.uint8],
    *,
    encoding: str,
    quality: int,
    extractor: str,
) -> None:
    """Write one stream of one clip as `<id>.safetensors`.

    Args:
        frames: RGB squares, uint8 (T, R, R, 3). What is not seen is written black.
        seen: bool (T,), True where the crop shows what its stream is named for; or uint8 marks (T,), 0 = not seen,
            1 = detected, 2 = followed (`slt.data.pose`).
        encoding: "raw" (fast, for small crops) or "jpeg" (small files).
        quality: JPEG quality, 1..100; unused by "raw".
        extractor: fingerprint of what made the crops.
    """
    path = Path(path)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (frames.shape[1], frames.shape[1], 3):
        raise ValueError(f"{path}: crops must be uint8 (T, R, R, 3), came {frames.dtype} {frames.shape}")
    if len(frames) == 0 or len(seen) != len(frames):
        raise ValueError(f"{path}: {len(frames)} frames and {len(seen)} seen marks; expected as many, at least one")
    marks = np.asarray(seen).astype(np.uint8)
    frames = np.where(marks[:, None, None, None] > 0, frames, np.uint8(0))
    if encoding == "raw":
        blocks: Iterable[Any] = [np.ascontiguousarray(frames).data.cast("B")]
        offsets = None
    elif encoding == "jpeg":
        blocks = [encode_jpeg(frame, quality) for frame in frames]
        offsets = np.cumsum([0, *map(len, blocks)], dtype=np.int64)
    else:
        raise ValueError(f"{path}: encoding must be 'raw' or 'jpeg', came {encoding!r}")
    with atomic(path) as file:
        write_packed_blocks(file, blocks, marks, offsets=offsets, size=frames.shape[1], extractor=extractor)


def write_packed_blocks(
    file: IO[bytes],
    blocks: Iterable[Any],
    marks: NDArray[np.uint8],
    *,
    offsets: NDArray[np.int64] | None,
    size: int,
    extractor: str,
) -> None:
    """Write packed crops whose pixels or JPEGs come as blocks of bytes, so that a long clip is never in memory.

    The format is that of huggingface/safetensors with its header in a fixed order: the library's own writer orders the
    metadata by a hash that changes from process to process, so that the same seed would not give the same file.

    Args:
        file: opened for writing.
        blocks: what all crops are, one behind the other.
        marks: uint8 (T,).
        offsets: of the T JPEGs, int64 (T + 1,); None = raw pixels.
        size: crop side R.
        extractor: fingerprint of what made the crops.
    """
    tensors: list[tuple[str, str, list[int], int, Iterable[Any]]] = []  # wide types first: all stay aligned
    if offsets is None:
        tensors.append(("frames", "U8", [len(marks), size, size, 3], len(marks) * size * size * 3, blocks))
    else:
        tensors.append(("offsets", "I64", [len(offsets)], offsets.nbytes, [offsets.data.cast("B")]))
        tensors.append(("jpeg", "U8", [int(offsets[-1])], int(offsets[-1]), blocks))
    tensors.append(("seen", "U8", [len(marks)], len(marks), [marks.data.cast("B")]))
    encoding = "raw" if offsets is None else "jpeg"
    header: dict[str, Any] = {"__metadata__": {"encoding": encoding, "size": str(size), "extractor": extractor}}
    begin = 0
    for name, dtype, shape, length, _ in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + length]}
        begin += length
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name, _, _, length, pieces in tensors:
        written = sum(file.write(piece) for piece in pieces)
        assert written == length, (name, written, length)


class PackedCrops:
    """One packed stream of one clip: random access to its frames without reading the others.

    Attributes:
        length: frames T.
        marks: as stored, uint8 (T,): 0 not seen, 1 detected, 2 followed (`slt.data.pose`).
        seen: marks above 0, bool (T,).
        size: crop side R in pixels.
        encoding: "raw" or "jpeg".
        extractor: fingerprint of what made the crops ("" if the file does not say).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file of this layout, or cut short.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = _existing(path, "the packed crops of a clip")
        try:
            self._file = _open_safetensors(self.path)
            metadata = self._file.metadata() or {}
            self.marks: NDArray[np.uint8] = self._file.get_tensor("seen")
            self.seen: NDArray[np.bool_] = self.marks.astype(bool)
            self.encoding = metadata.get("encoding", "")
            self.size = int(metadata.get("size", 0))
            self.extractor = metadata.get("extractor", "")
            stored = self._file.get_slice("frames" if self.encoding == "raw" else "offsets")
            found = (stored.get_dtype(), *stored.get_shape())
            if self.encoding != "raw":
                self._file.get_slice("jpeg")  # raises where it is not there
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(
                f"{self.path}: not a readable clip of packed crops ({str(error)[:300]}); expected safetensors with "
                "`seen` and `frames`, or `jpeg` and `offsets`; write it anew"
            ) from error
        self.length = len(self.seen)
        raw = self.encoding == "raw"
        expected = ("U8", self.length, self.size, self.size, 3) if raw else ("I64", self.length + 1)
        if found != expected or self.length == 0 or self.size == 0:
            raise ValueError(
                f"{self.path}: {self.length} seen marks, size {self.size} and encoding {self.encoding!r} do not fit "
                f"what is stored, {found}; expected {expected} and at least one frame; write it anew"
            )

    def frames(self, index: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the frames of `index` (n,), in its order and with its repeats, as RGB uint8 (n, R, R, 3)."""
        index = np.asarray(index)
        if len(index) == 0:
            return np.zeros((0, self.size, self.size, 3), np.uint8)
        low, high = int(index.min()), int(index.max()) + 1
        if self.encoding == "raw":
            block: NDArray[np.uint8] = self._file.get_slice("frames")[low:high]
            return np.asarray(block[index - low])
        offsets = self._file.get_slice("offsets")[low : high + 1]
        try:
            data = self._file.get_slice("jpeg")[int(offsets[0]) : int(offsets[-1])]
        except (SafetensorError, OverflowError) as error:
            raise ValueError(
                f"{self.path} frame {low}: `offsets` do not fit the JPEGs ({error}); write it anew"
            ) from error
        offsets = offsets - offsets[0]
        out = np.zeros((len(index), self.size, self.size, 3), np.uint8)
        for place, t in enumerate(index - low):
            out[place] = decode_jpeg(data[offsets[t] : offsets[t + 1]], f"{self.path} frame {t + low}", self.size)
        return out


def _open_safetensors(path: Path) -> Any:
    return safe_open(str(path), framework="np")


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Encode one RGB picture (R, R, 3)."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def decode_jpeg(data: NDArray[np.uint8] | bytes, where: str, size: int | None) -> NDArray[np.uint8]:
    """Decode one JPEG to an RGB square (R, R, 3), R = `size` where that is given.

    Raises:
        ValueError: naming `where`: not a JPEG, cut short, not square or of another size.
    """
    raw = bytes(data)
    # OpenCV fills a cut picture up with grey and only prints a warning, so both ends are looked at here.
    if raw[:2] != b"\xff\xd8":
        raise ValueError(f"{where}: not a JPEG (it starts with {raw[:8]!r}); write this picture anew")
    if raw.rstrip(b"\0")[-2:] != b"\xff\xd9":
        raise ValueError(f"{where}: a truncated JPEG ({len(raw)} bytes and no end mark); write this picture anew")
    try:
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than any picture has, see slt/__init__.py
        picture = None
    if picture is None:
        raise ValueError(f"{where}: a JPEG that cannot be decoded; write this picture anew")
    height, width = picture.shape[:2]
    if height != width or (size is not None and size != width):
        side = f"{size} x {size}" if size is not None else "square"
        raise ValueError(f"{where}: a crop must be {side}, came {width} x {height}; crop it anew")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def frame_path(folder: Path | str, video_id: str, t: int) -> Path:
    """Return the file of frame `t` in the one-JPEG-per-frame form."""
    return Path(folder) / f"{video_id}_f{t:06d}.jpg"


def parse_frame_name(name: str) -> tuple[str, int] | None:
    """Split `<id>_f000012.jpg` into (id, 12); None for any other file name."""
    match = _FRAME_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def write_frames(folder: Path | str, video_id: str, frames: NDArray[np.uint8], *, quality: int) -> None:
    """Write RGB crops uint8 (T, R, R, 3) in the one-JPEG-per-frame form."""
    for t, frame in enumerate(frames):
        with atomic(frame_path(folder, video_id, t)) as file:
            file.write(encode_jpeg(frame, quality))


# ---------------------------------------------------------------- pose and features


class PoseClip(NamedTuple):
    """The pose of a clip.

    Attributes:
        points: float32 (T, K, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1].
        size: picture width and height in pixels; (1, 1) where the file does not say, that is a square picture.
        seen: seen marks bool (T,) of crop streams, by folder, where the file holds them.
    """

    points: NDArray[np.float32]
    size: tuple[int, int]
    seen: dict[str, NDArray[np.bool_]]


def write_pose(
    path: Path | str,
    pose: NDArray[np.floating[Any]],
    *,
    size: tuple[int, int] | None,
    seen: Mapping[str, NDArray[np.bool_] | NDArray[np.uint8]] | None,
    boxes: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> None:
    """Write `pose/<id>.npz` from (T, K, 3).

    Args:
        pose: x, y in [0, 1] of the picture's width and height, confidence in [0, 1]: 0 = not detected.
        size: the picture's (width, height) in pixels; None = square.
        seen: seen marks (T,), bool or uint8, of crop streams by folder, for crops that are written one JPEG a frame.
        boxes: centre x, y and side (T, 3) of crop streams by folder, in pixels of the picture; 0 where not seen.
    """
    path = Path(path)
    if pose.ndim != 3 or pose.shape[2] != 3 or 0 in pose.shape:
        raise ValueError(f"{path}: a pose must be (T, K, 3) with at least one frame and point, came {pose.shape}")
    rows = np.ascontiguousarray(pose, np.float32).reshape(len(pose), -1)
    for fault in pose_faults(path, {"pose": rows}):
        raise ValueError(fault)
    for folder, marks in (seen or {}).items():
        if len(marks) != len(pose):
            raise ValueError(f"{path}: {len(marks)} seen marks of {folder!r} for {len(pose)} frames; expected as many")
    with atomic(path) as file:
        write_pose_blocks(file, [rows.data.cast("B")], rows.shape, size=size, seen=seen or {}, boxes=boxes or {})


def write_pose_blocks(
    file: IO[bytes],
    blocks: Iterable[Any],
    shape: tuple[int, ...],
    *,
    size: tuple[int, int] | None,
    seen: Mapping[str, NDArray[Any]],
    boxes: Mapping[str, NDArray[Any]],
) -> None:
    """Write a pose file, as `np.savez` does, whose float32 rows come as blocks of bytes; `shape` is (T, 3K)."""
    arrays: dict[str, NDArray[Any]] = {"size": np.asarray(size, np.int32)} if size is not None else {}
    arrays |= {f"seen_{folder}": np.asarray(marks, np.uint8) for folder, marks in seen.items()}
    arrays |= {f"box_{folder}": np.asarray(box, np.float32) for folder, box in boxes.items()}
    with zipfile.ZipFile(file, "w") as archive:
        # A file past 2 GiB is allowed by force_zip64 alone: its length is not known when its entry is begun.
        with archive.open("pose.npy", "w", force_zip64=True) as part:
            stated = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(part, stated)
            written = sum(part.write(block) for block in blocks)
            assert written == 4 * shape[0] * shape[1], (written, shape)
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.ascontiguousarray(value), allow_pickle=False)


def read_pose(path: Path | str) -> PoseClip:
    """Read `pose/<id>.npz`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npz, pickled content, no key `pose`, a shape other than (T, 3K), NaN, a confidence outside
            [0, 1], or seen marks of another length.
    """
    arrays = pose_arrays(path)
    for fault in pose_faults(path, arrays):
        raise ValueError(fault)
    pose, size = arrays["pose"].astype(np.float32, copy=False), arrays.get("size", np.ones(2, int))
    seen = {key[5:]: value.astype(bool) for key, value in arrays.items() if key.startswith("seen_")}
    return PoseClip(pose.reshape(len(pose), -1, 3), (int(size[0]), int(size[1])), seen)


def pose_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Return all arrays of `pose/<id>.npz` as they are stored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npz, or pickled content.
    """
    path = _existing(path, "the pose of a clip")
    with _readable_array(path), _archive(path), np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def pose_faults(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield all that is wrong with the arrays of a pose file; nothing = it can be read."""
    if "pose" not in arrays:
        yield f"{path}: no key 'pose'; expected `pose` of (T, 3 x landmarks), came the keys {sorted(arrays)}"
        return
    for key, values in arrays.items():
        if getattr(values, "dtype", np.dtype(object)).kind not in "biuf":  # bytes, where a name does not end in .npy
            yield f"{path}: `{key}` holds no numbers; write it anew with plain arrays"
            return
    pose = arrays["pose"]
    if pose.ndim != 2 or pose.shape[1] % 3 or 0 in pose.shape or not np.issubdtype(pose.dtype, np.floating):
        yield (
            f"{path}: key `pose` must be float32 (T, 3 x landmarks) with at least one frame, "
            f"came {pose.dtype} {pose.shape}"
        )
        return
    bad = np.flatnonzero(~np.isfinite(pose).all(1))
    if len(bad):
        yield (
            f"{path}: key `pose` holds NaN or infinity in frame {bad[0]} ({len(bad)} frames in all); "
            "a point that was not detected has confidence 0 and any finite x, y"
        )
    confidence = pose[:, 2::3][np.isfinite(pose[:, 2::3])]
    if confidence.size and (confidence.min() < 0 or confidence.max() > 1.0001):  # room for float16 and averaging
        yield (
            f"{path}: key `pose` holds confidences from {confidence.min():.4g} to {confidence.max():.4g} (every third "
            "column); expected [0, 1]"
        )
    size = arrays.get("size", np.ones(2, int))
    if size.shape != (2,) or not (size > 0).all():
        yield f"{path}: `size` must be the picture's (width, height) in pixels, came {size.tolist()}"
    for key, marks in arrays.items():
        if key.startswith("seen_") and marks.shape != (len(pose),):
            yield f"{path}: `{key}` must be ({len(pose)},) like the pose, came {marks.shape}"
        if key.startswith("box_") and (marks.shape != (len(pose), 3) or not np.isfinite(marks).all()):
            yield f"{path}: `{key}` must be ({len(pose)}, 3) of finite numbers, x, y and side; came {marks.shape}"


def read_seen(path: Path, folder: str) -> NDArray[np.bool_] | None:
    """Return the seen marks (T,) that a pose file holds for a crop folder; None where it holds none, or is absent."""
    if not path.exists():
        return None
    with _readable_array(path), _archive(path), np.load(path, allow_pickle=False) as file:
        marks = np.asarray(file[f"seen_{folder}"], bool) if f"seen_{folder}" in file.files else None
    if marks is not None and marks.ndim != 1:
        raise ValueError(f"{path}: `seen_{folder}` must be (T,), came {marks.shape}; extract it anew")
    return marks


def pose_shape(path: Path | str) -> tuple[int, int]:
    """Return the frames T and landmarks K of `pose/<id>.npz` from its header alone; errors as in `read_pose`."""
    path = _existing(path, "the pose of a clip")
    with _readable_array(path), zipfile.ZipFile(path) as archive:
        if "pose.npy" not in archive.namelist():
            keys = sorted(name.removesuffix(".npy") for name in archive.namelist())
            raise KeyError(f"no key 'pose', only {keys}")
        with archive.open("pose.npy") as file:
            version = np.lib.format.read_magic(file)
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = reader(file)
    if len(shape) != 2 or shape[1] % 3 or 0 in shape or dtype.kind != "f":
        raise ValueError(f"{path}: key `pose` must be float32 (T, 3 x landmarks), T > 0, came {dtype} {shape}")
    return int(shape[0]), int(shape[1]) // 3


def write_features(path: Path | str, features: NDArray[np.floating[Any]]) -> None:
    """Write `<folder>/<id>.npy` from float32 or float16 (T, F); a row of NaN = not seen."""
    if features.ndim != 2 or 0 in features.shape or features.dtype not in (np.float32, np.float16):
        raise ValueError(f"{path}: features must be float32 or float16 (T, F), came {features.dtype} {features.shape}")
    with atomic(path) as file:
        np.save(file, features, allow_pickle=False)


def open_features(path: Path | str) -> NDArray[np.floating[Any]]:
    """Map `<folder>/<id>.npy` of (T, F) into memory without copying it; a row of NaN = not seen."""
    path = _existing(path, "the features of a clip")
    with _readable_array(path):
        features: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": torch warns at "r"
        shape, dtype = features.shape, features.dtype
    if len(shape) != 2 or 0 in shape or dtype not in (np.float32, np.float16):
        raise ValueError(f"{path}: features must be float32 or float16 (T, F) with T, F > 0, came {dtype} {shape}")
    return features


@contextmanager
def _readable_array(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # numpy and zipfile meet damaged bytes with any error there is, tokenize's among them
        reason = "pickled content, which is never loaded" if "allow_pickle" in str(error) else str(error)
        raise ValueError(f"{path}: not a readable numpy file ({reason}); write it anew with plain arrays") from error


@contextmanager
def _archive(path: Path) -> Iterator[None]:
    """Refuse what is no zip, and a zip that would unpack to far more than arrays of clips do."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > max(2**28, 20 * path.stat().st_size):  # 256 MB are the poses of three hours
            raise ValueError(f"it unpacks to {size} bytes, over 20 times its own size")
    yield


def _existing(path: Path | str, what: str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    return path
