"""Clips of films become a corpus in the LSA-T layout, at any scale: resumable, in N processes, in shards (T frames).

What is finished is on disk and stays: each clip leaves a record when all its files are in place, another start goes on
after the last record, and `corpus.json` comes when all clips of all shards are dealt with.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from slt.data import layout, records
from slt.data.films import Fault, Source
from slt.data.keypoints import read_keypoints
from slt.data.records import FAILED, RECORDS, WORK, OutputError, Record, locked, writing
from slt.data.rois import Extractor
from slt.data.splits import split_ids, write_splits
from slt.data.video import Film, frames_at, probe, read_frames, target_rate
from slt.data.workers import run_tasks
from slt.data.writer import ClipWriter

log = logging.getLogger(__name__)

# What stands in an extractor's place where the pose was found by others: its name and version in metadata.jsonl.
READERS = {"keypoints": ("lsa-t-keypoints", 1), "poses": ("pose-format", 1)}
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} clips [{elapsed}, {remaining} left, {rate_noinv_fmt}{postfix}]"


@dataclass(frozen=True)
class Maker:
    """What makes the clips: the extractor's, or the reader's, name, version, fingerprint and parameters."""

    extractor: str
    version: int
    fingerprint: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What a process must know to extract clips; picklable, so that it can be sent to one.

    Attributes:
        make: opens the extractor; None where poses are read.
        maker: what the clips' records say of it.
        writer: streams to files.
        fps: target rate; None = each film's own up to `max_fps`.
        max_fps: see `fps`.
        scratch: folder on the file system of the corpus.
    """

    make: Callable[[], Extractor] | None
    maker: Maker
    writer: ClipWriter
    fps: float | None
    max_fps: float
    scratch: Path


@dataclass(frozen=True)
class Stopped:
    """A clip that could not be written, through no fault of its film."""

    reason: str


Setup = Callable[[], AbstractContextManager[Callable[[Source], Record | Stopped]]]


@dataclass(frozen=True)
class Outcome:
    """What an extraction came to.

    Attributes:
        finished: clips of this shard that are extracted.
        failures: clips of this shard that failed, id -> reason.
        left: clips of other shards that are not dealt with yet; the tables are written when there are none.
    """

    finished: int
    failures: dict[str, str]
    left: int


def build_extractor(landmarker: Callable[[], Any], extractor: Callable[[Any], Extractor]) -> Extractor:
    """Open an extractor with a landmarker of its own, as each process needs it."""
    return extractor(landmarker())


def extract_sources(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    make: Callable[[], Extractor] | None,
    writer: ClipWriter,
    *,
    kind: str,
    fps: float | None,
    max_fps: float,
    split: Mapping[str, Any],
    max_failures: int,
    workers: int,
    shard: str | None,
    report_worst: int | None,
) -> Outcome:
    """Extract all clips that are not yet; where that makes all, write the tables over them.

    Args:
        sources: all clips, also those of other shards.
        faults: what `find_sources` found wrong with the tables, for faults.csv.
        make: opens the extractor in a process; None where `kind` is not films.
        writer: streams to files.
        kind: "films", "keypoints" or "poses".
        fps: target rate; None = each film's own up to `max_fps`.
        max_fps: see `fps`.
        split: keyword arguments of `split_ids`.
        max_failures: films that may fail, in all shards, before this one stops.
        workers: processes.
        shard: "i/n": extract the i-th of n parts; None = all.
        report_worst: clips on the contact sheets of report.html; None = no report.

    Raises:
        ValueError: more films failed, the folder holds another extraction, or another process is at this shard.
        OutputError: the output folder cannot be written.
    """
    out, part = writer.out, records.parse_shard(shard)
    if len({source.video_id for source in sources}) < len(sources):
        raise ValueError("sources: an id stands twice; ids are unique")
    splits = split_ids(sources, **split)
    extractor = make() if make is not None else None
    try:
        maker = _maker(extractor, kind)
        chosen = {key: value for key, value in asdict(writer).items() if key != "out"}
        recipe = {"extractor": maker.extractor, "version": maker.version, "fingerprint": maker.fingerprint}
        recipe |= {"fps": fps, "max_fps": max_fps} | chosen
        records.claim_folder(out, recipe | {"parameters": maker.parameters})
        with records.own_shard(out, part) as scratch:
            job = Job(make, maker, writer, fps, max_fps, scratch)
            setup: Setup = lambda: nullcontext(partial(attempt, job, extractor))  # noqa: E731
            if workers > 1:
                _close(extractor)
                setup = partial(open_job, job)
            mine = deal(sources, part)
            done = _extract_missing(mine, job, setup, max_failures=max_failures, workers=workers)
            left = _finish(sources, faults, job, recipe, splits, kind, report_worst)
    finally:
        _close(extractor)
    records.tidy(out)
    failures = {name: record["failure"] for name, record in done.items() if "failure" in record}
    return Outcome(len(done) - len(failures), failures, left)


