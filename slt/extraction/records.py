"""What an extraction has done so far, kept in its output folder: one record a clip, locks, and scratch per shard.

All is written beside its place and moved there whole, so that a kill leaves either the old state or the new one.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slt.corpora import layout
from slt.files import OutputError, read_json, write_json
from slt.streams.seen import Share

WORK = ".work"  # scratch and locks; gone when all is done
RECORDS = ".records"  # one JSON a finished clip; gathered into metadata.jsonl at the end
FAILED = ".failed"  # one JSON a clip that failed
MARKER = "extraction.json"
_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

Record = dict[str, Any]


@contextmanager
def writing(where: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        path = error.filename or where
        todo = {
            errno.ENOSPC: "; the disk is full: make room",
            errno.EDQUOT: "; your quota is used up: make room",
            errno.EROFS: "; the file system is mounted read-only: write elsewhere or mount it anew",
            **dict.fromkeys(_LOCKLESS, "; this file system gives no locks: write elsewhere"),
        }.get(error.errno or 0, "")
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}){todo}") from error


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock file, which goes when its holder ends, however that is; give False where another holds it."""
    # A lock that is only a file would stay when its holder is killed.
    lock, free = FileLock(path, poll_interval=0.01, fallback_to_soft=False), None
    while free is None:
        with writing(path):
            try:
                lock.acquire(blocking=wait)
                free = True
            except Timeout:
                free = False
            except FileNotFoundError:  # another process has just tidied the folder away
                pass
    try:
        yield free
    finally:
        if free:
            path.unlink(missing_ok=True)  # who waits for it sees that it has no name any more, and makes it anew
            lock.release()


@contextmanager
def own_shard(out: Path, shard: tuple[int, int]) -> Iterator[Path]:
    """Hold a shard of the folder; gives its empty scratch folder, which is removed at the end."""
    name = "shard-{}-of-{}".format(*shard)
    with locked(out / WORK / f"{name}.lock", wait=False) as free:
        if not free:
            said = f"shard {shard[0]}/{shard[1]} of it" if shard[1] > 1 else "it"
            raise ValueError(f"out={out}: another process extracts {said} just now; wait for it, or stop it")
        scratch = out / WORK / name
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed one left
        with writing(scratch):
            scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    tidy(out)


def tidy(out: Path) -> None:
    with suppress(OSError):
        (out / WORK).rmdir()


def sweep(out: Path) -> None:
    """Remove what is no more of use once the tables are written: single records, and what killed processes left."""
    for folder in (RECORDS, FAILED):
        shutil.rmtree(out / folder, ignore_errors=True)
    for half in out.glob(".report.html.*.tmp"):
        half.unlink(missing_ok=True)
    for path in list((out / WORK).iterdir()):
        if path.name.startswith("shard-"):  # of another number of shards, perhaps, that was begun and given up
            name = path.name.removesuffix(".lock")
            with locked(out / WORK / f"{name}.lock", wait=False) as free:
                if free:
                    shutil.rmtree(out / WORK / name, ignore_errors=True)
        elif path.suffix != ".lock" and path.is_file():
            path.unlink(missing_ok=True)


def claim_folder(out: Path, recipe: Mapping[str, Any]) -> None:
    """Make the output folder this extraction's own, or go on in it where its recipe is the same."""
    other = f"out={out}: holds files that are not of an extraction; give a new or empty folder"
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and not names & {WORK, MARKER}:
        raise ValueError(other)
    with writing(out):
        (out / WORK).mkdir(parents=True, exist_ok=True)
    with locked(out / WORK / "claim.lock", wait=True):  # shards start at the same time
        marker = out / MARKER
        if marker.is_file():
            _same_recipe(out, read_json(marker), recipe)
        elif {path.name for path in out.iterdir()} - {WORK}:
            raise ValueError(other)
        else:
            put_json(marker, recipe, out / WORK)


