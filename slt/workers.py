"""N processes that do one task after the other: what is under way dies with whoever started it, what is done stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = Callable[[], AbstractContextManager[Callable[[Task], Result]]]

# What a user can cause comes back as itself, with its message; the rest as RuntimeError with its traceback.
_KNOWN: tuple[type[Exception], ...] = (ValueError, OSError, ImportError)


def run_tasks(tasks: Sequence[Task], setup: Setup[Task, Result], *, workers: int) -> Iterator[tuple[Task, Result]]:
    """Yield (task, result) as tasks get done.

    Args:
        tasks: sent to the processes, one at a time each.
        setup: opens, in each process, what does the tasks; picklable where there are several processes.
        workers: processes; 1 = this one.

    Raises:
        ChildProcessError: a process was killed.
        Exception: what setup or a task raised.
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
    rest = list(reversed(tasks))
    doing: dict[Connection, Task | None] = {}
    processes: dict[Connection, Any] = {}
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, setup), daemon=True)
            process.start()
            there.close()  # so that the death of the process is the end of the pipe
            processes[here], doing[here] = process, None
        while doing:
            for connection in wait([*doing]):
                assert isinstance(connection, Connection)
                task = doing[connection]
                ready, result = _receive(connection, processes[connection], task)
                doing[connection] = rest.pop() if rest else None
                with suppress(BrokenPipeError):  # said by the next wait, with the process's exit status
                    connection.send(doing[connection])
                if doing[connection] is None:
                    del doing[connection]
                if not ready:
                    assert task is not None
                    yield task, result
    finally:
        for connection, process in processes.items():
            if connection in doing:  # stopped in its midst: a clip may take an hour more
                process.kill()
            process.join()
            connection.close()


def _receive(connection: Connection, process: Any, task: object) -> tuple[bool, Any]:
    """Return whether a process has only begun, and the result of its task."""
    try:
        kind, value = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join()
        code = process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        where = f" at {getattr(task, 'video_id', task)}" if task is not None else ""
        raise ChildProcessError(
            f"a worker process {how}{where}; where memory ran out (SIGKILL), take fewer workers=. What is finished "
            "stays: start again to go on"
        ) from error
    if kind == "error":
        name, text = value
        raise next((known for known in _KNOWN if known.__name__ == name), RuntimeError)(text)
    return kind == "ready", value


def _serve(connection: Connection, setup: Setup[Any, Any]) -> None:
    """Do in a process what comes through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        with setup() as work:
            connection.send(("ready", None))
            while (task := connection.recv()) is not None:
                connection.send(("done", work(task)))
    except (EOFError, BrokenPipeError):
        pass  # the other side has ended
    except _KNOWN as error:
        known = next(known for known in _KNOWN if isinstance(error, known))
        connection.send(("error", (known.__name__, str(error))))
    except BaseException:
        connection.send(("error", ("", traceback.format_exc())))


def _die_with_parent() -> None:
    """End at once when the parent has, also by SIGKILL, which leaves it no time to tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
