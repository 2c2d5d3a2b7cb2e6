"""A dataset in the LSA-T layout, whoever made it -> every fault in it, each in one line with file and row.

Where training stops at the first fault of the clips it needs, this decodes every picture of every clip and goes on.
What is wrong within one clip's stream its reader says (`Stream.examine`); here tables, clips and streams are compared.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slt.corpora import layout
from slt.corpora.provenance import ONE_EXTRACTOR, extractor_fault
from slt.streams.crops import Crops
from slt.streams.features import Features
from slt.streams.pose import Landmarks
from slt.streams.seen import Share, seen_faults
from slt.streams.stream import NAMES, STREAMS, Found, Marks, Stored, Stream, list_forms

LISTED = 20  # faults of one kind that are written out; the rest is counted
LONGEST = 2000  # signs of a line; a library's words on a damaged file can be as long as the file
_VARYING = re.compile(r"(?<!\w)'[^']*'(?!\w)|\[.*\]|\S*\d\S*")  # from one fault to the next of its kind
LEFT = (".work", ".records", ".failed")  # folders of an extraction that has not finished
TOLERANCE = 2  # frames by which the streams of a clip may differ, as dataset.length_tolerance has it
SIDES = {"packed": "crop side", "frames": "crop side", "pose": "landmarks", "features": "features a frame"}


def check_corpus(folder: Path | str, *, min_seen: float = 0.0) -> list[str]:
    """Return what is wrong with a dataset, one line a fault, at most `LISTED` of each kind and then their number.

    Lines that begin with `note: ` are worth knowing and no faults. `min_seen` is the least share of the frames in which
    each stream is to be seen; one that never is is a fault at 0 too.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"check={root}: no such folder; expected subs.csv, index/ and the streams' folders")
    check = _Check(root)
    check.table()
    check.index()
    check.metadata()
    check.ends()
    streams = check.folders()
    check.clips(streams, min_seen)
    return check.lines()


