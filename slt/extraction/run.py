"""Clips of films become a corpus in the LSA-T layout, at any scale: resumable, in N processes, in shards.

A record ends each clip, another start goes on after the last one, and `corpus.json` comes when all are dealt with.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slt.extraction import records
from slt.extraction.clip import Extraction, Job, attempt, box_in, cut_of, maker_of, open_job, opened
from slt.extraction.corpus import write_corpus, write_faults
from slt.extraction.footage import known_by, probe, read_frames
from slt.extraction.published import AsPublished
from slt.extraction.records import WORK, Record, locked, writing
from slt.extraction.regions import Extractor
from slt.extraction.source import Fault, Source
from slt.extraction.splitting import Splitting
from slt.extraction.video import Cut, end_room
from slt.extraction.writer import ClipWriter
from slt.files import OutputError
from slt.text import plain_name
from slt.workers import Setup, run_tasks

log = logging.getLogger(__name__)

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} clips [{elapsed}, {remaining} left, {rate_noinv_fmt}{postfix}]"


AT_ONCE = 16  # films: opening one is waiting for the disk or the net
LISTED = 10  # clips that a message names; the rest is counted
Prints = Mapping[Path, Mapping[str, Any] | None]


@dataclass(frozen=True)
class Outcome:
    """What an extraction came to."""

    finished: int  # clips of this shard that are extracted
    failures: dict[str, str]  # those that failed, id -> reason
    left: int  # clips of other shards that are not dealt with yet; the tables are written when there are none
    nobody: tuple[str, ...] = ()  # clips of all shards in which no person is found, once the tables are written


def extract_sources(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    make: Callable[[], Extractor] | None,
    writer: ClipWriter,
    how: Extraction,
    splitting: Splitting | AsPublished,
) -> Outcome:
    """Extract all clips, of `sources` of all shards, that are not yet; where that makes all, write tables over them.

    `make` opens the extractor in a process, None where the kind is not films; `faults` of the tables go to faults.csv.
    """
    out, splits = writer.out, splitting.deal(sources)
    with opened(make) as extractor:
        if extractor is not None:
            writer.refuse_other_points(extractor.landmarker.skeleton)
        maker = maker_of(extractor, how.kind, sources[0])
        recipe = {**maker, "fps": how.fps, "max_fps": how.max_fps, **asdict(writer)}
        recipe = {key: value for key, value in recipe.items() if key not in ("out", "parameters")}
        records.claim_folder(out, recipe | {"parameters": maker["parameters"]})
        with records.own_shard(out, how.part) as scratch:
            job = Job(make, maker, writer, how, scratch)
            prints = read_prints(sources)
            todo, done = _left_to_do(deal(sources, how.part), job, prints)
            _look_ahead(todo, faults, job)
            if how.workers > 1 and extractor is not None:
                extractor.landmarker.close()  # each process opens its own
            _extract(todo, done, job, extractor)
            tables = partial(write_corpus, sources, faults, recipe, splits, splitting)
            left, nobody = _finish(sources, job, prints, tables)
    records.tidy(out)
    failures = {name: record["failure"] for name, record in done.items() if "failure" in record}
    return Outcome(len(done) - len(failures), failures, left, nobody)


def read_prints(sources: Iterable[Source]) -> Prints:
    """Return by what each file that clips come from is known (`footage.known_by`); None where it is not there."""
    paths = [*dict.fromkeys(source.path for source in sources)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(paths, pool.map(known_by, paths), strict=True))


def deal(sources: Sequence[Source], part: tuple[int, int]) -> list[Source]:
    """Return the i-th of n parts, in the order of `sources`: dealt out from the longest cut to the shortest."""

    def shortness(n: int) -> float:
        end = sources[n].end
        return 0.0 if end is None else (sources[n].start or 0.0) - end

    order = sorted(range(len(sources)), key=shortness)  # stable: whole films stay in their order
    return [sources[n] for n in sorted(order[part[0] - 1 :: part[1]])]


def _left_to_do(mine: Sequence[Source], job: Job, prints: Prints) -> tuple[list[Source], dict[str, Record]]:
    """Return the clips of this shard that are to be extracted, and the records, by id, of those that are."""
    found = records.read_records(job.out)
    dealt = dealt_with(mine, job, prints)
    records.forget_failures(job.out, [name for name, record in dealt.items() if "failure" in record], job.scratch)
    done = {name: record for name, record in dealt.items() if "failure" not in record}
    todo = [source for source in mine if source.video_id not in done]
    if todo:
        (job.out / "corpus.json").unlink(missing_ok=True)
    anew = Counter(
        source.path.name
        for source in todo
        if source.video_id in found
        and "failure" not in found[source.video_id]
        and not same_film(source, found[source.video_id], prints)
    )
    for film, count in anew.items():
        log.warning("%s is not what its clips were made of: %d clips are extracted anew", film, count)
    return todo, done


def same_film(source: Source, record: Mapping[str, Any], prints: Prints) -> bool:
    """Tell whether a record is of the film that is there now; one without its content is taken at its word."""
    now, then = prints.get(source.path), record.get("source")
    if now and then and now != then:
        return False
    film, name = plain_name(record["film"]), plain_name(source.path.name)
    return film == name or (now is None and Path(film).stem in (name, source.film))


def dealt_with(sources: Sequence[Source], job: Job, prints: Prints) -> dict[str, Record]:
    """Return the records, by id, of clips that are finished as they would be made now, with all files, or failed."""
    found = records.read_records(job.out)
    done = {}
    for source in sources:
        record = found.get(source.video_id)
        if record is None or not same_film(source, record, prints):
            continue
        if any(record.get(key) != value for key, value in cut_of(source).items() if key != "film"):
            continue
        whole = partial(job.writer.holds, source.video_id, crops=job.make is not None)
        if "failure" in record or (_read_alike(source, record) and whole(record["frames"])):
            done[source.video_id] = record
    return done


def _read_alike(source: Source, record: Record) -> bool:
    """Tell whether a clip was looked at as it would be now: mirrored, at the rate and in the box that are given."""
    if record.get("mirrored", False) != source.mirrored:
        return False
    if source.fps is not None and record["film_fps"] != round(source.fps, 6):
        return False
    return source.box is None or [*box_in(source, record["size"][0])] == (record["signer"] or {}).get("box")


def _look_ahead(todo: Sequence[Source], faults: Sequence[Fault], job: Job) -> None:
    """Tell of clips whose films are not there, cannot be opened, or end too early; stop where those are too many."""
    out, most = job.out, job.how.max_failures
    if todo:
        log.info("looking whether %d films are there and as long as their clips", len({one.path for one in todo}))
    wrong = foresee(todo, kind=job.how.kind)
    if not wrong:
        return
    names = {fault.video_id for fault in wrong}
    films = records.failed_films(out) | {source.path.name for source in todo if source.video_id in names}
    if len(films) > most:
        with writing(out):
            write_faults(out / "faults.csv", [*faults, *wrong])
        more = f" ({len(wrong)} of {len(todo)} clips, all listed in {out / 'faults.csv'})" if len(wrong) > 1 else ""
        raise ValueError(
            f"{_some(wrong)}. Failed films so far: {len(films)}, max_failures={most}{more}; nothing more was extracted"
            ": mend that, or raise max_failures, and start again"
        )
    log.warning("%d of %d clips will fail, as max_failures allows:\n  %s", len(wrong), len(todo), _some(wrong))


def foresee(todo: Sequence[Source], *, kind: str) -> list[Fault]:
    """Return the clips that cannot be extracted: of films by their ends, of others by being there."""
    films: dict[Path, list[Source]] = {}
    for source in todo:
        films.setdefault(source.path, []).append(source)

    def look(path: Path) -> dict[str, str]:
        try:
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such film in the source or below it")
            return _too_late(films[path]) if kind == "films" else {}
        except (ValueError, OSError) as error:
            return {clip.video_id: str(error) for clip in films[path]}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = {name: reason for found in pool.map(look, films) for name, reason in found.items()}
    return [
        Fault(source.where or source.path.name, source.video_id, reasons[source.video_id], dropped=True)
        for source in todo
        if source.video_id in reasons
    ]


def _too_late(clips: Sequence[Source]) -> dict[str, str]:
    """Return the cuts that end after their film, of which the first is read to be sure: stated lengths are rounded."""
    film = probe(clips[0])
    length = film.end or film.duration
    if length is None:
        return {}
    room = end_room(film.fps)
    late = [clip for clip in clips if max(clip.start or 0.0, (clip.end or 0.0) - room) >= length]
    if not late:
        return {}
    first = min(late, key=lambda clip: clip.end or clip.start or 0.0)
    with suppress(ValueError):
        for _ in read_frames(replace(first, start=max(first.start or 0.0, length - 2.0)), fps=film.fps):
            pass
        return {}
    ends = f"goes past the end of the film at {length:.2f} s; mend its times or take the right film"
    return {clip.video_id: f"{Cut(clip.path, film.fps, clip.start or 0.0, clip.end)} {ends}" for clip in late}


def _some(faults: Sequence[Fault]) -> str:
    lines = [f"{fault.where}, clip {fault.video_id!r}: {fault.reason}" for fault in faults[:LISTED]]
    more = [f"and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
    return "\n  ".join([*lines, *more])


def _extract(todo: Sequence[Source], done: dict[str, Record], job: Job, extractor: Extractor | None) -> None:
    """Extract clips of this shard, in this process by `extractor`, and put their records beside those `done`."""
    here = nullcontext(partial(attempt, job, extractor))
    setup: Setup[Source, Record] = partial(open_job, job) if job.how.workers > 1 else lambda: here
    count_of = len(done) + len(todo)
    hours = sum(record["frames"] / record["fps"] for record in done.values()) / 3600
    films: set[str] = set()
    with tqdm(total=count_of, initial=len(done), unit=" clips", bar_format=_BAR) as bar:
        try:
            for _, record in run_tasks(todo, setup, workers=job.how.workers):
                done[record["video_id"]] = record
                if "failure" not in record:
                    hours += record["frames"] / record["fps"] / 3600
                else:
                    log.warning("%s failed: %s", record["video_id"], record["failure"])
                    if record["film"] not in films:  # many clips of one film are one failed film
                        films.add(record["film"])
                        _stop_at_too_many(record["failure"], job)
                bar.set_postfix_str(f"{hours:.2f} h of film", refresh=False)
                bar.update()
        except OutputError as error:
            count = sum("failure" not in one for one in done.values())
            stay = f"{count} of {count_of} clips are finished and stay: start again to go on"
            raise OutputError(f"{error}. {stay}") from None


def _stop_at_too_many(failure: str, job: Job) -> None:
    if (count := len(records.failed_films(job.out))) > job.how.max_failures:
        raise ValueError(
            f"{failure}. Failed films so far: {count}, max_failures={job.how.max_failures}; what is finished stays: "
            "mend that, or raise max_failures, and start again"
        )


def _finish(
    sources: Sequence[Source], job: Job, prints: Prints, tables: Callable[..., tuple[str, ...]]
) -> tuple[int, tuple[str, ...]]:
    """Write tables and report where all clips of all shards are dealt with; return how many are not, and `nobody`."""
    out, worst = job.out, job.how.report_worst
    with locked(out / WORK / "merge.lock", wait=True):  # shards may end at the same time
        dealt = dealt_with(sources, job, prints)
        if left := len(sources) - len(dealt):
            return left, ()
        with writing(out):
            nobody = tables(dealt, out, job.scratch)
            records.sweep(out)
        if worst is not None and not (out / "report.html").exists():
            from slt.extraction.report import write_overview  # here: workers need no drawing

            write_overview(out, {source.video_id: source for source in sources}, job.writer.folders, worst=worst)
    return 0, nobody
