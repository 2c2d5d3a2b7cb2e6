"""One clip: its film is extracted, or its pose read, and what came of it is recorded, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from slt.extraction import records
from slt.extraction.footage import frames_at, known_by, probe, read_frames
from slt.extraction.poses import read_keypoints
from slt.extraction.records import Record, writing
from slt.extraction.regions import Extractor, Regions
from slt.extraction.signers import Signer
from slt.extraction.source import Box, Source
from slt.extraction.video import Film, target_rate
from slt.extraction.writer import ClipWriter
from slt.files import OutputError
from slt.streams.normalise import shoulders_seen

log = logging.getLogger(__name__)

# What stands in an extractor's place where the pose was found by others: its name and version in metadata.jsonl.
READERS = {"keypoints": ("lsa-t-keypoints", 1), "poses": ("pose-format", 1), "openpose": ("openpose-json", 1)}


@dataclass(frozen=True)
class Extraction:
    """How clips are extracted: keys of conf/extract.yaml of the same names."""

    kind: str
    fps: float | None  # target rate; None = each film's own up to `max_fps`
    max_fps: float
    max_failures: int  # films that may fail, in all shards, before this one stops
    workers: int
    shard: str | None  # "i/n": the i-th of n parts; None = all
    report_worst: int | None  # clips on the contact sheets of report.html; None = no report

    @property
    def part(self) -> tuple[int, int]:
        """The shard as numbers, from (1, 1) on."""
        i, n = (self.shard or "1/1").split("/")
        return int(i), int(n)


@dataclass(frozen=True)
class Job:
    """What a process must know to extract clips; picklable, so that it can be sent to one."""

    make: Callable[[], Extractor] | None  # opens the extractor; None where poses are read
    maker: dict[str, Any]  # what records say of it: its name, version, fingerprint and parameters
    writer: ClipWriter
    how: Extraction
    scratch: Path  # on the file system of the corpus

    @property
    def out(self) -> Path:
        return self.writer.out


def build_extractor(landmarker: Callable[[], Any], extractor: Callable[[Any], Extractor]) -> Extractor:
    return extractor(landmarker())


@contextmanager
def opened(make: Callable[[], Extractor] | None) -> Iterator[Extractor | None]:
    """Open an extractor with a landmarker of its own, as each process needs it; None gives None."""
    extractor = make() if make is not None else None
    try:
        yield extractor
    finally:
        if extractor is not None:
            extractor.landmarker.close()


def maker_of(extractor: Extractor | None, kind: str, source: Source) -> dict[str, Any]:
    if extractor is not None:
        own = (extractor.name, extractor.version, extractor.fingerprint, extractor.parameters)
    else:
        stated = {} if source.size is None else {"size": list(source.size), "fps": source.fps}
        name, version = READERS["openpose" if stated else kind]
        own = name, version, hashlib.sha256(json.dumps([name, version]).encode()).hexdigest()[:16], stated
    return dict(zip(("extractor", "version", "fingerprint", "parameters"), own, strict=True))


@contextmanager
def open_job(job: Job) -> Iterator[Callable[[Source], Record]]:
    """Open the extractor of one of several processes; gives what extracts a clip."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        with opened(job.make) as extractor:
            yield partial(attempt, job, extractor)
    finally:
        cv2.setNumThreads(threads)


def attempt(job: Job, extractor: Extractor | None, source: Source) -> Record:
    """Extract a clip and commit it; return its record, which says `failure` where its film is at fault."""
    start = time.perf_counter()
    about = {"video_id": source.video_id, **cut_of(source)}
    known = known_by(source.path)  # before it is read: a film that changes meanwhile is read again
    try:
        made = read_clip(source, job) if extractor is None else extract_clip(source, extractor, job)
        about |= {"source": known, "mirrored": source.mirrored}
        record = about | made | job.maker | {"seconds": round(time.perf_counter() - start, 3)}
    except (OutputError, MemoryError, ImportError):
        raise
    except (ValueError, OSError) as error:
        record = about | {"failure": str(error)}
    except Exception as error:  # a library that fails on one film must not end the night's work
        log.exception("%s", source.video_id)
        record = about | {"failure": f"{source.path}: {type(error).__name__}: {error}"}
    with writing(job.out):
        if "failure" in record:
            job.writer.discard(source.video_id)
        records.commit(job.out, record, job.scratch)
    return record


def box_in(source: Source, width: int) -> Box:
    """Return a clip's box in the pictures as they are read, which are `width` pixels wide."""
    assert source.box is not None
    x0, y0, x1, y1 = source.box
    return (width - x1, y0, width - x0, y1) if source.mirrored else source.box


def cut_of(source: Source) -> dict[str, Any]:
    return {"film": source.path.name, "start": source.start, "end": source.end}


def extract_clip(source: Source, extractor: Extractor, job: Job) -> Record:
    notes: list[str] = []
    looked = look(source, extractor, fps=job.how.fps, max_fps=job.how.max_fps, notes=notes)
    scratch = job.scratch / "clips"  # of its own: beside it stand records on their way, named by ids as well
    opened = job.writer.clip(source.video_id, fps=looked.fps, scratch=scratch, fingerprint=job.maker["fingerprint"])
    with opened as clip:
        for regions in looked.regions:
            clip.add(regions)
    signer = looked.signer
    edges = [float(edge) for edge in signer.box] if signer.box is not None else None
    who = {"certainty": round(signer.certainty, 4), "persons": signer.persons, "unsure": signer.unsure, "box": edges}
    said = {"notes": notes} if notes else {}
    return {"fps": round(looked.fps, 6), "film_fps": round(looked.film.fps, 6), **clip.summary(), "signer": who} | said


@dataclass(frozen=True)
class Looked:
    """A clip whose signer is chosen and whose frames are about to be extracted."""

    film: Film
    fps: float  # at which it is read
    signer: Signer
    regions: Iterator[Regions]  # T frames, each extracted when it is asked for


def look(
    source: Source, extractor: Extractor, *, fps: float | None, max_fps: float, notes: list[str] | None = None
) -> Looked:
    """Choose the signer of a clip and begin to extract it, at `fps`, or at its film's own rate up to `max_fps`."""
    film = probe(source)
    rate = target_rate(film, fps, max_fps)
    pictures = partial(frames_at, source)
    box = None if source.box is None else box_in(source, next(pictures([0.0]))[1].shape[1])
    signer = extractor.find_signer(pictures, duration=_duration(source, film, rate), box=box)
    frames = read_frames(source, fps=rate, notes=[] if notes is None else notes)
    return Looked(film, rate, signer, extractor.stream(frames, fps=rate, signer=signer))


def _duration(source: Source, film: Film, rate: float) -> float:
    end = source.end if source.end is not None else film.duration
    if end is None:  # a stream that was recorded without its length: only reading it tells
        return sum(1 for _ in read_frames(source, fps=rate)) / rate
    return max(end - (source.start or 0.0), 1 / rate)


def read_clip(source: Source, job: Job) -> Record:
    pose = read_keypoints(source)
    job.writer.write_pose(source.video_id, pose, scratch=job.scratch / "clips")
    about: Record = {"missing": list(pose.missing)} if pose.missing else {}
    return about | {
        "fps": round(pose.fps, 6),
        "film_fps": round(pose.fps, 6),
        "frames": len(pose.points),
        "size": list(pose.size),
        "seen": {"pose": round(float(shoulders_seen(pose.points).mean()), 4)},
        "followed": {"pose": 0.0},
        "box": {"pose": None},
        "signer": {"persons": pose.people} if pose.people > 1 else None,
    }