class _Check:
    """Faults by kind, in the order in which kinds came up; of each kind the first few are kept and all are counted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, dict[str, str]] = {}  # of subs.csv by id, faulty ones too
        self.made: dict[str, dict[str, Any]] = {}  # of metadata.jsonl by id
        self._kept: dict[str, list[str]] = {}
        self._count: Counter[str] = Counter()

    def say(self, kind: str, fault: str) -> None:
        """Take one more line, counted with those of its kind that say the same but for what is quoted or has digits."""
        fault = fault if len(fault) <= LONGEST else f"{fault[:LONGEST]} ..."
        kind = f"{kind}: {_VARYING.sub('', fault.partition(': ')[2])}"
        self._count[kind] += 1
        kept = self._kept.setdefault(kind, [])
        if len(kept) < LISTED:
            kept.append(" ".join(fault.replace(f"{self.root}{os.sep}", "").split()))

    def lines(self) -> list[str]:
        """Return the kept faults, each kind followed by how many more of it there are."""
        out: list[str] = []
        for kind, kept in self._kept.items():
            out += kept
            if more := self._count[kind] - len(kept):
                note = "note: " if kept[0].startswith("note: ") else ""
                out.append(f"{note}... and {more} more like the last one")
        return out

    def table(self) -> None:
        path = self.root / "subs.csv"
        if not path.is_file():
            self.say("table", f"{path}: no such file; expected the table of clips, `video_id;texto[;...]`")
            return
        silent: list[str] = []
        for line, row, fault in layout.table_rows(path):
            if layout.lacks_only_text(fault):
                silent.append(fault)
            elif fault:
                self.say("table", fault)
            if name := row.get("video_id", ""):
                self.rows.setdefault(name, row)
            for kind, wrong in _number_faults(row):
                self.say(f"table: {kind}", f"{path} line {line}: clip {name!r} has {wrong}")
        if len(silent) < len(self.rows):  # a corpus without any sentence is one for pretraining (captions.format=none)
            for fault in silent:
                self.say("table", fault)
        for key in ("fps", "frame_count"):
            without = [name for name, row in self.rows.items() if not row.get(key, "").strip()]
            if 0 < len(without) < len(self.rows):
                count = f"{len(without)} of {len(self.rows)} clips have no {key}, the first is {without[0]!r}"
                self.say(f"table: {key}", f"{path}: {count}; fill the column, or remove it")

    def index(self) -> None:
        folder = self.root / "index"
        names = sorted(path.stem for path in folder.glob("*.csv"))
        if "train" not in names:
            self.say("index", f"{folder / 'train.csv'}: no such file; expected the ids to train on, one a line")
        used = {*chain(*layout.read_splits(self.root, self.rows, self.say, names).values())}
        unused = [name for name in self.rows if name not in used]
        if names and unused:
            self.say("index", f"note: {len(unused)} clips of subs.csv are in no split, the first is {unused[0]!r}")

    def metadata(self) -> None:
        path = self.root / "metadata.jsonl"
        if not path.is_file():
            self.say("metadata", f"note: {path}: no such file; which extractor made the clips cannot be checked")
            return
        failed = set()
        for number, line, fault in layout.metadata_rows(path):
            name = str(line.get("video_id", ""))
            if fault:
                self.say("metadata", fault)
            elif not name:
                self.say("metadata", f"{path} line {number}: no key `video_id`; extract anew, or remove the line")
            elif name in self.made or name in failed:
                self.say("metadata", f"{path} line {number}: clip {name!r} came before; remove one of the lines")
            elif "failure" in line:
                failed.add(name)
            elif self.rows and name not in self.rows:
                todo = "add it, or remove the line"
                self.say("metadata: ids", f"{path} line {number}: clip {name!r} has no row in subs.csv; {todo}")
            else:
                self.made[name] = line
        for name in self.rows:
            if name not in self.made:
                fault = f"clip {name!r} of subs.csv has no line here; extract it, or take its row out"
                self.say("metadata: ids", f"{path}: {fault}")
        prints = Counter(str(line.get("fingerprint") or "") for line in self.made.values())
        if len(prints) > 1:
            self.say("metadata: extractors", f"{path}: {extractor_fault(prints)}; {ONE_EXTRACTOR}")

    def ends(self) -> None:
        """Look for what an extraction that has not finished leaves, and for the file that says that it has."""
        left = [self.root / name for name in LEFT if (self.root / name).exists()]
        for path in (*left, *sorted(self.root.glob(".*.tmp")), *sorted((self.root / "index").glob(".*.tmp"))):
            self.say("unfinished", f"{path}: left by an extraction that has not finished; start it again, it goes on")
        path = self.root / "corpus.json"
        if not path.is_file():
            todo = "without it training cannot tell a folder that is not finished"
            self.say("corpus.json", f"note: {path}: no such file; {todo}")
        elif fault := layout.json_object(path.read_text(encoding="utf-8", errors="replace"))[1]:
            self.say("corpus.json", f"{path}: {fault}; training refuses it: make the corpus anew, or remove the file")

    def folders(self) -> list[Stored]:
        """Return the streams that can be read, each in the form of which its folder holds the most clips."""
        streams = []
        for path in sorted(self.root.iterdir()):
            if not path.is_dir() or path.name.startswith(".") or path.name == "index":
                continue
            forms = list_forms(path, self.say)
            if path.name in STREAMS and not forms:
                expected = " or ".join(name.format("<id>") for name in NAMES.values())
                self.say("streams", f"{path}: holds no clip; expected {expected}")
            streams += forms[:1]
        if not any(stream.form in SIDES for stream in streams):
            expected = f"{', '.join(STREAMS)} or others of .npy"
            self.say("streams", f"{self.root}: no stream in this folder; expected {expected}")
        for stored in streams if self.rows else ():
            for fault in stored.absent(self.rows):
                self.say(f"{stored.path.name}: missing", fault)
            for name in sorted(stored.files.keys() - self.rows.keys()):
                fault = f"subs.csv has no clip {name!r}; add the row, or remove the file"
                self.say(f"{stored.path.name}: of no clip", f"{stored.file(name)}: {fault}")
        return [stored for stored in streams if stored.form in SIDES]

    def clips(self, streams: Sequence[Stored], min_seen: float) -> None:
        """Read every file of every clip; several at a time, for decoding lets other threads work."""
        names = list(self.rows) or sorted({name for stored in streams for name in stored.files})
        found: dict[str, dict[str, Found]] = {stored.path.name: {} for stored in streams}

        def look(name: str) -> list[tuple[str, str]]:
            return list(_clip_faults(name, streams, self.rows.get(name, {}), self.made.get(name, {}), found))

        pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        try:
            with tqdm(pool.map(look, names), "check", len(names), unit="clip", disable=None) as bar:
                for kind, fault in chain.from_iterable(bar):
                    self.say(kind, fault)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for thousands of clips
        shares = dict.fromkeys(found, Share())
        for stored in streams:
            folder = stored.path.name
            sides = {name: one.side for name, one in sorted(found[folder].items()) if one.side}
            usual = Counter(sorted(sides.values())).most_common(1)
            for name, side in sides.items():
                if side != usual[0][0]:
                    fault = f"{stored.file(name)}: {SIDES[stored.form]} {side}, most clips have {usual[0][0]}"
                    self.say(f"{folder}: size", f"{fault}; extract it anew")
            for one in found[folder].values():
                shares[folder] = shares[folder].add(one.seen, one.length)
        for fault in seen_faults(shares, min_seen, key="min_seen"):
            self.say("seen", fault)


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


def _clip_faults(
    name: str,
    streams: Sequence[Stored],
    row: Mapping[str, str],
    made: Mapping[str, Any],
    found: Mapping[str, dict[str, Found]],
) -> Iterator[tuple[str, str]]:
    """Yield (kind, fault) of one clip, and put what its streams are into `found`, folder -> id -> Found."""
    faults: list[tuple[str, str]] = []
    marks: Marks = {}
    lengths: dict[str, int] = {}
    for stored in sorted(streams, key=lambda stored: stored.form != "pose"):  # the pose holds marks of single frames
        if name not in stored.files:
            continue
        folder = stored.path.name

        def say(kind: str, fault: str, folder: str = folder) -> None:
            faults.append((f"{folder}: {kind}", fault))

        try:
            one = _reader(stored).examine(stored, name, marks, str(made.get("fingerprint") or ""), say)
            found[folder][name], lengths[folder] = one, one.length
        except (ValueError, OSError) as error:
            say("unreadable", str(error))
    yield from faults
    if lengths and max(lengths.values()) - min(lengths.values()) > TOLERANCE:
        said = ", ".join(f"{folder} {length}" for folder, length in sorted(lengths.items()))
        yield "lengths", f"clip {name!r}: streams of different length ({said} frames); extract it anew"
    shortest = min(lengths.values(), default=0)
    told = {"subs.csv: frame_count": row.get("frame_count"), "metadata.jsonl: frames": made.get("frames")}
    for where, stated in told.items():
        try:
            differs = bool(lengths) and bool(stated) and abs(float(stated or 0) - shortest) > TOLERANCE
        except (TypeError, ValueError):  # no number at all is a fault of the table
            continue
        if differs:
            yield where, f"{where} {stated} of clip {name!r}, but its streams have {shortest} frames; extract it anew"


def _reader(stored: Stored) -> Stream:
    folder = stored.path.name
    if stored.form == "pose":
        return Landmarks(folder=folder, points="body", normalise="shoulders", jitter=0, noise=0)
    return Features(folder=folder) if stored.form == "features" else Crops(folder=folder, size=1, jitter=0, colour=0)