def _same_recipe(out: Path, came: dict[str, Any], recipe: Mapping[str, Any]) -> None:
    recipe = dict(json.loads(json.dumps(recipe)))
    there, now = came.pop("parameters", None), recipe.pop("parameters", {})
    differ = [f"{key}: {came.get(key)} there, {recipe.get(key)} now" for key in _differing(came, recipe)]
    differ += [f"parameters.{key}" for key in _differing(there if isinstance(there, dict) else {}, now)]
    if differ:
        raise ValueError(
            f"out={out}: holds an extraction of other making ({', '.join(differ)}); give another folder or delete it"
        )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def put_json(path: Path, value: Any, scratch: Path) -> None:
    """Write JSON in `scratch` and move it to `path`: a process that is killed leaves nothing beside it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(scratch / path.name, value)
        (scratch / path.name).replace(path)


def commit(out: Path, record: Record, scratch: Path) -> None:
    kind, other = (FAILED, RECORDS) if "failure" in record else (RECORDS, FAILED)
    put_json(out / kind / f"{record['video_id']}.json", record, scratch)
    (out / other / f"{record['video_id']}.json").unlink(missing_ok=True)


def read_records(out: Path) -> dict[str, Record]:
    """Return the record of each clip that was finished or failed, by id: single ones come before gathered ones."""
    gathered = {record["video_id"]: record for record in read_lines(out / "metadata.jsonl")}
    return gathered | _single(out / FAILED) | _single(out / RECORDS)


def _single(folder: Path) -> dict[str, Record]:
    """Read a folder's records; one that cannot be read (the machine lost power) counts as none."""
    found = {}
    for path in folder.glob("*.json"):
        with suppress(ValueError, FileNotFoundError):
            found[path.stem] = read_json(path)
    return found


def read_lines(metadata: Path) -> list[Record]:
    # Not splitlines(): that also breaks at U+2028 and its like, which JSON leaves as they are.
    text = metadata.read_text(encoding="utf-8", errors="replace").rstrip("\n") if metadata.is_file() else ""
    records = []
    for number, line in enumerate(text.split("\n") if text else (), 1):
        with record_of(f"{metadata} line {number}"):
            records.append(json.loads(line))
            fixed = {"frames": int, "seen": dict, "size": list}
            wrong = [key for key, kind in fixed.items() if not isinstance(records[-1].get(key), kind | None)]
            if wrong or not isinstance(records[-1]["video_id"], str):
                raise ValueError(f"{wrong or ['video_id']} of another kind")
    return records


@contextmanager
def record_of(where: str) -> Iterator[None]:
    """Say of what does not fit in a record where it stands."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: not a record of a clip ({error}); delete the line") from error


def forget_failures(out: Path, ids: Iterable[str], scratch: Path) -> None:
    """Take back what failed, so that no other shard takes it for dealt with while it is tried again."""
    names = set(ids)
    metadata = out / "metadata.jsonl"
    if metadata.is_file():
        with locked(out / WORK / "merge.lock", wait=True):
            rows = read_lines(metadata)
            kept = [row for row in rows if not ("failure" in row and row["video_id"] in names)]
            if len(kept) < len(rows):
                with writing(metadata):
                    layout.write_metadata(scratch / metadata.name, kept)
                    (scratch / metadata.name).replace(metadata)
    for name in names:
        (out / FAILED / f"{name}.json").unlink(missing_ok=True)


def failed_films(out: Path) -> set[str]:
    """Return the films that failed so far, in all shards: many clips of one film are one."""
    return {str(record.get("film", "")) for record in _single(out / FAILED).values()}


def extracted_shares(metadata: Path) -> tuple[dict[str, Share], dict[str, list[str]], list[str]]:
    """Return of metadata.jsonl shares by stream, missing point -> its clips, and OpenPose's clips of several people."""
    shares: dict[str, Share] = {}
    missing: dict[str, list[str]] = {}
    several: list[str] = []
    for number, record in enumerate(read_lines(metadata), 1):
        with record_of(f"{metadata} line {number}"):
            upper = {"pose": record["shoulders"]} if "shoulders" in record else {}
            for stream, share in ((record.get("seen") or {}) | upper).items():
                shares[stream] = shares.get(stream, Share()).add(float(share) * record["frames"], record["frames"])
            for name in record.get("missing", ()):
                missing.setdefault(name, []).append(record["video_id"])
            if record.get("extractor") == "openpose-json" and record.get("signer"):
                several.append(record["video_id"])
    return shares, missing, several
