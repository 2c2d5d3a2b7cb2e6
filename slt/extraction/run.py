"""Clips of films become a corpus in the LSA-T layout, at any scale: resumable, in N processes, in shards (T frames).

What is finished is on disk and stays: each clip leaves a record when all its files are in place, another start goes on
after the last record, and `corpus.json` comes when all clips of all shards are dealt with.
"""

from __future__ import annotations

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

from slt.extraction import records
from slt.extraction.corpus import write_corpus, write_faults
from slt.extraction.footage import frames_at, known_by, probe, read_frames
from slt.extraction.poses import read_keypoints
from slt.extraction.records import WORK, OutputError, Record, locked, writing
from slt.extraction.regions import Extractor
from slt.extraction.source import Fault, Source
from slt.extraction.sources import Box
from slt.extraction.splitting import split_ids
from slt.extraction.survey import Prints, as_faults, foresee, read_prints, same_film, some
from slt.extraction.video import Film, target_rate
from slt.extraction.writer import ClipWriter
from slt.streams.pose import shoulders_seen
from slt.workers import run_tasks

log = logging.getLogger(__name__)

# What stands in an extractor's place where the pose was found by others: its name and version in metadata.jsonl.
READERS = {"keypoints": ("lsa-t-keypoints", 1), "poses": ("pose-format", 1), "openpose": ("openpose-json", 1)}
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
        nobody: clips of all shards in which no person is found, once the tables are written.
    """

    finished: int
    failures: dict[str, str]
    left: int
    nobody: tuple[str, ...] = ()


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
        split: keyword arguments of `split_ids`, and `nobody`: clips without a person are in the splits.
        max_failures: films that may fail, in all shards, before this one stops.
        workers: processes.
        shard: "i/n": extract the i-th of n parts; None = all.
        report_worst: clips on the contact sheets of report.html; None = no report.

    Raises:
        ValueError: more films failed, or are seen to before the first one is read; the folder holds another extraction,
            or another process is at this shard.
        OutputError: the output folder cannot be written.
    """
    out, part = writer.out, records.parse_shard(shard)
    if len({source.video_id for source in sources}) < len(sources):
        raise ValueError("sources: an id stands twice; ids are unique")
    split = dict(split)
    nobody = split.pop("nobody", False)

    def resplit(clips: Sequence[Source]) -> dict[str, list[str]]:
        return split_ids(clips, **split)

    splits = resplit(sources)
    extractor = make() if make is not None else None
    try:
        maker = _maker(extractor, kind, sources[0])
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
            mine, prints = deal(sources, part), read_prints(sources)
            todo, done = _left_to_do(mine, job, prints)
            _look_ahead(todo, faults, out, kind=kind, max_failures=max_failures)
            _extract(todo, done, job, setup, max_failures=max_failures, workers=workers)
            tables = partial(write_corpus, sources, faults, recipe, splits, resplit, nobody)
            left, without = _finish(sources, job, prints, tables, kind, report_worst)
    finally:
        _close(extractor)
    records.tidy(out)
    failures = {name: record["failure"] for name, record in done.items() if "failure" in record}
    return Outcome(len(done) - len(failures), failures, left, without)


def deal(sources: Sequence[Source], part: tuple[int, int]) -> list[Source]:
    """Return the i-th of n parts, in the order of `sources`: dealt out from the longest cut to the shortest."""

    def length(n: int) -> float:
        return (sources[n].end or 0.0) - (sources[n].start or 0.0) if sources[n].end is not None else 0.0

    order = sorted(range(len(sources)), key=lambda n: -length(n))  # stable: whole films stay in their order
    return [sources[n] for n in sorted(order[part[0] - 1 :: part[1]])]


def _maker(extractor: Extractor | None, kind: str, source: Source) -> Maker:
    if extractor is not None:
        return Maker(extractor.name, extractor.version, extractor.fingerprint, extractor.parameters)
    told = {} if source.size is None else {"size": list(source.size), "fps": source.fps}
    name, version = READERS["openpose" if told else kind]
    return Maker(name, version, hashlib.sha256(json.dumps([name, version]).encode()).hexdigest()[:16], told)


def _close(extractor: Extractor | None) -> None:
    if extractor is not None:
        extractor.landmarker.close()


# ---------------------------------------------------------------- clips


