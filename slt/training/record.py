"""What a run leaves behind: metrics.csv, curves, and where it came from.

metrics.csv has one measured value a line (`step,name,value`): rows are appended and survive a kill.
"""

from __future__ import annotations

import csv
import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import torch

from slt.files import atomic, write_json
from slt.training.processes import first

log = logging.getLogger(__name__)

Row = tuple[int, str, float]  # step, name, value

PACKAGES = ("torch", "transformers", "timm", "hydra-core", "omegaconf", "numpy", "sacrebleu", "mediapipe", "wandb")


class Sink(Protocol):
    """Anything that wants the metrics too, such as a dashboard."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...


class Record:
    """Metrics of one run, in memory and in `<folder>/metrics.csv`; `sinks` are told of them too."""

    def __init__(self, folder: Path, sinks: list[Sink]) -> None:
        self.path = folder / "metrics.csv"
        self.sinks = sinks
        self.curves: dict[str, list[tuple[int, float]]] = {}
        if first() and not self.path.exists():
            self._begin([])

    def _begin(self, rows: Iterable[Row]) -> None:
        """Writes the file with these rows; a kill leaves the one before."""
        with atomic(self.path) as file:
            file.write("".join(["step,name,value\n", *map(_line, rows)]).encode())

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one step, named `split/name`."""
        if not first():
            return
        with self.path.open("ab") as file:
            file.write("".join(_line((step, name, float(value))) for name, value in metrics.items()).encode())
        for name, value in metrics.items():
            self.curves.setdefault(name, []).append((step, float(value)))
        for sink in self.sinks:
            sink.log(step, metrics)
        level = logging.INFO if any(name.startswith("val/") for name in metrics) else logging.DEBUG
        log.log(level, "step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    def carry_over(self, earlier: Path | None, step: int) -> None:
        """Starts with the rows of an earlier run's metrics.csv up to `step`, so that a resumed run's file is whole.

        None, or a file that is not there: starts with no rows, whatever an attempt before the first checkpoint left.
        """
        if not first():
            return
        rows = [row for row in _rows(earlier) if row[0] <= step] if earlier is not None and earlier.exists() else []
        self._begin(rows)
        self.curves = _curves(rows)
        # Or a dashboard would know the best score since the resumption only.
        for s, of_step in groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(0)):
            metrics = {name: value for _, name, value in of_step}
            for sink in self.sinks:
                sink.log(s, metrics)


def _line(row: Row) -> str:
    step, name, value = row
    return f"{step},{name},{value!r}\n"


def _rows(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]  # a crash or a full disk can cut the last row short
    reader = csv.DictReader(whole.splitlines())
    try:
        for row in reader:
            yield int(row["step"]), str(row["name"]), float(row["value"])
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} line {reader.line_num}: `step,name,value` expected ({error}); remove it") from error


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """metrics.csv -> name -> [(step, value)], without a last row that was cut short."""
    return _curves(_rows(path))


def _curves(rows: Iterable[Row]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in rows:
        curves.setdefault(name, []).append((step, value))
    return curves


def write_origin(folder: Path) -> dict[str, Any]:
    """Writes `<folder>/origin.json`: command, git revision, package versions, machine."""
    origin = {
        "command": sys.argv,
        "git": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in PACKAGES},
    }
    write_json(folder / "origin.json", origin)
    return origin


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if "model name" in line:
                return line.partition(":")[2].strip()
    return platform.processor()


def _git(*arguments: str) -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
