"""The tables of a corpus on disk: `subs.csv`, the splits in `index/` and `metadata.jsonl`."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from slt.corpora import tables
from slt.files import TextLines, atomic, existing, sha256
from slt.streams.stream import Say
from slt.text import near

log = logging.getLogger(__name__)
REQUIRED_COLUMNS = ("video_id", "texto")
OPTIONAL_COLUMNS = ("gloss", "signer", "film", "video", "start", "end", "fps", "duration", "frame_count", "mirrored",
                    "consent", "date", "pieces")  # fmt: skip
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
SPLITS = ("train", "val", "test")
NUMBERS = ("start", "end", "fps", "duration", "frame_count")
NOTE = "note: "
# What How2Sign's authors call them in their tables of cuts; VIDEO_ID is a film there, and is not read.
HOW2SIGN = {"sentence_name": "video_id", "video_name": "video", "sentence": "texto"} | {
    f"{key}{realigned}": key for key in ("start", "end") for realigned in ("", "_realigned")
}
_EMPTY_TEXT = "has an empty texto"
_NOT_IN_IDS = '/\\:*?"<>|;'  # each is refused by some file system, or parts the columns of our tables


def write_table(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `subs.csv`: `;`-separated RFC 4180, columns `video_id;texto` first, then those of the first row."""
    rows = list(rows)
    if not rows:
        raise ValueError(f"{path}: no rows to write; a corpus has at least one clip")
    columns = [*REQUIRED_COLUMNS, *(key for key in rows[0] if key not in REQUIRED_COLUMNS)]
    for fault in _column_faults(path, columns):
        raise ValueError(fault)
    with atomic(path) as file:
        text = TextLines(file)
        writer = csv.DictWriter(text, columns, delimiter=";", lineterminator="\n")  # raises on a key not in columns
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path | str, *, captions: bool = True) -> list[dict[str, str]]:
    """Read `subs.csv` and raise its first fault; `captions=False` takes clips without a sentence too."""
    rows: list[dict[str, str]] = []
    for _, row, fault in table_rows(path):
        if fault and (captions or not lacks_only_text(fault)):
            refuse("table", fault)
        if not fault.startswith(NOTE):
            rows.append(row)
    return rows


def refuse(kind: str, fault: str) -> None:
    """Raise a fault of whoever lists them, and log a note once."""
    if not fault.startswith(NOTE):
        raise ValueError(fault)
    _say_once(fault)


@cache
def _say_once(note: str) -> None:
    log.warning(note)


def lacks_only_text(fault: str) -> bool:
    """Tell whether a fault of `table_rows` is that a clip, otherwise good, has no sentence."""
    return _EMPTY_TEXT in fault