def deal(sources: Sequence[Source], part: tuple[int, int]) -> list[Source]:
    """Return the i-th of n parts, in the order of `sources`: dealt out from the longest cut to the shortest."""

    def length(n: int) -> float:
        return (sources[n].end or 0.0) - (sources[n].start or 0.0) if sources[n].end is not None else 0.0

    order = sorted(range(len(sources)), key=lambda n: -length(n))  # stable: whole films stay in their order
    return [sources[n] for n in sorted(order[part[0] - 1 :: part[1]])]


def _maker(extractor: Extractor | None, kind: str) -> Maker:
    if extractor is not None:
        return Maker(extractor.name, extractor.version, extractor.fingerprint, extractor.parameters)
    name, version = READERS[kind]
    return Maker(name, version, hashlib.sha256(json.dumps([name, version]).encode()).hexdigest()[:16], {})


def _close(extractor: Extractor | None) -> None:
    if extractor is not None:
        extractor.landmarker.close()


# ---------------------------------------------------------------- clips


def _extract_missing(
    mine: Sequence[Source],
    job: Job,
    setup: Setup,
    *,
    max_failures: int,
    workers: int,
) -> dict[str, Record]:
    """Extract what is not yet of the clips of this shard; return the records of all of them, by id."""
    out = job.writer.out
    dealt = dealt_with(mine, job.writer, crops=job.make is not None)
    records.forget_failures(out, [name for name, record in dealt.items() if "failure" in record], job.scratch)
    done = {name: record for name, record in dealt.items() if "failure" not in record}
    todo = [source for source in mine if source.video_id not in done]
    if todo:
        (out / "corpus.json").unlink(missing_ok=True)
    hours = sum(record["frames"] / record["fps"] for record in done.values()) / 3600
    films: set[str] = set()
    with tqdm(total=len(mine), initial=len(done), unit=" clips", bar_format=_BAR) as bar:
        for _, record in run_tasks(todo, setup, workers=workers):
            if isinstance(record, Stopped):
                count = sum("failure" not in one for one in done.values())
                raise OutputError(f"{record.reason}. {count} of {len(mine)} clips are finished and stay: "
                                  "start again to go on")  # fmt: skip
            done[record["video_id"]] = record
            if "failure" in record:
                log.warning("%s failed: %s", record["video_id"], record["failure"])
                if record["film"] not in films:  # many clips of one film are one failed film
                    films.add(record["film"])
                    if (count := len(records.failed_films(out))) > max_failures:
                        raise ValueError(
                            f"{record['failure']}. Failed films so far: {count}, max_failures={max_failures}; what is "
                            "finished stays: mend or remove the film, or raise max_failures, and start again"
                        )
            else:
                hours += record["frames"] / record["fps"] / 3600
            bar.set_postfix_str(f"{hours:.2f} h of film", refresh=False)
            bar.update()
    return done


def dealt_with(sources: Sequence[Source], writer: ClipWriter, *, crops: bool) -> dict[str, Record]:
    """Return the records, by id, of the clips that are finished, with all their files, or that failed.

    A record of another film or cut than the table has now counts as none.
    """
    found = records.read_records(writer.out)
    done = {}
    for source in sources:
        record = found.get(source.video_id)
        if record is None or {key: record.get(key) for key in ("film", "start", "end")} != _cut(source):
            continue
        if "failure" in record:
            done[source.video_id] = record
        elif source.box is not None and list(source.box) != (record["signer"] or {}).get("box"):
            continue
        elif writer.holds(source.video_id, record["frames"], crops=crops):
            done[source.video_id] = record
    return done


