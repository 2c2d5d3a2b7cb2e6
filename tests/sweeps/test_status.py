"""status.json says how a run ended, also when the run cannot say it any more, and one process holds a run folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slt.config.checks import HOME
from slt.sweeps import status
from slt.sweeps.status import claimed, read_overrides, read_status

RACE = """import os, sys
from pathlib import Path
from slt.sweeps.status import claimed, new_folder
ready, go = os.pipe()
for _ in range(16):
    if os.fork() == 0:
        os.close(go)
        os.read(ready, 1)  # until all are there
        folder = new_folder(Path("runs/now"))
        with claimed(folder, [], tell=str) as claim:
            claim.write("running")
            claim.end(0)
        os._exit(0)
os.close(go)
sys.exit(any(os.wait()[1] for _ in range(16)))
"""


def begun(folder, *overrides):
    with claimed(folder, list(overrides), tell=str) as claim:
        claim.write("running")


@pytest.fixture
def held(tmp_path, at_work):
    """A folder whose run another process is at work on."""
    begun(tmp_path, "seed=1")
    with at_work(tmp_path):
        yield tmp_path


def test_run_that_ends_well_leaves_its_value_and_its_time(tmp_path):
    with claimed(tmp_path, ["seed=1"], tell=str) as claim:
        claim.write("running")
        claim.end(12.5)
    found = read_status(tmp_path)
    assert (found.state, found.value, found.exit, found.overrides) == ("finished", 12.5, 0, ["seed=1"])
    assert found.seconds >= 0


@pytest.mark.parametrize(("value", "exit"), [(0, 0), (2, 2)])
def test_whole_number_is_an_exit_status(tmp_path, value, exit):
    with claimed(tmp_path, [], tell=str) as claim:
        claim.end(value)
    found = read_status(tmp_path)
    assert (found.exit, found.state == "finished") == (exit, exit == 0)


@pytest.mark.parametrize(("error", "state", "exit"), [
    (ValueError("no such thing"), "failed", 1), (SystemExit(143), "stopped", 143),
    (KeyboardInterrupt(), "stopped", 130),
])  # fmt: skip
def test_error_and_signal_are_told_apart(tmp_path, error, state, exit):
    with pytest.raises(type(error)), claimed(tmp_path, [], tell=lambda e: f"told: {e}"):
        raise error
    found = read_status(tmp_path)
    assert (found.state, found.exit) == (state, exit)
    assert state != "failed" or found.failure == "told: no such thing"


def test_run_whose_process_is_gone_was_killed(tmp_path):
    begun(tmp_path)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
    assert read_status(tmp_path).state == "killed"


def test_run_whose_process_lives_is_running_and_its_folder_is_not_given_to_another(held):
    assert read_status(held).state == "running"
    with pytest.raises(ValueError, match=r"another process \(process \d+ on .*\) is writing to this run folder"):
        begun(held)
    assert read_status(held).overrides == ["seed=1"]


def test_of_processes_that_want_one_new_folder_each_gets_its_own(tmp_path):
    subprocess.run([sys.executable, "-c", RACE], check=True, env={**os.environ, "PYTHONPATH": str(HOME)})
    made = {path.name: read_status(path) for path in Path("runs").iterdir()}
    assert {*made} == {"now", *(f"now-{n}" for n in range(2, 17))}
    assert len({found.pid for found in made.values() if found.state == "finished"}) == 16


def test_reading_a_run_takes_no_lock(tmp_path, held, monkeypatch):
    monkeypatch.setattr(status.fcntl, "lockf", lambda *_: pytest.fail("a lock that the writer could meet"))
    assert read_status(held).state == "running"


def test_reading_its_own_folder_does_not_cost_a_run_its_lock(tmp_path):
    with claimed(tmp_path, ["seed=1"], tell=str) as claim:
        claim.write("running")
        assert read_status(tmp_path).state == "running"
        code = "from pathlib import Path; from slt.sweeps.status import read_status; print(read_status(Path()).state)"
        house = {**os.environ, "PYTHONPATH": str(HOME)}
        other = subprocess.run([sys.executable, "-c", code], check=True, env=house, stdout=subprocess.PIPE, text=True)
    assert other.stdout == "running\n"


def test_run_that_ends_while_it_is_read_was_not_killed(tmp_path, monkeypatch):
    begun(tmp_path)

    def ends(handle):
        (tmp_path / "status.json").write_text(json.dumps({"state": "finished"}))
        return False

    monkeypatch.setattr(status, "_held", ends)
    assert read_status(tmp_path).state == "finished"


def test_file_that_a_killed_run_left_half_written_is_gone_when_the_run_goes_on(tmp_path):
    begun(tmp_path)
    left, other = tmp_path / f".scores.json.{os.getpid()}.tmp", tmp_path / ".scores.json.0.tmp"
    for path in (left, other):
        path.touch()
    begun(tmp_path)
    assert (left.exists(), other.exists()) == (False, True)


def test_time_of_a_run_that_was_stopped_counts_on(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps({"state": "stopped", "seconds": 100.0}))
    begun(tmp_path)
    assert read_status(tmp_path).seconds >= 100


@pytest.mark.parametrize("killed", [False, True])
def test_shorter_status_leaves_nothing_of_a_longer_one(tmp_path, monkeypatch, killed):
    begun(tmp_path, "x" * 500)
    if killed:  # in the middle of writing
        monkeypatch.setattr(os, "ftruncate", lambda *_: None)
    begun(tmp_path)
    assert read_status(tmp_path).overrides == []


@pytest.mark.parametrize(
    "text",
    [
        '{"state": "fini',
        '{"state": "asleep"}',
        '{"stat": 1}',
        "[]",
        '{"state": "failed", "seconds": {}}',
        '{"state": "failed", "overrides": [null]}',
        "[" * 5000,
        '{"state": []}',
        '{"state": "failed", "overrides": [1]}',
    ],
)
def test_broken_status_is_said_and_not_raised(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    found = read_status(tmp_path)
    assert found.state == "unknown"
    assert "status.json" in found.failure


def test_overrides_of_a_run_of_before_are_hydras(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- seed=3\n")
    assert read_overrides(tmp_path) == ["seed=3"]
    assert read_overrides(tmp_path / "elsewhere") is None


def test_only_the_first_of_several_processes_of_a_run_keeps_the_books(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    begun(tmp_path)
    assert not (tmp_path / "status.json").exists()
