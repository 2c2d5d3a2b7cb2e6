"""What the tests of sweeps share: one real sweep of the command line, and run folders written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

QUICK = ("evaluation.shuffled=true", "evaluation.report_strips=0", "evaluation.bootstrap=10")


@dataclass
class Swept:
    """A sweep's folder, its command line without the folder, and what it printed."""

    folder: Path
    words: list[str]
    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def made() -> list[Swept]:
    """The one real sweep, once a test has run it."""
    return []


@pytest.fixture
def real_sweep(entry: Any, tiny: list[str], tmp_path_factory: pytest.TempPathFactory, made: list[Swept]) -> Swept:
    """Two seeds of two settings, of which one (jobs 2 and 3) cannot be built; run once, and changed by no test."""
    if not made:
        words = ["-m", *tiny, *QUICK, "temporal.num_heads=2,3", "seed=1,2"]
        ran = entry("train", *words, "hydra.sweep.dir=swept")
        home = tmp_path_factory.mktemp("sweep") / "swept"
        shutil.move("swept", home)
        made.append(Swept(home, words, ran.status, ran.out, ran.err))
    return made[0]


@pytest.fixture
def swept(real_sweep: Swept, tmp_path: Path) -> Swept:
    """A copy of it, `swept` in the test's own folder."""
    shutil.copytree(real_sweep.folder, tmp_path / "swept")
    return Swept(tmp_path / "swept", real_sweep.words, real_sweep.status, real_sweep.out, real_sweep.err)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write the files of a finished run: `place` below tmp_path, its overrides, and scores of the test split."""

    def make(place: str, *overrides: str, state: str = "finished", begun: str = "2026-01-01", **scores: float) -> Path:
        folder = tmp_path / place
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
        status: dict[str, Any] = {"state": state, "overrides": list(overrides), "seconds": 9.0, "started": begun}
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "config.yaml").write_text(yaml.safe_dump({"select": "bleu", "final": "test", "seed": 1}))
        (folder / "metrics.csv").write_text("step,name,value\n10,val/bleu,4.0\n20,val/bleu,6.0\n20,train/loss,1.0\n")
        given = {name: {"value": value, "low": value - 1, "high": value + 1} for name, value in scores.items()}
        (folder / "scores.json").write_text(json.dumps({"scores": given, "loss": 2.0}))
        origin = {"command": ["/mnt/who/slt/train.py", *overrides], "git": "a" * 40, "processor": "Abacus", "cores": 2}
        (folder / "origin.json").write_text(json.dumps(origin))
        return folder

    return make