def _cut(source: Source) -> dict[str, Any]:
    return {"film": source.path.name, "start": source.start, "end": source.end}


@contextmanager
def open_job(job: Job) -> Any:
    """Open the extractor of one of several processes; gives what extracts a clip."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes share the cores already
    extractor = job.make() if job.make is not None else None
    try:
        yield partial(attempt, job, extractor)
    finally:
        _close(extractor)
        cv2.setNumThreads(threads)


def attempt(job: Job, extractor: Extractor | None, source: Source) -> Record | Stopped:
    """Extract a clip and commit it; return its record, which says `failure` where its film is at fault."""
    start = time.perf_counter()
    about = {"video_id": source.video_id, **_cut(source)}
    try:
        try:
            made = read_clip(source, job) if extractor is None else extract_clip(source, extractor, job)
            record = about | made | asdict(job.maker) | {"seconds": round(time.perf_counter() - start, 3)}
        except (OutputError, MemoryError, ImportError):
            raise
        except (ValueError, OSError) as error:
            record = about | {"failure": str(error)}
        except Exception as error:  # a library that fails on one film must not end the night's work
            log.exception("%s", source.video_id)
            record = about | {"failure": f"{source.path}: {type(error).__name__}: {error}"}
        with writing(job.writer.out):
            if "failure" in record:
                job.writer.discard(source.video_id)
            records.commit(job.writer.out, record, job.scratch)
    except OutputError as error:
        return Stopped(str(error))
    return record


def extract_clip(source: Source, extractor: Extractor, job: Job) -> Record:
    """Extract a clip of a film and write its streams; return what its record says of it."""
    film = probe(source.path)
    rate = target_rate(film, job.fps, job.max_fps)
    signer = extractor.find_signer(partial(_pictures, source), duration=_duration(source, film, rate), box=source.box)
    notes: list[str] = []
    frames = read_frames(source.path, fps=rate, start=source.start, end=source.end, notes=notes)
    scratch = job.scratch / "clips"  # of its own: beside it stand records on their way, named by ids as well
    opened = job.writer.clip(source.video_id, fps=rate, scratch=scratch, fingerprint=job.maker.fingerprint)
    with opened as clip:
        for regions in extractor.stream(frames, fps=rate, signer=signer):
            clip.add(regions)
    box = [float(edge) for edge in signer.box] if signer.box is not None else None
    who = {"certainty": round(signer.certainty, 4), "persons": signer.persons, "unsure": signer.unsure, "box": box}
    said = {"notes": notes} if notes else {}
    return {"fps": round(rate, 6), "film_fps": round(film.fps, 6), **clip.summary(), "signer": who} | said


def _pictures(source: Source, seconds: Sequence[float]) -> Any:
    return frames_at(source.path, seconds, start=source.start)


def _duration(source: Source, film: Film, rate: float) -> float:
    end = source.end if source.end is not None else film.duration
    if end is None:  # a stream that was recorded without its length: only reading it tells
        return sum(1 for _ in read_frames(source.path, fps=rate, start=source.start)) / rate
    return max(end - (source.start or 0.0), 1 / rate)


def read_clip(source: Source, job: Job) -> Record:
    """Read a clip's pose where others have found it and write it; return what its record says of it."""
    pose = read_keypoints(source)
    job.writer.write_pose(source.video_id, pose, scratch=job.scratch / "clips")
    share = float((pose.points[..., 2] > 0).any(1).mean())
    return {
        "fps": round(pose.fps, 6),
        "film_fps": round(pose.fps, 6),
        "frames": len(pose.points),
        "size": list(pose.size),
        "seen": {"pose": round(share, 4)},
        "followed": {"pose": 0.0},
        "box": {"pose": None},
        "signer": None,
    }


# ---------------------------------------------------------------- tables


