"""Tasks in several processes: all get done, and what goes wrong in a process is said in this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from slt.workers import run_tasks


@contextmanager
def squares(where: int = -1, how: str = "") -> Iterator:
    """Gives what squares a number, and at the number `where` does something else."""

    def work(number: int) -> tuple[int, int]:
        if number == where:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"ValueError": ValueError, "ModuleNotFoundError": ModuleNotFoundError, "KeyError": KeyError}[how](
                "no"
            )
        return number**2, os.getpid()

    if where == 0:
        raise FileNotFoundError("no model there")
    yield work


def test_all_tasks_get_done_in_so_many_processes():
    done = dict(run_tasks(range(1, 21), squares, workers=3))
    assert {number: square for number, (square, _) in done.items()} == {n: n**2 for n in range(1, 21)}
    assert os.getpid() not in {pid for _, pid in done.values()}


def test_one_process_is_this_one():
    assert {pid for _, (_, pid) in run_tasks(range(3), squares, workers=1)} == {os.getpid()}
    assert list(run_tasks([], squares, workers=4)) == []


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("ValueError", ValueError, "^no$"),
        ("ModuleNotFoundError", ImportError, "^no$"),
        ("KeyError", RuntimeError, "Traceback"),
        ("killed", ChildProcessError, "a worker process was killed by SIGKILL at 7; where memory ran out"),
    ],
)
def test_what_goes_wrong_in_a_process_is_said_here(how, kind, message):
    with pytest.raises(kind, match=message):
        list(run_tasks(range(1, 40), partial(squares, 7, how), workers=2))


def test_what_cannot_be_opened_is_said_before_any_task():
    with pytest.raises(OSError, match="no model there"):
        list(run_tasks([1, 2], partial(squares, 0), workers=2))
