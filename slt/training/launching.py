"""Starts the processes of a run on this machine and looks after them: one that dies takes the others along.

A SLURM job or torchrun does this for several machines; see `slt.training.processes.outside`. torch's elastic launcher
is not used here (2.14): it ends processes one by one and not their groups, so that loaders of a killed one stay; it
waits 30 seconds for those that hold a SIGTERM back until they have saved, which ours do while they wait for the lost
one; and it reports the process that failed first, which may be one that only lost its connection to the killed one.
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
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from slt.training.processes import Place, joined, on_signals

# What a user can cause comes back as itself, with its message; the rest as RuntimeError with its traceback.
_KNOWN: tuple[type[Exception], ...] = (ValueError, FileNotFoundError, OSError, ImportError)
# Seconds after the first process has failed in which the others may say what they know: of two that fail, one only
# because the other was gone.
_GRACE = 3.0
# How far a failure is from the cause of the end: a process lost to a signal brings errors about lost connections.
_SIGNAL, _ERROR, _LEFT, _STATUS = range(4)


class _Failure(NamedTuple):
    far: int
    when: float
    error: BaseException


def launch(task: Callable[..., Any], arguments: Sequence[Any], *, count: int) -> Any:
    """Runs `task(*arguments)`, which can be pickled, in `count` processes of this machine; returns rank 0's answer.

    SIGTERM and Ctrl-C are passed on, so that the run can save and leave; a second one ends it at once. Where a process
    fails the others are ended, and whatever ends this process ends them too. Raises what a process raised,
    ChildProcessError for one that was killed, SystemExit with the status of one that left.
    """
    store = dist.TCPStore("127.0.0.1", 0, count + 1, is_master=True, wait_for_workers=False)
    started: dict[pipes.Connection, tuple[int, Any]] = {}  # pipe -> rank, process
    caught: list[int] = []

    def pass_on(number: int, frame: object) -> None:  # to processes that are not in this one's process group
        caught.append(number)
        for _, process in list(started.values()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL if len(caught) > 1 else number)

    try:
        with on_signals(pass_on), _environment_of_workers():
            for rank in range(count):
                here, there = get_context("spawn").Pipe()  # neither CUDA nor torch's threads survive a fork
                place = Place(rank, count, rank, "127.0.0.1", store.port, "devices")
                process = get_context("spawn").Process(
                    target=_serve, args=(there, get_start_method(), place, task, arguments), name=f"rank {rank}"
                )
                process.start()
                there.close()  # so that the death of the process is the end of the pipe
                started[here] = rank, process
            answer, failures = _result(started)
            if not failures:
                return answer
            if caught and not any(failure.far == _ERROR for failure in failures):
                raise SystemExit(128 + caught[0])
            raise min(failures, key=lambda failure: failure[:2]).error
    finally:
        for here, (_, process) in started.items():
            if process.exitcode != 0:  # with the loader processes that it had started: each has a group of its own
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
            process.join()
            here.close()


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


def _result(started: dict[pipes.Connection, tuple[int, Any]]) -> tuple[Any, list[_Failure]]:
    """What rank 0 returns once all have ended, and the failures of those that had any."""
    answer: Any = None
    failures: list[_Failure] = []
    running, deadline = {*started}, float("inf")
    while running and time.monotonic() < deadline:
        for here in pipes.wait(list(running), 0.1 if failures else None):
            assert isinstance(here, pipes.Connection)
            rank, process = started[here]
            which = f"process {rank} of {len(started)}"
            try:
                told = pickle.loads(here.recv_bytes())
            except (EOFError, ConnectionResetError):
                running.discard(here)
                process.join()
                failures += _ended(which, process.exitcode)
                continue
            if "answer" in told:
                answer = told["answer"]
            else:
                error = told["error"]
                error.__cause__ = RuntimeError(f"in {which}:\n{told['trace']}")
                failures.append(_Failure(_ERROR, told["when"], error))
        if deadline == float("inf") and any(failure.far != _LEFT for failure in failures):
            deadline = time.monotonic() + _GRACE
    return answer, failures


def _ended(which: str, code: int) -> list[_Failure]:
    if code < 0:
        said = (
            f"{which} was killed by {signal.Signals(-code).name}, and the others were ended; where memory ran out "
            "(SIGKILL), lower batch_size or num_workers. Checkpoints are as they were: resume=auto goes on"
        )
        return [_Failure(_SIGNAL, time.time(), ChildProcessError(said))]
    if code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
        return [_Failure(_LEFT, time.time(), SystemExit(code))]
    return [_Failure(_STATUS, time.time(), ChildProcessError(f"{which} ended with status {code}"))] if code else []


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

    def tell(**told: Any) -> None:
        # As bytes: torch would have a pipe's tensors fetched later, from a process that has ended by then.
        there.send_bytes(pickle.dumps(told))

    try:
        with joined(place):
            answer = task(*arguments)
            if place.rank == 0:
                tell(answer=answer)
        return
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException as error:
        unknown = RuntimeError(f"process {place.rank} of {place.world}: {type(error).__name__}: {error}")
        said = next((known(str(error)) for known in _KNOWN if isinstance(error, known)), unknown)
        tell(when=time.time(), error=said, trace=traceback.format_exc())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: tidying up would wait for processes that wait for this one, and for loaders that outlast a signal.
    os._exit(status)


def _die_with_parent() -> None:
    """Ends this process and its loaders when the one that started it is gone, also by SIGKILL, which tells nobody."""
    parent = parent_process()
    assert parent is not None
    pipes.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
