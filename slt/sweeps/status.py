"""The state of a run: status.json in its folder, locked for as long as its process lives.

A run that is killed says nothing any more: its file still says `running`, and nobody holds the lock.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

try:
    import fcntl
except ModuleNotFoundError:  # no POSIX, no locks: a run that was killed then looks as if it were running
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

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
        """Writes the state and what belongs to it."""
        if self.handle is None:
            return
        now = Status(
            state=state, overrides=self.overrides, started=self.started, host=socket.gethostname(), pid=os.getpid(),
            seconds=round(self.before + time.monotonic() - self.began, 3), **more,
        )  # fmt: skip
        data = (json.dumps(asdict(now), indent=2, ensure_ascii=False) + "\n").encode()
        # In place: a file that took its name over would leave the lock on the one before.
        os.pwrite(self.handle, data, 0)
        os.ftruncate(self.handle, len(data))

    def end(self, value: object) -> None:
        """Writes how the run ended: a whole number is an exit status, any other number its score."""
        status = value if type(value) is int else 0
        number = float(value) if isinstance(value, float) and math.isfinite(value) else None
        failure = None if status == 0 else f"exit status {status}"
        self.write("finished" if status == 0 else "failed", exit=status, value=number, failure=failure)


@contextmanager
def claimed(folder: Path, overrides: Sequence[str], *, tell: Callable[[BaseException], str]) -> Iterator[Claim]:
    """Holds a run folder, and writes into its status.json how the block ended where that did not.

    Args:
        folder: of the run.
        overrides: of the run, `key=value` each.
        tell: the one message for an error.

    Raises:
        ValueError: another process writes to the folder.
    """
    # Of several processes of one run (torchrun, srun) the first keeps the books.
    outside = os.environ.get("SLURM_PROCID", "0") if "SLURM_STEP_NUM_TASKS" in os.environ else "0"
    if os.environ.get("RANK", outside) != "0":
        yield Claim(None, overrides, None)
        return
    handle = os.open(folder / STATUS, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle, folder)
        claim = Claim(handle, overrides, _parse((folder / STATUS).name, os.pread(handle, 1 << 20, 0)))
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
        os.close(handle)


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
    """The state of the run in a folder; None where no run has left one.

    A `running` that no process stands behind comes back as `killed`.
    """
    path = folder / STATUS
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Status("unknown", failure=f"{STATUS}: {error.strerror}")
    try:
        found = _parse(path.name, os.pread(handle, 1 << 20, 0))
        if found is not None and found.state == "running" and not _held(handle):
            return Status(**{**asdict(found), "state": "killed"})
        return found
    finally:
        os.close(handle)


def _held(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here: believe the file
        return True
    return False


def _parse(name: str, data: bytes) -> Status | None:
    if not data.strip():
        return None
    try:
        found = Status(**json.loads(data))
    except (ValueError, TypeError) as error:
        return Status("unknown", failure=f"{name} cannot be read ({error})")
    return found if found.state in STATES else Status("unknown", failure=f"{name}: no such state {found.state!r}")


def read_overrides(folder: Path) -> list[str] | None:
    """The overrides a run folder was made with: by its status.json or, before there was one, by Hydra's own file."""
    status = read_status(folder)
    if status is not None and status.state != "unknown":
        return status.overrides
    with suppress(OSError, yaml.YAMLError):
        found = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        return [str(override) for override in found] if isinstance(found, list) else None
    return None
