"""Starts the processes of a run on this machine and looks after them: one that dies takes the others along.

A SLURM job or torchrun does this for several machines; see `slt.training.processes.outside`.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection as pipes
from multiprocessing import get_context, get_start_method, parent_process, set_start_method
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from slt.training.processes import Place, joined

# What a user can cause comes back as itself, with its message; the rest as RuntimeError with its traceback.
_KNOWN: tuple[type[Exception], ...] = (ValueError, FileNotFoundError, OSError, ImportError)
# Seconds after the first process has failed in which the others may say what they know: of two that fail, one only
# because the other was gone.
_GRACE = 3.0
# How far a failure is from the cause of the end: a process lost to a signal brings errors about lost connections.
_SIGNAL, _ERROR, _LEFT, _STATUS = range(4)


def launch(task: Callable[..., Any], arguments: Sequence[Any], *, count: int) -> Any:
    """Runs `task(*arguments)` in `count` processes of this machine at once, joined to a run.

    Signals that come here (SIGTERM, Ctrl-C) are passed on, so that the run can save and leave; a second Ctrl-C ends it
    at once. Where a process fails the others are ended, and whatever ends this process ends them too.

    Args:
        task: a function that can be pickled by name.
        arguments: picklable.
        count: of processes.

    Returns:
        What rank 0 returned.

    Raises:
        ChildProcessError: a process was killed; the message says which, and by what.
        SystemExit: a process left with that status, such as after a signal.
        Exception: what a process raised.
    """
    store = dist.TCPStore("127.0.0.1", 0, count + 1, is_master=True, wait_for_workers=False)
    places = [Place(rank, count, rank, "127.0.0.1", store.port, "devices") for rank in range(count)]
    group = _Group(count)
    with group.signals_passed_on(), _environment_of_workers():
        try:
            for place in places:
                group.start(place, task, arguments)
            return group.result()
        finally:
            group.end()


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    # Before torch is imported there. Its C++ side warns in each DDP run in which all parameters happened to be used.
    given = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    if Path("/sys/class/net/lo").exists():
        given["GLOO_SOCKET_IFNAME"] = "lo"  # or gloo looks this machine's name up, which not all networks know
    given = {key: value for key, value in given.items() if key not in os.environ}
    os.environ.update(given)
    try:
        yield
    finally:
        for key in given:
            del os.environ[key]


class _Group:
    """The processes that `launch` has started, as it sees them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: dict[pipes.Connection, Any] = {}
        self.ranks: dict[pipes.Connection, int] = {}
        self.running: set[pipes.Connection] = set()
        self.caught: list[int] = []
        self.answer: Any = None
        self.failures: list[tuple[int, float, BaseException]] = []  # how far from the cause, when, what

    def start(self, place: Place, task: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Starts one process: spawned, since neither CUDA nor torch's threads survive a fork."""
        here, there = get_context("spawn").Pipe()
        process = get_context("spawn").Process(
            target=_serve, args=(there, get_start_method(), place, task, arguments), name=f"rank {place.rank}"
        )
        process.start()
        there.close()  # so that the death of the process is the end of the pipe
        self.processes[here], self.ranks[here] = process, place.rank
        self.running.add(here)

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Passes SIGTERM and SIGINT on to the processes, which are not in this one's process group."""

        def catch(number: int, frame: object) -> None:
            self.caught.append(number)
            for process in list(self.processes.values()):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL if len(self.caught) > 1 else number)

        if threading.current_thread() is not threading.main_thread():  # as joblib's threads are
            yield
            return
        before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def result(self) -> Any:
        """What rank 0 returns, once all have ended."""
        deadline: float | None = None
        while self.running and (deadline is None or time.monotonic() < deadline):
            for connection in pipes.wait(list(self.running), None if deadline is None else 0.1):
                assert isinstance(connection, pipes.Connection)
                self._hear(connection)
            if deadline is None and any(far != _LEFT for far, *_ in self.failures):
                deadline = time.monotonic() + _GRACE
        if not self.failures:
            return self.answer
        if self.caught and not any(far == _ERROR for far, *_ in self.failures):
            raise SystemExit(128 + self.caught[0])
        raise min(self.failures, key=lambda failure: failure[:2])[2]

    def _hear(self, connection: pipes.Connection) -> None:
        """Takes what a process says, or notes how it ended."""
        rank, process = self.ranks[connection], self.processes[connection]
        try:
            kind, value = pickle.loads(connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            self.running.discard(connection)
            process.join()
            code = process.exitcode
            if code < 0:
                self.failures.append((_SIGNAL, time.time(), ChildProcessError(_killed(rank, self.count, -code))))
            elif code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
                self.failures.append((_LEFT, time.time(), SystemExit(code)))
            elif code:
                what = f"process {rank} of {self.count} ended with status {code}"
                self.failures.append((_STATUS, time.time(), ChildProcessError(what)))
        else:
            if kind == "error":
                when, name, text, trace = value
                error = next((known for known in _KNOWN if known.__name__ == name), RuntimeError)(text)
                error.__cause__ = RuntimeError(f"in process {rank} of {self.count}:\n{trace}")
                self.failures.append((_ERROR, when, error))
            else:
                self.answer = value

    def end(self) -> None:
        """Ends what is left, with the loader processes that it had started: each process has a group of its own."""
        for connection, process in self.processes.items():
            if process.exitcode != 0:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
            process.join()
            connection.close()


def _killed(rank: int, count: int, number: int) -> str:
    return (
        f"process {rank} of {count} was killed by {signal.Signals(number).name}, and the others were ended; where "
        "memory ran out (SIGKILL), lower batch_size or num_workers. Checkpoints are as they were: resume=auto goes on"
    )


def _serve(
    there: pipes.Connection, method: str, place: Place, task: Callable[..., Any], arguments: Sequence[Any]
) -> None:
    """Does the task in a process that `launch` has started."""
    # A spawned process spawns its own, unless told: a loader would import all of this anew at each evaluation.
    set_start_method(method, force=True)
    os.register_at_fork(after_in_child=there.close)  # its end is this process's death, whatever a loader still does
    os.setpgid(0, 0)  # a terminal's Ctrl-C comes once, from the process that started this one
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max((os.cpu_count() or 1) // place.world, 1))
    try:
        with joined(place):
            answer = task(*arguments)
            if place.rank == 0:
                _tell(there, "done", answer)
        return
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException as error:
        name = next((known.__name__ for known in _KNOWN if isinstance(error, known)), "")
        text = str(error) if name else f"process {place.rank} of {place.world}: {type(error).__name__}: {error}"
        _tell(there, "error", (time.time(), name, text, traceback.format_exc()))
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: tidying up would wait for processes that wait for this one, and for loaders that outlast a signal.
    os._exit(status)


def _tell(there: pipes.Connection, kind: str, value: Any) -> None:
    # As bytes: torch would have a pipe's tensors fetched later, from a process that has ended by then.
    there.send_bytes(pickle.dumps((kind, value)))


def _die_with_parent() -> None:
    """Ends this process and its loaders when the one that started it is gone, also by SIGKILL, which tells nobody."""
    parent = parent_process()
    assert parent is not None
    pipes.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
