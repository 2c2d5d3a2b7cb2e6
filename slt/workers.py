"""N processes that do one task after the other: what is under way dies with whoever started it, what is done stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any, TypeVar

from slt.files import OutputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = Callable[[], AbstractContextManager[Callable[[Task], Result]]]

# What a user can cause comes back as itself, with its message; the rest as RuntimeError with its traceback.
_KNOWN: tuple[type[Exception], ...] = (OutputError, ValueError, OSError, ImportError)
_here: dict[str, Any] = {}  # in a worker: what opens its work, the work once it is open, and who does which task


def cores() -> int:
    """How many cores this process may use, which a batch system or a container may have made fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(tasks: Sequence[Task], setup: Setup[Task, Result], *, workers: int) -> Iterator[tuple[Task, Result]]:
    """Yield (task, result) as tasks get done, by what `setup` opens in each process; one worker is this process.

    What setup or a task raised is raised; ChildProcessError where a process was killed.
    """
    if workers > 1 and len(tasks) > 1:
        yield from _spread(tasks, setup, min(workers, len(tasks)))
    elif tasks:
        with setup() as work:
            for task in tasks:
                yield task, work(task)


def _spread(tasks: Sequence[Task], setup: Setup[Task, Result], workers: int) -> Iterator[tuple[Task, Result]]:
    # Spawned, not forked: threads of the libraries that this process has used do not survive a fork.
    context = multiprocessing.get_context("spawn")
    doing = context.RawArray("q", len(tasks))  # which process is at each task: there, too, when it was killed
    before = {*multiprocessing.active_children()}
    processes: set[Any] = set()
    pool = ProcessPoolExecutor(workers, context, _begin, (setup, doing))
    try:
        with _main_left_out():
            futures = {pool.submit(_do, place, task): task for place, task in enumerate(tasks)}
        processes = {*multiprocessing.active_children()} - before
        for future in as_completed(futures):
            yield futures[future], future.result()
        pool.shutdown()  # each closes what it has opened
    except BrokenProcessPool as error:
        pool.shutdown()
        raise ChildProcessError(_death(processes, tasks, list(doing))) from error
    finally:
        for process in {*multiprocessing.active_children()} - before:
            process.kill()  # a task that is under way is not waited for: a clip may take an hour more
        pool.shutdown(cancel_futures=True)


def _death(processes: Iterable[Any], tasks: Sequence[Any], doing: Sequence[int]) -> str:
    # The pool has ended the others by SIGTERM.
    codes = {process.pid: process.exitcode for process in processes}
    dead, code = next((one for one in codes.items() if one[1] not in (None, 0, -signal.SIGTERM)), (0, 0))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    where = f" at {getattr(tasks[doing.index(dead)], 'video_id', tasks[doing.index(dead)])}" if dead in doing else ""
    return (
        f"a worker process {how}{where}; where memory ran out (SIGKILL), take fewer workers=. What is finished "
        "stays: start again to go on"
    )


@contextmanager
def _main_left_out() -> Iterator[None]:
    """Spawn processes that do not import the main module again: slow, and without a `__main__` guard it fails."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin(setup: Setup[Any, Any], doing: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    _here.update(setup=setup, doing=doing)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End at once when the parent has, also by SIGKILL, which leaves it no time to tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _do(place: int, task: Any) -> Any:
    try:
        if "work" not in _here:
            opened = ExitStack()
            _here["work"] = opened.enter_context(_here["setup"]())
            Finalize(None, opened.close, exitpriority=0)
        _here["doing"][place] = os.getpid()
        result = _here["work"](task)
        _here["doing"][place] = 0
        return result
    except _KNOWN as error:
        known = next(known for known in _KNOWN if isinstance(error, known))
        raise known(str(error)) from None
    except BaseException:
        raise RuntimeError(traceback.format_exc()) from None