def table_rows(path: Path | str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (line, row, fault) for each row of `subs.csv` and each fault, in file order; fault is "" for a good row.

    A faulty row holds what could be read of it. A fault that begins with `NOTE` is none: it says in which other form
    than the standard one the table was read.
    """
    path = existing(path, "the table of clips, `video_id;texto[;...]`")
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
            todo = 'a field with `;`, quotes or a line break must stand in double quotes, its own doubled: "a; ""b"""'
            yield line, {}, f"{path} line {line}: {broken}; {todo}"
            continue
        row = dict(zip(table.columns, fields, strict=False))
        row["video_id"] = row.get("video_id", "").strip()
        yield line, row, _row_fault(path, line, table.columns, fields, row, lines)
    if not table.rows:
        yield 1, {}, f"{path}: a header and no rows; expected at least one clip"


def _clip_table(path: Path) -> tables.Table:
    """Read a table with our columns, or How2Sign's with its columns named as ours."""
    theirs, known = list(HOW2SIGN)[:3], {*COLUMNS, *HOW2SIGN}
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
    """Return why a name cannot be an id, "" where it can: it names files on every system, and is a line of its own."""
    strange = sorted({sign for sign in name if sign in _NOT_IN_IDS or not sign.isprintable()})
    if strange or name.startswith(".") or name.endswith((".", " ")):
        what = f"no {', '.join(map(repr, strange))}" if strange else "no `.` first, and no `.` or blank last"
        return f"cannot name files on every system; use {what} in it (letters, digits, `_` and `-` are always good)"
    if len(name.encode("utf-8", "replace")) > 200:  # of the 255 bytes of a file name, with room for endings
        return "is too long to name files; use at most 200 bytes"
    return ""


def file_name(name: str) -> str:
    """Return what the files of a clip are called, whatever its id: signs that `id_fault` refuses are `_`."""
    plain = "".join("_" if sign in _NOT_IN_IDS or not sign.isprintable() else sign for sign in name)
    return re.sub(r"^\.|[. ]$", "_", plain)


def _column_faults(path: Path | str, columns: Sequence[str]) -> Iterator[str]:
    for column in REQUIRED_COLUMNS:
        if column not in columns:
            yield f"{path} line 1: no column {column!r}; name the columns `video_id;texto[;...]`, came {columns}"
    for place, column in enumerate(columns):
        if column in columns[:place]:
            yield f"{path} line 1: column {column!r} stands twice; name each column once"
        elif column not in COLUMNS:
            yield (
                f"{path} line 1: unknown column {column!r}; beside `video_id` and `texto` these are read: "
                f"{', '.join(OPTIONAL_COLUMNS)}; rename or remove it{near(column, COLUMNS)}"
            )


def _row_fault(
    path: Path, line: int, columns: list[str], fields: list[str], row: Mapping[str, str], lines: dict[str, int]
) -> str:
    """Return what is wrong with a row, "" where nothing is; `lines` remembers where each id stood first."""
    where = f"{path} line {line}"
    if len(fields) != len(columns):
        todo = 'a text that holds `;` must be quoted: id;"one; two"' if len(fields) > len(columns) else "fill it up"
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


def write_index(path: Path | str, ids: Iterable[str]) -> None:
    """Write `index/<split>.csv`: the header `video_id`, then one id a line."""
    with atomic(path) as file:
        file.write("\n".join(["video_id", *ids, ""]).encode("utf-8"))


def read_index(path: Path | str) -> list[str]:
    """Read the ids of a split in file order, and raise the first fault."""
    ids: list[str] = []
    for _, name, fault in index_rows(path):
        if fault:
            refuse("index", fault)
        if name:
            ids.append(name)
    return ids


def read_splits(root: Path, table: Mapping[str, Any], say: Say, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the ids of those splits of `names` that there are, and say every fault in them and between them."""
    for fault in index_faults(root):
        say("index: SHA256SUMS", fault)
    splits: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    strange = 0
    for split in names:
        path = root / "index" / f"{split}.csv"
        if not path.is_file():
            continue
        splits[split] = []
        for line, name, fault in index_rows(path):
            if fault:
                say("index", fault)
            if not name:
                continue
            splits[split].append(name)
            if table and name not in table:
                hint = "" if strange else near(name, table)  # of the first alone: it looks through the whole table
                strange += 1
                todo = f"add the row, or take it out{hint}"
                say("index: ids", f"{path} line {line}: id {name!r} has no row in subs.csv; {todo}")
            if split in SPLITS and where.setdefault(name, path.name) != path.name:
                todo = "a clip belongs to one split, or scores mean nothing: take it out of one"
                say("index: splits", f"{path} line {line}: clip {name!r} stands in {where[name]} too; {todo}")
    return splits


def index_rows(path: Path | str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, id, fault) for each id of a split and each fault, as `table_rows` does; a header is optional."""
    path = existing(path, "the ids of a split, one a line")
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
        else:
            first = lines.setdefault(name, number)
            twice = f"{path} line {number}: id {name!r} stands already in line {first}; remove one"
            yield number, name, twice if first != number else ""
    if not lines:
        yield 0, "", f"{path}: the split is empty; expected one id a line"


def index_faults(folder: Path | str) -> list[str]:
    """Return where a corpus' `index/` differs from `index/SHA256SUMS`, whose lines are as `sha256sum` writes them."""
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
        elif (came := sha256(index / name)) != digest:
            faults.append(f"{index / name}: sha256 {digest[:12]} expected by {path.name}, came {came[:12]}; {todo}")
    for name in sorted(f"{split}.csv" for split in SPLITS):
        if (index / name).is_file() and name not in stated:
            faults.append(f"{index / name}: not listed in {path.name}; {todo}")
    return faults


def write_metadata(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `metadata.jsonl`: one JSON object a clip."""
    with atomic(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))


def metadata_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield (line, object, fault) for each line of `metadata.jsonl`; nothing where there is no such file."""
    if not path.is_file():
        return
    data = path.read_bytes()
    text = data.decode("utf-8", errors="replace")
    if data != text.encode("utf-8"):
        yield 0, {}, f"{path}: not utf-8; extract anew"
    # Not splitlines(): that also breaks at U+2028 and its like, which JSON leaves as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            value, fault = json_object(line)
            yield number, value, fault and f"{path} line {number}: {fault}; extract anew, or remove the line"


def json_object(text: str) -> tuple[dict[str, Any], str]:
    """Return a JSON object, and what is wrong with it: "" = nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON ({error})"
    return (value, "") if isinstance(value, dict) else ({}, f"one JSON object expected, came {type(value).__name__}")
