"""The profiler in the loop: it records the updates after the warm-up, and writes what it has of a run that stops."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slt.training.loop import Trainer
from slt.training.machine import profiler
from slt.training.settings import Profile

CPU = torch.device("cpu")


def recorded(folder: Path) -> int:
    (line,) = re.findall(r"ProfilerStep.*", (folder / "profile.txt").read_text(encoding="utf-8"))
    return int(line.split()[-1])


@pytest.mark.parametrize(("updates", "expected"), [(6, 2), (4, 2)])
def test_updates_after_the_warm_up_are_in_the_table_and_the_trace(
    trainer: Callable[..., Trainer], tmp_path: Path, updates: int, expected: int
) -> None:
    watching = profiler(tmp_path, CPU, Profile(warmup=2, steps=2))
    trainer(profiler=watching, max_steps=updates).run()
    assert recorded(tmp_path) == expected
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
    assert sum(name.startswith("ProfilerStep") for name in names) >= expected
    assert any(name.startswith("aten::") for name in names)


def test_a_run_that_ends_early_leaves_what_was_recorded(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer(profiler=profiler(tmp_path, CPU, Profile(warmup=2, steps=50)), max_steps=4).run()
    assert recorded(tmp_path) >= 2
    assert (tmp_path / "trace.json.gz").is_file()


def test_a_profiled_run_learns_what_the_plain_one_does(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    losses = []
    for folder, watching in (("plain", None), ("watched", profiler(tmp_path, CPU, Profile(warmup=1, steps=1)))):
        run = trainer(folder=tmp_path / folder, profiler=watching)
        run.run()
        losses.append(run.record.curves["train/loss"])
    assert losses[0] == losses[1]
