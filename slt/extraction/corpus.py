"""Finished clips become the tables of a corpus: captions, splits, faults, what was measured, and its fingerprint."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slt.corpora import layout
from slt.corpora.splits import write_splits
from slt.extraction.published import AsPublished
from slt.extraction.records import FAILED, RECORDS, Record
from slt.extraction.source import Fault, Source
from slt.extraction.splitting import Splitting
from slt.files import TextLines, atomic, write_json

log = logging.getLogger(__name__)


def shows_nobody(record: Record) -> bool:
    if "person" in record:
        return not record["person"]
    return not any(record["seen"].values()) and not (record["signer"] or {}).get("persons")


def write_corpus(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    recipe: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
    splitting: Splitting | AsPublished,
    dealt: Mapping[str, Record],
    out: Path,
    scratch: Path,
) -> tuple[str, ...]:
    """Write the tables over the finished clips, each whole, `corpus.json` last; return the clips that show nobody."""
    kept = {source.video_id: source for source in sources if "failure" not in dealt[source.video_id]}
    if not kept:
        name, record = next(iter(dealt.items()))
        raise ValueError(f"none of {len(sources)} clips could be extracted; the first, {name!r}: {record['failure']}")
    nobody = tuple(name for name in kept if shows_nobody(dealt[name]))
    into = set(kept) if splitting.nobody else set(kept) - set(nobody)
    if not into:
        raise ValueError(
            f"in none of {len(kept)} clips is a person found, as in {nobody[0]!r} ({kept[nobody[0]].path}); are these "
            "the right films? split.nobody=true takes them all the same"
        )
    splits = {split: [name for name in ids if name in into] for split, ids in splits.items()}
    if empty := [split for split, ids in splits.items() if not ids]:
        log.warning("all clips of %s failed or show nobody: those that are left are split anew", " and ".join(empty))
        splits = splitting.deal([kept[name] for name in kept if name in into])
    todo = "" if splitting.nobody else ", so it is in no split (split.nobody=true takes it)"
    lost = [Fault(dealt[name]["film"], name, f"no person is found{todo}") for name in nobody]
    rows = subs_rows(list(kept.values()), dealt)
    text = json.dumps([recipe, rows, splits], sort_keys=True)
    corpus = {"name": out.name, "maker": "slt.extract", "clips": len(kept), "failed": len(dealt) - len(kept)}
    corpus |= {"parameters": dict(recipe), "fingerprint": hashlib.sha256(text.encode()).hexdigest()}
    ready = scratch / "tables"
    layout.write_table(ready / "subs.csv", rows)
    write_splits(ready / "index", splits)
    write_faults(ready / "faults.csv", [*faults, *lost])
    layout.write_metadata(ready / "metadata.jsonl", [dealt[source.video_id] for source in sources])
    write_json(ready / "corpus.json", corpus)
    _put(ready, out)
    return nobody


def _put(ready: Path, out: Path) -> None:
    """Move tables to their places; a report that tells of other clips goes, and so does a split that is no more."""
    there = out / "corpus.json"
    old = there.read_bytes() if there.is_file() else b""
    there.unlink(missing_ok=True)
    if old != (ready / "corpus.json").read_bytes() or (out / RECORDS).exists() or (out / FAILED).exists():
        (out / "report.html").unlink(missing_ok=True)
    (out / "index").mkdir(exist_ok=True)
    for split in layout.SPLITS:
        if not (ready / "index" / f"{split}.csv").is_file():
            (out / "index" / f"{split}.csv").unlink(missing_ok=True)
    for path in sorted(ready.rglob("*"), key=lambda path: (path.name == "corpus.json", path)):
        if path.is_file():
            path.replace(out / path.relative_to(ready))


def subs_rows(sources: Sequence[Source], dealt: Mapping[str, Record]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for source in sources:
        record = dealt[source.video_id]
        measured = {"film": record["film"], "fps": record["fps"], "frame_count": record["frames"]}
        rows.append({**source.row, **measured, "duration": round(record["frames"] / record["fps"], 3)})
    known = [*layout.REQUIRED_COLUMNS, *layout.OPTIONAL_COLUMNS]
    columns = [column for column in known if any(column in row for row in rows)]
    return [{column: row.get(column, "") for column in columns} for row in rows]


def write_faults(path: Path, faults: Sequence[Fault]) -> None:
    """Write faults.csv: what was wrong with the tables and films that the clips come from."""
    with atomic(path) as binary:
        writer = csv.writer(TextLines(binary), delimiter=";", lineterminator="\n")
        writer.writerow(["where", "video_id", "reason", "dropped"])
        writer.writerows([fault.where, fault.video_id, fault.reason, str(fault.dropped).lower()] for fault in faults)
