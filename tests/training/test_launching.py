"""Starting processes: what they give back, and that one that fails, however it does, ends the others with the cause."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slt.training import processes
from slt.training.launching import launch


def end(how: str, folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    processes.wait()
    if processes.rank() == 1 and how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif processes.rank() == 1:
        raise {"user": FileNotFoundError("no such corpus"), "bug": KeyError("pose")}[how]
    processes.wait()


def sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(300)


def idle(folder: Path) -> None:
    time.sleep(300)
    (folder / "ended by itself").touch()


def load(method: str, folder: Path) -> None:
    """Starts a loader in each of two processes, the way `method`; then the second is killed."""
    assert multiprocessing.get_start_method() == method
    loader = multiprocessing.Process(target=idle, args=(folder,))
    loader.start()
    (folder / str(loader.pid)).touch()
    processes.wait()
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)


def assert_gone(folder: Path, seconds: float = 60) -> None:
    assert len(list(folder.iterdir())) == 2
    limit = time.monotonic() + seconds
    while any(alive(int(path.name)) for path in folder.iterdir()):
        assert time.monotonic() < limit
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("kill", ChildProcessError, "process 1 of 2 was killed by SIGKILL, and the others were ended"),
        ("user", FileNotFoundError, "^no such corpus$"),
        ("bug", RuntimeError, "process 1 of 2: KeyError: 'pose'"),
    ],
)
def test_a_process_that_fails_ends_the_others_with_the_cause(
    tmp_path: Path, how: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        launch(end, (how, tmp_path), count=2)
    assert how == "kill" or "Traceback" in str(raised.value.__cause__)
    assert_gone(tmp_path)


def test_loaders_start_as_in_one_process_and_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match="process 1 of 2 was killed by SIGKILL"):
        launch(load, (multiprocessing.get_start_method(), tmp_path), count=2)
    assert_gone(tmp_path)


LAUNCHES = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_launching import sleep
from slt.training.launching import launch
launch(sleep, (Path(sys.argv[2]),), count=2)
"""


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", LAUNCHES, str(Path(__file__).parent), str(tmp_path)])
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    child.kill()
    assert child.wait(120) == -signal.SIGKILL
    assert_gone(tmp_path)


def test_a_signal_is_passed_on_and_its_status_handed_back(tmp_path: Path) -> None:
    def stop() -> None:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(SystemExit) as left:
        launch(sleep, (tmp_path,), count=2)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert_gone(tmp_path)


def until(ready: Callable[[], bool], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < limit
        time.sleep(0.02)
