"""Runs that differ in nothing but their seed, taken together: means, intervals, and the difference to the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slt.evaluation.metrics import paired
from slt.evaluation.resampling import Difference
from slt.evaluation.settings import Conventions
from slt.sweeps.runs import Run

BOOTSTRAP, SEED = 1000, 1  # resamples and their seed: the same page from the same runs
LEVEL = 0.05  # a p below it tells two settings apart
# Keys that do not make two runs two experiments.
IGNORED = (
    "seed",
    "experiments",
    "sweep",
    "study",
    "device",
    "num_workers",
    "resume",
    "wandb",
    "board",
    "debug",
    "hydra",
)
# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom (any textbook's table).
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
           2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
           2.042)  # fmt: skip


@dataclass(frozen=True)
class Mean:
    """A mean over `n` seeds with the bounds of its 95 % t interval, None for a single one."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass
class Group:
    """Runs of one setting, whatever their seed and state: the keys that tell groups apart, their values and a label.

    `difference` is that of the final score to the best group's, `place` its own among the groups by the paired test of
    all pairs (`Paired.places`); None where sentences cannot be compared.
    """

    keys: tuple[str, ...]
    values: tuple[str, ...]
    label: str
    runs: list[Run] = field(default_factory=list)
    difference: Difference | None = None
    place: int | None = None

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.finished]

    def mean(self, metric: str) -> Mean | None:
        """Over the finished runs that have the metric; None where there is none."""
        found = [run.metrics[metric] for run in self.finished if math.isfinite(run.metrics.get(metric, math.nan))]
        return mean(found) if found else None


def mean(values: Sequence[float]) -> Mean:
    """The mean of N > 0 values with its t interval: value +- t(0.975, N - 1) * s / sqrt(N), s with N - 1."""
    n, middle = len(values), float(np.mean(values))
    if n == 1:
        return Mean(middle, None, None, 1)
    # Past the table its last quantile is used: at most 4 % too wide.
    half = STUDENT[min(n - 1, len(STUDENT)) - 1] * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Mean(middle, middle - half, middle + half, n)


def counts(key: str) -> bool:
    """Whether runs that differ in a key are two experiments."""
    return key.split(".")[0] not in IGNORED


def differing(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ, but for those that make no experiment, in the order they were given in."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides if counts(key))
    return [key for key in keys if len({run.value_of(key) for run in runs}) > 1]


def grouped(runs: Sequence[Run], keys: Sequence[str]) -> list[Group]:
    """Runs by the values of `keys`, in the order met."""
    groups: dict[tuple[str, ...], Group] = {}
    for run in runs:
        values = tuple(run.value_of(key) for key in keys)
        label = ", ".join(map(label_of, keys, values)) or "all runs"
        groups.setdefault(values, Group(tuple(keys), values, label)).runs.append(run)
    return list(groups.values())


def label_of(key: str, value: str, *, shown: str = "") -> str:
    """`key=value`, or for a key that was deleted `without key`; `shown` stands in the key's place."""
    name = (shown or key).lstrip("~")
    if key.startswith("~"):
        return f"with {name}" if value == "kept" else f"without {name}"
    return f"{name}={value}"


def ranked(groups: Sequence[Group], objective: str) -> list[Group]:
    """Groups by their mean validation score, the best first; those without one last."""

    def height(group: Group) -> float:
        found = group.mean(objective)
        return -math.inf if found is None else found.value

    return sorted(groups, key=height, reverse=True)


def compare_groups(groups: Sequence[Group]) -> None:
    """Sets each group's place, and its difference to the first one that has translations, by that one's rules.

    The groups come the best first.
    """
    reference: list[tuple[str, str]] = []
    signers: list[str] = []
    systems: dict[str, list[list[str]]] = {}
    conventions: list[Conventions] = []
    for place, group in enumerate(groups):
        for run in group.finished:
            sentences = [(p.id, p.reference) for p in run.predictions]
            reference, signers = reference or sentences, signers or [p.signer for p in run.predictions]
            if sentences and sentences == reference:  # of other sentences a paired difference means nothing
                systems.setdefault(str(place), []).append([p.hypothesis for p in run.predictions])
                conventions.append(run.conventions)
    if len(systems) < 2:
        return
    texts, best = [text for _, text in reference], next(iter(systems))
    draws: dict[str, Any] = {"bootstrap": BOOTSTRAP, "seed": SEED, "signers": signers}
    tested = paired(systems, texts, conventions=conventions[0], **draws)
    for name, place in tested.places(LEVEL).items():
        groups[int(name)].place = place
        groups[int(name)].difference = None if name == best else tested.difference(name, best)
