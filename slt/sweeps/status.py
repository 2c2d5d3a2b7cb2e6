"""The state of a run: status.json in its folder, locked for as long as its process lives.

A run that is killed says nothing any more: its file still says `running`, and nobody holds the lock.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

try:
    import fcntl
except ModuleNotFoundError:  # no POSIX, no locks: a run that was killed then looks as if it were running
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# fcntl(2)'s `struct flock` as far as it is asked for, and where its l_type stands: of Linux, and of macOS and the BSDs.
_FLOCK, _TYPE = ("hhqqi", 0) if sys.platform == "linux" else ("qqihh", 3)
# status.json's device and inode -> handle, of the folders that this process holds: closing any other handle of the
# file would give the lock away.
_mine: dict[tuple[int, int], int] = {}

STATUS = "status.json"
STATES = {
    "finished": "done",
    "failed": "ended with an error",
    "stopped": "ended by a signal, once saved",
    "killed": "its process is gone without a word",
    "running": "at work just now",
    "waiting": "not begun",
    "unknown": "left no status.json that can be read",
}


@dataclass(frozen=True)
class Status:
    """What status.json says; `state` is one of `STATES`, `exit` the process's exit status of that job alone."""

    state: str
    overrides: list[str] = field(default_factory=list)
    started: str | None = None
    seconds: float | None = None
    value: float | None = None
    exit: int | None = None
    failure: str | None = None
    host: str | None = None
    pid: int | None = None


class Claim:
    """A run folder that this process alone writes to.

    Args:
        handle: of the locked status.json; None where another rank of the same run holds it.
        overrides: of this run.
        earlier: what the file said before; None where there was none.
    """

    def __init__(self, handle: int | None, overrides: Sequence[str], earlier: Status | None) -> None:
        self.handle, self.overrides, self.earlier = handle, list(overrides), earlier
        self.began = time.monotonic()
        self.started = datetime.now().astimezone().isoformat(timespec="seconds")
        self.before = (earlier.seconds if earlier else None) or 0.0

    def write(self, state: str, **more: Any) -> None:
        if self.handle is None:
            return
        now = Status(
            state=state, overrides=self.overrides, started=self.started, host=socket.gethostname(), pid=os.getpid(),
            seconds=round(self.before + time.monotonic() - self.began, 3), **more,
        )  # fmt: skip
        data = (json.dumps(asdict(now), indent=2, ensure_ascii=False) + "\n").encode()
        # In place: a file that took its name over would leave the lock on the one before. Blanks over what was there:
        # between the two calls it reads well, and a kill there leaves nothing broken.
        os.pwrite(self.handle, data.ljust(os.fstat(self.handle).st_size), 0)
        os.ftruncate(self.handle, len(data))

    def end(self, value: object) -> None:
        """Writes how the run ended: a whole number is an exit status, any other number its score."""
        status = value if type(value) is int else 0
        number = float(value) if isinstance(value, float) and math.isfinite(value) else None
        failure = None if status == 0 else f"exit status {status}"
        self.write("finished" if status == 0 else "failed", exit=status, value=number, failure=failure)


