"""A run folder as plain values: its state, overrides, scores and curves; what is broken in it is said, not raised."""

from __future__ import annotations

import csv
import json
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from slt.evaluation.prediction import Prediction, headline, read_predictions
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.files import TextLines, atomic
from slt.sweeps.grid import read_plan
from slt.sweeps.status import Status, read_overrides, read_status
from slt.training.record import read_metrics


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        number: of the job in its sweep; None outside of one.
        overrides: key -> value, as text; a deleted key (`~key`) has the value "".
        config: the resolved configuration; empty where the run had none yet.
        metrics: `split/name` -> value (see `_metrics`).
        bounds: `split/name` -> the 95 % bootstrap interval over sentences.
        curves: `split/name` -> (step, value) pairs.
        origin: command, git revision and machine.
        conventions: by which its corpus is scored.
    """

    folder: Path
    number: int | None
    status: Status
    overrides: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    conventions: Conventions = AS_WRITTEN

    @property
    def finished(self) -> bool:
        """Whether its scores count."""
        return self.status.state == "finished"

    @property
    def seed(self) -> str:
        """As text, such as `1`; of the configuration where no override sets it, or one says `null`: draw one."""
        given = self.overrides.get("seed", "null")
        return str(self.config.get("seed", "")) if given == "null" else given

    @property
    def objective(self) -> str:
        """Name of the validation score that chose its best checkpoint."""
        return f"val/{self.config['select']}" if "select" in self.config else "score"

    @property
    def split(self) -> str | None:
        """The split that its best checkpoint was scored on at the end."""
        return self.config.get("final", self.config.get("split"))

    @cached_property
    def predictions(self) -> list[Prediction]:
        """Its translations of `split`; none where there is no such file, or a broken one."""
        try:
            return read_predictions(self.folder / "predictions.tsv")
        except (OSError, ValueError):
            return []

    def value_of(self, key: str) -> str:
        """What a key was set to: by an override, else by the configuration."""
        if key in self.overrides or key.startswith("~"):
            return self.overrides.get(key, "kept")
        chosen: Any = self.config.get("_choices", {}).get(key)
        if chosen is None:
            chosen = self.config
            for part in key.split("."):
                chosen = chosen.get(part) if isinstance(chosen, Mapping) else None
        return chosen if isinstance(chosen, str) else json.dumps(chosen)


def read_run(folder: Path, *, number: int | None = None, planned: Iterable[str] = ()) -> Run:
    """Reads a run folder, also one that is not there yet, is being written, or is broken.

    `number` is that of the job in its sweep, `planned` its overrides, for one that has not begun.
    """
    given = read_overrides(folder)
    status = read_status(folder)
    if status is None:
        done = (folder / "scores.json").is_file()  # runs of before there was a status.json
        state = "finished" if done else "unknown" if folder.is_dir() and given is not None else "waiting"
        status = Status(state, failure="it has neither status.json nor scores.json" if state == "unknown" else None)
    run = Run(folder, number, status, dict(map(pair_of, planned if given is None else given)))
    try:
        choices = _mapping(folder / ".hydra" / "hydra.yaml").get("hydra", {}).get("runtime", {}).get("choices", {})
        chosen = {key: str(value) for key, value in choices.items() if "/" not in key and value is not None}
        config = _mapping(folder / "config.yaml") | {"_choices": chosen}
        curves = read_metrics(folder / "metrics.csv") if (folder / "metrics.csv").is_file() else {}
        scores, origin = _mapping(folder / "scores.json"), _mapping(folder / "origin.json")
        conventions = Conventions.of((config.get("dataset") or {}).get("scoring"))
        run = replace(run, config=config, curves=curves, origin=origin, conventions=conventions)
        metrics, bounds = _metrics(run, scores)
        return replace(run, metrics=metrics, bounds=bounds)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, yaml.YAMLError) as error:
        broken = f"its files cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"
        return replace(run, status=replace(status, state="unknown", failure=broken))


def read_sweep(folder: Path) -> list[Run]:
    """The jobs of a sweep, those that have not begun too, and those of an earlier and larger grid."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give that of a sweep, as outputs/sweeps/train/DATE/TIME")
    jobs = {str(job["folder"]): job for job in read_plan(folder)["jobs"]}
    here = {path.parent.name for name in ("status.json", ".hydra") for path in folder.glob(f"*/{name}")}
    for name in sorted(here - {*jobs}, key=lambda name: (len(name), name)):
        jobs[name] = {"number": int(name) if name.isdecimal() else len(jobs), "folder": name, "overrides": []}
    if not jobs:
        raise FileNotFoundError(f"{folder}: no sweep is there: neither sweep.json nor numbered run folders in it")
    return [
        read_run(folder / name, number=job["number"], planned=job["overrides"])
        for name, job in sorted(jobs.items(), key=lambda pair: pair[1]["number"])
    ]


def find_runs(outputs: Path) -> dict[str, list[Path]]:
    """Recipe -> folders of its runs below `outputs`, but for those of debug=..., in the order of their paths.

    Links are followed; what several lead to is one run, by the name that needs the fewest of them.
    """
    found: dict[str, list[Path]] = {}
    folders, seen, tops = [], set(), [outputs]
    for top in tops:  # which grows by the links that are met
        for name, below, files in os.walk(top):
            here = Path(name)
            if (itself := here.resolve()) in seen:  # or a link to a folder above would never end
                below.clear()
                continue
            seen.add(itself)
            tops += [here / one for one in below if (here / one).is_symlink()]
            if ".hydra" in below or "status.json" in files:
                folders.append(here)
    for folder in sorted(folders, key=lambda path: [(len(part), part) for part in path.parts]):
        given = dict(word.partition("=")[::2] for word in read_overrides(folder) or [])
        if "experiments" in given and given.get("debug", "null") == "null":
            found.setdefault(given["experiments"], []).append(folder)
    return found


def pair_of(override: str) -> tuple[str, str]:
    """Key and value of an override, as text."""
    key, _, value = override.lstrip("+").partition("=")
    return key, value.lower() if value in ("True", "False") else value  # a sweep of Hydra's writes Python's words


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a CSV file, cells empty where a row has no such column."""
    with atomic(path) as file:
        writer = csv.DictWriter(TextLines(file), [*columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name}: expected keys with values, got {type(found).__name__}")
    return found


def _metrics(run: Run, scores: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """All that a table can show of a run, and intervals.

    - `SPLIT/NAME`, such as `test/bleu`: of scores.json, as `headline` gives them.
    - `val/NAME`: at the step of the best checkpoint. `train/loss`: the last; any other `train/NAME`: the median.
    - `seconds`, `best_step`.
    """
    found = {} if run.status.seconds is None else {"seconds": run.status.seconds}
    best = max(run.curves.get(run.objective) or [], key=lambda point: point[1], default=None)
    if best is not None:
        found["best_step"] = best[0]
    for name, points in run.curves.items():
        if name.startswith("train/"):
            values = [value for _, value in points]
            found[name] = values[-1] if name == "train/loss" else statistics.median(values)
        elif best is not None and best[0] in dict(points):
            found[name] = dict(points)[best[0]]
    if run.objective == "score" and run.status.value is not None:
        found["score"] = run.status.value
    found |= {f"{run.split}/{name}": value for name, value in headline(scores).items()}
    return found, {
        f"{run.split}/{name}": (float(score["low"]), float(score["high"]))
        for name, score in scores.get("scores", {}).items()
        if score.get("low") is not None
    }