def _finish(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    job: Job,
    recipe: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
    kind: str,
    report_worst: int | None,
) -> int:
    """Write the tables and the report where all clips of all shards are dealt with; return how many are not."""
    out = job.writer.out
    with locked(out / WORK / "merge.lock", wait=True):  # shards may end at the same time
        dealt = dealt_with(sources, job.writer, crops=job.make is not None)
        if left := len(sources) - len(dealt):
            return left
        with writing(out):
            write_corpus(sources, faults, dealt, recipe, splits, out, job.scratch)
            records.put_away(out)
            records.sweep(out)
            for half in out.glob(".report.html.*.tmp"):  # of a killed process
                half.unlink(missing_ok=True)
        if report_worst is not None and not (out / "report.html").exists():
            from slt.data.overview import write_overview  # here: workers need no drawing

            films = {source.video_id: source.path for source in sources} if kind == "films" else {}
            write_overview(out, films, worst=report_worst)
    return 0


def write_corpus(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    dealt: Mapping[str, Record],
    recipe: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
    out: Path,
    scratch: Path,
) -> None:
    """Write the tables over the finished clips, each whole, `corpus.json` last.

    Raises:
        ValueError: no clip is finished, or none of a split.
    """
    kept = {source.video_id: source for source in sources if "failure" not in dealt[source.video_id]}
    if not kept:
        name, record = next(iter(dealt.items()))
        raise ValueError(f"none of {len(sources)} clips could be extracted; the first, {name!r}: {record['failure']}")
    splits = {split: [name for name in ids if name in kept] for split, ids in splits.items()}
    if empty := [split for split, ids in splits.items() if not ids]:
        raise ValueError(f"split: all clips of {' and '.join(empty)} failed; take another split.seed or other shares")
    rows = subs_rows(list(kept.values()), dealt)
    ready = scratch / "tables"
    layout.write_table(ready / "subs.csv", rows)
    write_splits(ready / "index", splits)
    write_faults(ready / "faults.csv", faults)
    layout.write_metadata(ready / "metadata.jsonl", [dealt[source.video_id] for source in sources])
    text = json.dumps([recipe, rows, splits], sort_keys=True)
    corpus = {"name": out.name, "maker": "slt.extract", "clips": len(kept), "failed": len(dealt) - len(kept)}
    corpus |= {"parameters": dict(recipe), "fingerprint": hashlib.sha256(text.encode()).hexdigest()}
    layout.write_json(ready / "corpus.json", corpus)
    there = out / "corpus.json"
    old = there.read_bytes() if there.is_file() else b""
    there.unlink(missing_ok=True)
    if old != (ready / "corpus.json").read_bytes() or (out / RECORDS).exists() or (out / FAILED).exists():
        (out / "report.html").unlink(missing_ok=True)  # it tells of other clips
    (out / "index").mkdir(exist_ok=True)
    for name in sorted({f"{split}.csv" for split in layout.SPLITS} - {f"{split}.csv" for split in splits}):
        (out / "index" / name).unlink(missing_ok=True)
    for path in sorted(ready.rglob("*"), key=lambda path: (path.name == "corpus.json", path)):
        if path.is_file():
            path.replace(out / path.relative_to(ready))


def subs_rows(sources: Sequence[Source], dealt: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Return the rows of subs.csv: what the table of captions said of each clip, and what was measured."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        record = dealt[source.video_id]
        cut = {key: value for key in ("start", "end") if (value := record[key]) is not None}
        measured = {"film": record["film"], "fps": record["fps"], "frame_count": record["frames"]}
        rows.append({**source.row, **cut, **measured, "duration": round(record["frames"] / record["fps"], 3)})
    known = [*layout.REQUIRED_COLUMNS, *layout.OPTIONAL_COLUMNS]
    columns = [column for column in known if any(column in row for row in rows)]
    return [{column: row.get(column, "") for column in columns} for row in rows]


def write_faults(path: Path, faults: Sequence[Fault]) -> None:
    """Write faults.csv, `where;video_id;reason;dropped`: what was wrong with the tables that the clips come from."""
    with layout.atomic(path) as binary:
        writer = csv.writer(layout._TextLines(binary), delimiter=";", lineterminator="\n")
        writer.writerow(["where", "video_id", "reason", "dropped"])
        writer.writerows([fault.where, fault.video_id, fault.reason, str(fault.dropped).lower()] for fault in faults)