def _left_to_do(mine: Sequence[Source], job: Job, prints: Prints) -> tuple[list[Source], dict[str, Record]]:
    """Return the clips of this shard that are to be extracted, and the records, by id, of those that are."""
    out = job.writer.out
    found = records.read_records(out)
    dealt = dealt_with(mine, job.writer, prints, crops=job.make is not None)
    records.forget_failures(out, [name for name, record in dealt.items() if "failure" in record], job.scratch)
    done = {name: record for name, record in dealt.items() if "failure" not in record}
    todo = [source for source in mine if source.video_id not in done]
    if todo:
        (out / "corpus.json").unlink(missing_ok=True)
    anew: dict[str, int] = {}
    for source in todo:
        then = found.get(source.video_id)
        if then is not None and "failure" not in then and not same_film(source, then, prints):
            anew[source.path.name] = anew.get(source.path.name, 0) + 1
    for film, count in anew.items():
        log.warning("%s is not what its clips were made of: %d clips are extracted anew", film, count)
    return todo, done


def _look_ahead(todo: Sequence[Source], faults: Sequence[Fault], out: Path, *, kind: str, max_failures: int) -> None:
    """Tell of clips whose films are not there, cannot be opened, or end too early; stop where those are too many.

    Raises:
        ValueError: with those already failed, more films than `max_failures`; all are listed in faults.csv.
    """
    if todo:
        log.info("looking whether %d films are there and as long as their clips", len({one.path for one in todo}))
    wrong = as_faults(todo, foresee(todo, kind=kind))
    if not wrong:
        return
    names = {fault.video_id for fault in wrong}
    films = records.failed_films(out) | {source.path.name for source in todo if source.video_id in names}
    if len(films) > max_failures:
        with writing(out):
            write_faults(out / "faults.csv", [*faults, *wrong])
        more = f" ({len(wrong)} of {len(todo)} clips, all listed in {out / 'faults.csv'})" if len(wrong) > 1 else ""
        raise ValueError(
            f"{some(wrong)}. Failed films so far: {len(films)}, max_failures={max_failures}{more}; nothing more was "
            "extracted: mend that, or raise max_failures to go without them, and start again"
        )
    log.warning("%d of %d clips will fail, as max_failures allows:\n  %s", len(wrong), len(todo), some(wrong))


def _extract(
    todo: Sequence[Source],
    done: dict[str, Record],
    job: Job,
    setup: Setup,
    *,
    max_failures: int,
    workers: int,
) -> None:
    """Extract clips of this shard and put their records beside those that are `done`."""
    out, count_of = job.writer.out, len(done) + len(todo)
    hours = sum(record["frames"] / record["fps"] for record in done.values()) / 3600
    films: set[str] = set()
    with tqdm(total=count_of, initial=len(done), unit=" clips", bar_format=_BAR) as bar:
        for _, record in run_tasks(todo, setup, workers=workers):
            if isinstance(record, Stopped):
                count = sum("failure" not in one for one in done.values())
                raise OutputError(f"{record.reason}. {count} of {count_of} clips are finished and stay: "
                                  "start again to go on")  # fmt: skip
            done[record["video_id"]] = record
            if "failure" in record:
                log.warning("%s failed: %s", record["video_id"], record["failure"])
                if record["film"] not in films:  # many clips of one film are one failed film
                    films.add(record["film"])
                    if (count := len(records.failed_films(out))) > max_failures:
                        raise ValueError(
                            f"{record['failure']}. Failed films so far: {count}, max_failures={max_failures}; what is "
                            "finished stays: mend that, or raise max_failures to go without, and start again"
                        )
            else:
                hours += record["frames"] / record["fps"] / 3600
            bar.set_postfix_str(f"{hours:.2f} h of film", refresh=False)
            bar.update()


def dealt_with(sources: Sequence[Source], writer: ClipWriter, prints: Prints, *, crops: bool) -> dict[str, Record]:
    """Return the records, by id, of the clips that are finished, with all their files, or that failed.

    A record of another film or cut than there is now, or of one that was read otherwise, counts as none.
    """
    found = records.read_records(writer.out)
    done = {}
    for source in sources:
        record = found.get(source.video_id)
        if record is None or not same_film(source, record, prints):
            continue
        if any(record.get(key) != value for key, value in _cut(source).items() if key != "film"):
            continue
        if "failure" in record or (
            _read_alike(source, record) and writer.holds(source.video_id, record["frames"], crops=crops)
        ):
            done[source.video_id] = record
    return done


def _read_alike(source: Source, record: Record) -> bool:
    """Tell whether a clip was looked at as it would be now: mirrored, at the rate and in the box that are given."""
    if record.get("mirrored", False) != source.mirrored:
        return False
    if source.fps is not None and record["film_fps"] != round(source.fps, 6):
        return False
    return source.box is None or [*_box_of(source, record["size"][0])] == (record["signer"] or {}).get("box")


