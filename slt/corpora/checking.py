"""A dataset in the LSA-T layout, whoever made it -> every fault in it, each in one line with file and row.

Where training stops at the first fault of the clips it needs, this decodes every picture of every clip and goes on.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from slt.corpora import layout
from slt.corpora.provenance import ONE_EXTRACTOR, extractor_fault
from slt.corpora.stream_checks import check_clips, check_names, list_folder
from slt.streams.stream import STREAMS, Say

LISTED = 20  # faults of one kind that are written out; the rest is counted
LONGEST = 2000  # signs of a line; a library's words on a damaged file can be as long as the file
_VARYING = re.compile(r"(?<!\w)'[^']*'(?!\w)|\[.*\]|\S*\d\S*")  # from one fault to the next of its kind
LEFT = (".work", ".records", ".failed")  # folders of an extraction that has not finished


def check_corpus(folder: Path | str, *, min_seen: float = 0.0) -> list[str]:
    """Return what is wrong with a dataset, one line a fault, at most `LISTED` of each kind and then their number.

    Lines that begin with `note: ` are worth knowing and no faults. `min_seen` is the least share of the frames in which
    each stream is to be seen; one that never is is a fault at 0 too.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"check={root}: no such folder; expected subs.csv, index/ and the streams' folders")
    faults = _Faults(root)
    rows = _check_table(root, faults.add)
    _check_index(root, rows, faults.add)
    made = _check_metadata(root, rows, faults.add)
    _check_ends(root, faults.add)
    streams = [found for path in sorted(root.iterdir()) if (found := list_folder(path, faults.add))]
    if not any(stream.form in ("packed", "frames", "pose", "features") for stream in streams):
        faults.add("streams", f"{root}: no stream in this folder; expected {', '.join(STREAMS)} or others of .npy")
    names = [name for name in rows if name] or sorted({name for stream in streams for name in stream.files})
    for stream in streams:
        check_names(stream, rows, faults.add)
    check_clips(names, streams, rows, made, faults.add, min_seen=min_seen)
    return faults.lines()


class _Faults:
    """Faults by kind, in the order in which kinds came up; of each kind the first few are kept and all are counted."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}{os.sep}"
        self._kept: dict[str, list[str]] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, fault: str) -> None:
        """Take one more line, counted with those of its kind that say the same but for what is quoted or has digits."""
        fault = fault if len(fault) <= LONGEST else f"{fault[:LONGEST]} ..."
        kind = f"{kind}: {_VARYING.sub('', fault.partition(': ')[2])}"
        self._count[kind] += 1
        kept = self._kept.setdefault(kind, [])
        if len(kept) < LISTED:
            kept.append(" ".join(fault.replace(self._prefix, "").split()))

    def lines(self) -> list[str]:
        """Return the kept faults, each kind followed by how many more of it there are."""
        out: list[str] = []
        for kind, kept in self._kept.items():
            out += kept
            if more := self._count[kind] - len(kept):
                note = "note: " if kept[0].startswith("note: ") else ""
                out.append(f"{note}... and {more} more like the last one")
        return out


def _check_table(root: Path, say: Say) -> dict[str, dict[str, str]]:
    """Return the rows of `subs.csv` by id, faulty ones too."""
    path = root / "subs.csv"
    rows: dict[str, dict[str, str]] = {}
    if not path.is_file():
        say("table", f"{path}: no such file; expected the table of clips, `video_id;texto[;...]`")
        return rows
    silent: list[str] = []
    for line, row, fault in layout.table_rows(path):
        if layout.lacks_only_text(fault):
            silent.append(fault)
        elif fault:
            say("table", fault)
        if name := row.get("video_id", ""):
            rows.setdefault(name, row)
        for kind, wrong in _number_faults(row):
            say(f"table: {kind}", f"{path} line {line}: clip {name!r} has {wrong}")
    if len(silent) < len(rows):  # a corpus without any sentence is one for pretraining (captions.format=none)
        for fault in silent:
            say("table", fault)
    for key in ("fps", "frame_count"):
        without = [name for name, row in rows.items() if not row.get(key, "").strip()]
        if 0 < len(without) < len(rows):
            count = f"{len(without)} of {len(rows)} clips have no {key}, the first is {without[0]!r}"
            say(f"table: {key}", f"{path}: {count}; fill the column, or remove it")
    return rows


def _number_faults(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (column, fault) of the columns that hold numbers; an empty field says that the number is not known."""
    numbers: dict[str, float] = {}
    for key in layout.NUMBERS:
        if not (text := row.get(key, "").strip()):
            continue
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        least = "of 0 or more" if key == "start" else "above 0"
        if not (number >= 0 if key == "start" else number > 0) or number == float("inf"):  # NaN is above nothing
            yield key, f"{key} {text!r}; expected a number {least}, or nothing where it is not known"
            continue
        numbers[key] = number
        if key == "frame_count" and number != int(number):
            yield key, f"frame_count {text!r}; expected a whole number"
    if "start" in numbers and "end" in numbers and numbers["end"] <= numbers["start"]:
        yield "times", f"end {row['end']!r} at or before start {row['start']!r}; expected seconds, start < end"


