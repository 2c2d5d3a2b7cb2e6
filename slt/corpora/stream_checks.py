"""The files of a dataset's streams, clip by clip: all that is wrong with them, for `slt.corpora.checking`.

What is wrong within one clip's stream its reader says (`Stream.examine`); here clips and streams are compared.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slt.streams.crops import Crops
from slt.streams.features import Features
from slt.streams.pose import Landmarks
from slt.streams.seen import Share, seen_faults
from slt.streams.stream import NAMES, STREAMS, Found, Marks, Say, Stored, Stream, list_forms

TOLERANCE = 2  # frames by which the streams of a clip may differ, as dataset.length_tolerance has it
SIDES = {"packed": "crop side", "frames": "crop side", "pose": "landmarks", "features": "features a frame"}


def list_folder(path: Path, say: Say) -> Stored | None:
    """Return the stream that a folder holds, in the form of which there are the most clips; None = it holds none."""
    if not path.is_dir() or path.name.startswith(".") or path.name == "index":
        return None
    forms = list_forms(path, say)
    if path.name in STREAMS and not forms:
        expected = " or ".join(name.format("<id>") for name in NAMES.values())
        say("streams", f"{path}: holds no clip; expected {expected}")
    return forms[0] if forms else None


def check_names(stored: Stored, rows: Mapping[str, Any], say: Say) -> None:
    """Compare the clips that a folder holds with those of the table."""
    if not rows:
        return
    for fault in stored.absent(rows):
        say(f"{stored.path.name}: missing", fault)
    for name in sorted(stored.files.keys() - rows.keys()):
        fault = f"subs.csv has no clip {name!r}; add the row, or remove the file"
        say(f"{stored.path.name}: of no clip", f"{stored.file(name)}: {fault}")


def check_clips(
    names: Iterable[str],
    streams: list[Stored],
    rows: Mapping[str, Any],
    made: Mapping[str, Any],
    say: Say,
    *,
    min_seen: float,
) -> None:
    """Read every file of every clip; several at a time, for decoding lets other threads work."""
    names, streams = list(names), [stored for stored in streams if stored.form in SIDES]
    found: dict[str, dict[str, Found]] = {stored.path.name: {} for stored in streams}

    def check(name: str) -> list[tuple[str, str]]:
        return list(_clip_faults(name, streams, rows.get(name, {}), made.get(name, {}), found))

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        with tqdm(pool.map(check, names), "check", len(names), unit="clip", disable=None) as bar:
            for faults in bar:
                for kind, fault in faults:
                    say(kind, fault)
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
                say(f"{folder}: size", f"{fault}; extract it anew")
        for one in found[folder].values():
            shares[folder] = shares[folder].add(one.seen, one.length)
    for fault in seen_faults(shares, min_seen, key="min_seen"):
        say("seen", fault)


def _clip_faults(
    name: str,
    streams: list[Stored],
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
        return Landmarks(folder=folder, points="body", jitter=0, noise=0)
    return Features(folder=folder) if stored.form == "features" else Crops(folder=folder, size=1, jitter=0, colour=0)