def new_folder(wanted: Path) -> Path:
    """Makes `wanted` or, where that is taken, the first free one of `wanted`-2, -3, ...: one a process, in any race."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


@contextmanager
def claimed(folder: Path, overrides: Sequence[str], *, tell: Callable[[BaseException], str]) -> Iterator[Claim]:
    """Holds a run folder, and writes into its status.json how the block ended where that did not.

    `tell` gives the one message for an error; ValueError where another process writes to the folder.
    """
    # Of several processes of one run (torchrun, srun) the first keeps the books.
    outside = os.environ.get("SLURM_PROCID", "0") if "SLURM_STEP_NUM_TASKS" in os.environ else "0"
    if os.environ.get("RANK", outside) != "0":
        yield Claim(None, overrides, None)
        return
    handle = os.open(folder / STATUS, os.O_RDWR | os.O_CREAT, 0o666)
    own = _identity(os.fstat(handle))
    try:
        _lock(handle, folder)
        _mine[own] = handle
        claim = Claim(handle, overrides, _parse(os.pread(handle, 1 << 20, 0)))
        if claim.earlier is not None and claim.earlier.pid:  # what a kill left half written
            for path in folder.glob(f".*.{claim.earlier.pid}.tmp"):
                path.unlink(missing_ok=True)
        try:
            yield claim
        except Exception as error:
            claim.write("failed", exit=1, failure=tell(error))
            raise
        except BaseException as leaving:  # a signal's exit, or Ctrl-C
            status = leaving.code if isinstance(leaving, SystemExit) and isinstance(leaving.code, int) else 130
            claim.write("stopped", exit=status, failure=f"stopped with exit status {status}")
            raise
    finally:
        _mine.pop(own, None)
        os.close(handle)


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _lock(handle: int, folder: Path) -> None:
    """Locks status.json; a lock of the process and not of the file handle, so that loader workers do not keep it."""
    if fcntl is None:
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = read_status(folder)
        who = f" (process {other.pid} on {other.host})" if other and other.pid else ""
        raise ValueError(
            f"{os.path.relpath(folder)}: another process{who} is writing to this run folder; wait for it or stop it, "
            "or give this run a folder of its own"
        ) from None
    except OSError as error:  # some network file systems
        log.warning("%s: this file system gives no locks (%s): two runs in one folder go unseen", folder, error)


def read_status(folder: Path) -> Status | None:
    """The state of the run in a folder, `killed` for a `running` without a process; None where no run has left one."""
    path = folder / STATUS
    try:
        mine = _mine.get(_identity(path.stat()))
        handle = os.open(path, os.O_RDONLY) if mine is None else mine
    except FileNotFoundError:
        return None
    except OSError as error:
        return Status("unknown", failure=f"{STATUS}: {error.strerror}")
    try:
        data = os.pread(handle, 1 << 20, 0)
        status = _parse(data)
        gone = status is not None and status.state == "running" and mine is None and not _held(handle)
        broken = status is not None and status.state == "unknown"
        if (gone or broken) and (later := os.pread(handle, 1 << 20, 0)) != data:  # it was written to in between
            return _parse(later)
        return replace(status, state="killed") if gone and status is not None else status
    finally:
        if mine is None:
            os.close(handle)


def _held(handle: int) -> bool:
    """Whether another process has the lock; asked for, and never tried: whoever wants it would meet the trial."""
    if fcntl is None:
        return True
    try:
        # Would a lock for reading, of the whole file, be in anyone's way?
        question = [fcntl.F_RDLCK if place == _TYPE else 0 for place in range(5)]
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(_FLOCK, *question))
    except OSError:  # no locks here: believe the file
        return True
    return bool(struct.unpack(_FLOCK, answer)[_TYPE] != fcntl.F_UNLCK)


def _parse(data: bytes) -> Status | None:
    if not data.strip():
        return None
    try:
        status = Status(**json.loads(data))
        texts = (status.started, status.failure, status.host)
        numbers = (status.seconds, status.value, status.exit, status.pid)
        fit = [isinstance(text, str | None) for text in texts] + [isinstance(n, int | float | None) for n in numbers]
        if not all([*fit, *(isinstance(text, str) for text in (status.state, *status.overrides))]):
            raise ValueError("values of other kinds than a run writes")
    except (ValueError, TypeError, RecursionError) as error:
        return Status("unknown", failure=f"{STATUS} cannot be read ({error})")
    return status if status.state in STATES else Status("unknown", failure=f"{STATUS}: no such state {status.state!r}")


def read_overrides(folder: Path) -> list[str] | None:
    """The overrides a run folder was made with: by its status.json or, before there was one, by Hydra's own file."""
    status = read_status(folder)
    if status is not None and status.state != "unknown":
        return status.overrides
    with suppress(OSError, yaml.YAMLError):
        found = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        return [str(override) for override in found] if isinstance(found, list) else None
    return None