def _box_of(source: Source, width: int) -> Box:
    """Return a clip's box in the pictures as they are read, which are `width` pixels wide."""
    assert source.box is not None
    x0, y0, x1, y1 = source.box
    return (width - x1, y0, width - x0, y1) if source.mirrored else source.box


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
    known = known_by(source.path)  # before it is read: a film that changes meanwhile is read again
    try:
        try:
            made = read_clip(source, job) if extractor is None else extract_clip(source, extractor, job)
            about |= {"source": known, "mirrored": source.mirrored}
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
    film = probe(source.path, rate=source.fps)
    rate = target_rate(film, job.fps, job.max_fps)
    box = None
    if source.box is not None:
        box = _box_of(source, next(iter(_pictures(source, [0.0])))[1].shape[1])
    signer = extractor.find_signer(partial(_pictures, source), duration=_duration(source, film, rate), box=box)
    notes: list[str] = []
    frames = _frames(source, rate, source.end, notes)
    scratch = job.scratch / "clips"  # of its own: beside it stand records on their way, named by ids as well
    opened = job.writer.clip(source.video_id, fps=rate, scratch=scratch, fingerprint=job.maker.fingerprint)
    with opened as clip:
        for regions in extractor.stream(frames, fps=rate, signer=signer):
            clip.add(regions)
    edges = [float(edge) for edge in signer.box] if signer.box is not None else None
    who = {"certainty": round(signer.certainty, 4), "persons": signer.persons, "unsure": signer.unsure, "box": edges}
    said = {"notes": notes} if notes else {}
    return {"fps": round(rate, 6), "film_fps": round(film.fps, 6), **clip.summary(), "signer": who} | said


def _pictures(source: Source, seconds: Sequence[float]) -> Any:
    return frames_at(source.path, seconds, start=source.start, rate=source.fps, mirrored=source.mirrored)


def _frames(source: Source, fps: float, end: float | None, notes: list[str] | None = None) -> Any:
    known: dict[str, Any] = {"rate": source.fps, "mirrored": source.mirrored, "notes": notes}
    return read_frames(source.path, fps=fps, start=source.start, end=end, **known)


def _duration(source: Source, film: Film, rate: float) -> float:
    end = source.end if source.end is not None else film.duration
    if end is None:  # a stream that was recorded without its length: only reading it tells
        return sum(1 for _ in _frames(source, rate, None)) / rate
    return max(end - (source.start or 0.0), 1 / rate)


def read_clip(source: Source, job: Job) -> Record:
    """Read a clip's pose where others have found it and write it; return what its record says of it."""
    pose = read_keypoints(source)
    job.writer.write_pose(source.video_id, pose, scratch=job.scratch / "clips")
    share = float(shoulders_seen(pose.points).mean())
    about: Record = {"missing": list(pose.missing)} if pose.missing else {}
    return about | {
        "fps": round(pose.fps, 6),
        "film_fps": round(pose.fps, 6),
        "frames": len(pose.points),
        "size": list(pose.size),
        "seen": {"pose": round(share, 4)},
        "followed": {"pose": 0.0},
        "box": {"pose": None},
        "signer": {"persons": pose.people} if pose.people > 1 else None,
    }


# ---------------------------------------------------------------- tables


def _finish(
    sources: Sequence[Source],
    job: Job,
    prints: Prints,
    tables: Callable[[Mapping[str, Record], Path, Path], tuple[str, ...]],
    kind: str,
    report_worst: int | None,
) -> tuple[int, tuple[str, ...]]:
    """Write tables and report where all clips of all shards are dealt with; return how many are not, and `nobody`."""
    out = job.writer.out
    with locked(out / WORK / "merge.lock", wait=True):  # shards may end at the same time
        dealt = dealt_with(sources, job.writer, prints, crops=job.make is not None)
        if left := len(sources) - len(dealt):
            return left, ()
        with writing(out):
            nobody = tables(dealt, out, job.scratch)
            records.put_away(out)
            records.sweep(out)
            for half in out.glob(".report.html.*.tmp"):  # of a killed process
                half.unlink(missing_ok=True)
        if report_worst is not None and not (out / "report.html").exists():
            from slt.extraction.report import write_overview  # here: workers need no drawing

            films = {source.video_id: source.path for source in sources} if kind == "films" else {}
            write_overview(out, films, worst=report_worst)
    return 0, nobody