def _check_index(root: Path, rows: Mapping[str, Any], say: Say) -> None:
    names = sorted(path.stem for path in (root / "index").glob("*.csv"))
    if "train" not in names:
        say("index", f"{root / 'index' / 'train.csv'}: no such file; expected the ids to train on, one a line")
    splits = layout.read_splits(root, rows, say, names)
    used = {*chain(*splits.values())}
    unused = [name for name in rows if name not in used]
    if names and unused:
        say("index", f"note: {len(unused)} clips of subs.csv are in no split, the first is {unused[0]!r}")


def _check_metadata(root: Path, rows: Mapping[str, Any], say: Say) -> dict[str, dict[str, Any]]:
    """Return the line of each clip in `metadata.jsonl`, which can be compared with its files."""
    path = root / "metadata.jsonl"
    made: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        say("metadata", f"note: {path}: no such file; which extractor made the clips cannot be checked")
        return made
    failed = set()
    for number, line, fault in layout.metadata_rows(path):
        name = str(line.get("video_id", ""))
        if fault:
            say("metadata", fault)
        elif not name:
            say("metadata", f"{path} line {number}: no key `video_id`; extract anew, or remove the line")
        elif name in made or name in failed:
            say("metadata", f"{path} line {number}: clip {name!r} came before; remove one of the lines")
        elif "failure" in line:
            failed.add(name)
        elif rows and name not in rows:
            todo = "add it, or remove the line"
            say("metadata: ids", f"{path} line {number}: clip {name!r} has no row in subs.csv; {todo}")
        else:
            made[name] = line
    for name in rows:
        if name not in made:
            say("metadata: ids", f"{path}: clip {name!r} of subs.csv has no line here; extract it, or take its row out")
    prints = Counter(str(line.get("fingerprint") or "") for line in made.values())
    if len(prints) > 1:
        say("metadata: extractors", f"{path}: {extractor_fault(prints)}; {ONE_EXTRACTOR}")
    return made


def _check_ends(root: Path, say: Say) -> None:
    left = [root / name for name in LEFT if (root / name).exists()]
    for path in (*left, *sorted(root.glob(".*.tmp")), *sorted((root / "index").glob(".*.tmp"))):
        say("unfinished", f"{path}: left by an extraction that has not finished; start it again, it goes on")
    path = root / "corpus.json"
    if not path.is_file():
        say("corpus.json", f"note: {path}: no such file; without it training cannot tell a folder that is not finished")
        return
    _, fault = layout.json_object(path.read_text(encoding="utf-8", errors="replace"))
    if fault:
        say("corpus.json", f"{path}: {fault}; training refuses it: make the corpus anew, or remove the file")
