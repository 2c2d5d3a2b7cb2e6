"""The lab notebook's tables, made from runs: between `<!-- report:NAME -->` and `<!-- /report -->` nobody types.

A study is a recipe with a mapping `study`. Its runs are found by their override `experiments=NAME`; what the table was
made from is kept beside the notebook, in results/NAME.csv, one row a run, so that a clone without runs makes it too.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from slt.files import atomic
from slt.sweeps.grid import jobs_of, read_plan
from slt.sweeps.groups import counts, label_of, mean
from slt.sweeps.runs import Run, find_runs, pair_of, read_run, write_table
from slt.text import near

MARK = re.compile(r"<!-- report:(?P<name>[\w-]+) -->\n(?P<body>.*?)<!-- /report -->", re.DOTALL)
FIXED = ("overrides", "seed", "git", "machine", "command", "begun")
KEYS = ("question", "metrics", "baseline", "rows", "shared")


@dataclass(frozen=True)
class Study:
    """What a recipe's table shows.

    Attributes:
        metrics: the columns, `split/name` as `slt.sweeps.runs.read_run` gives them.
        baseline: the label of the row that all others are compared with in the first metric; None = no comparison.
        rows: name of a row -> the overrides that its runs have; these rows come first.
        grid: the overrides of each job that the recipe would run, in its order, but for those that make no experiment.
        shared: label of a row -> recipe and label of the same job in another study, whose runs count here too.
    """

    name: str
    metrics: list[str]
    baseline: str | None
    rows: Mapping[str, Mapping[str, str]]
    grid: Sequence[Mapping[str, str]]
    shared: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """One finished run of a study, as results/NAME.csv keeps it."""

    overrides: Mapping[str, str]
    seed: str
    metrics: Mapping[str, float]
    git: str
    machine: str
    command: str
    begun: str


def read_study(path: Path) -> Study | None:
    """The study of a recipe, None where it has none; ValueError names a wrong key or value and the file."""
    try:
        with path.open(encoding="utf-8") as file:  # its name then stands in YAML's own message
            recipe = yaml.safe_load(file) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error
    given = recipe.get("study")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: study: expected question, metrics and baseline, got {given!r}")
    for key in map(str, given):
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise ValueError(f"{path}: study.{key}: there is no such key{near(key, KEYS)} (there are: {known})")
    metrics = given.get("metrics")
    if not isinstance(given.get("question"), str) or not isinstance(metrics, list) or not metrics:
        raise ValueError(f"{path}: study: expected a question and a list of metrics, as metrics: [test/bleu]")
    shared = {}
    for label, source in (given.get("shared") or {}).items():
        name, _, other = str(source).partition(": ")
        if not (path.parent / f"{name}.yaml").is_file() or "=" not in other:
            raise ValueError(f"{path}: study.shared: {label}: expected 'RECIPE: KEY=VALUE', got {source!r}")
        shared[str(label)] = (name, other)
    rows = {}
    for name, label in (given.get("rows") or {}).items():
        rows[str(name)] = pairs = _overrides(str(label))
        if "" in pairs or "" in pairs.values():
            raise ValueError(f"{path}: study.rows: {name}: expected 'KEY=VALUE ...', got {label!r}")
    jobs = jobs_of(recipe.get("hydra", {}).get("sweeper", {}).get("params", {}))
    return Study(path.stem, [*map(str, metrics)], given.get("baseline"), rows, [*map(_counting, jobs)], shared)


def rebuild(notebook: Path, outputs: Path, names: Sequence[str]) -> list[str]:
    """Writes the notebook's tables anew, and results/NAME.csv where runs were found; returns a line a study for people.

    Args:
        notebook: the Markdown file; recipes and results stand beside it.
        outputs: folder with the runs, at any depth.
        names: of the studies; none = all that the notebook has a place for.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook}: no such file; the notebook stands beside the recipes")
    text = notebook.read_text(encoding="utf-8")
    places = [match["name"] for match in MARK.finditer(text)]
    if text.count("<!-- report:") != len(places):
        raise ValueError(f"{notebook}: each <!-- report:NAME --> ends with a line <!-- /report -->; one does not")
    for name in names:
        if name not in places:
            raise ValueError(
                f"{notebook}: no place for {name!r}{near(name, places)}; write <!-- report:{name} --> and "
                "<!-- /report -->, each on a line of its own, where its table shall stand"
            )
    found = find_runs(outputs)
    lines: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if names and name not in names:
            return match[0]
        recipe = notebook.parent / f"{name}.yaml"
        study = read_study(recipe) if recipe.is_file() else None
        if study is None:
            raise ValueError(f"{notebook}: <!-- report:{name} -->: {recipe} is not there or has no mapping `study`")
        body, line = _report(study, found, notebook.parent / "results")
        lines.append(line)
        return f"<!-- report:{name} -->\n{body}\n<!-- /report -->"

    new = MARK.sub(fill, text)
    if new != text:
        with atomic(notebook) as file:
            file.write(new.encode())
    return lines


def _report(study: Study, found: Mapping[str, Sequence[Path]], results: Path) -> tuple[str, str]:
    """What stands in the study's place, and what was done for whoever asked; writes its results."""
    runs = [read_run(folder) for folder in found.get(study.name, [])]
    left = [f"{run.folder} ({run.status.state})" for run in runs if not run.finished]
    rows = _rows(study.name, runs, results, more=_borrowed(study, found, results))
    line = f"{study.name}: {len(rows)} runs, {len(runs) - len(left)} of them found here"
    line += f"; not in the table: {', '.join(left)}" if left else ""
    if not rows:
        return "Not run here.", line
    known = sorted({metric for row in rows for metric in row.metrics})
    for metric in study.metrics:
        if metric not in known:
            hint = f"{near(metric, known)} (there are: {', '.join(known)})"
            raise ValueError(f"study {study.name}: metrics: no run has {metric!r}{hint}")
    cells = [
        {key: getattr(row, key) for key in FIXED}
        | {"overrides": json.dumps(dict(row.overrides))}
        | {metric: f"{value:.6g}" for metric, value in row.metrics.items()}
        for row in rows
    ]
    write_table(results / f"{study.name}.csv", [*FIXED, *known], cells)
    return table(study, rows), line


def _rows(name: str, runs: Sequence[Run], results: Path, *, more: Sequence[Row] = ()) -> list[Row]:
    """The latest row of each setting and seed: of results/NAME.csv, of `more`, of the runs."""
    rows: dict[tuple[Any, str], Row] = {}
    for row in [*read_rows(results / f"{name}.csv"), *more, *(_row(run) for run in runs if run.finished)]:
        key = (frozenset(row.overrides.items()), row.seed)
        if key not in rows or row.begun >= rows[key].begun:
            rows[key] = row
    return list(rows.values())


def _borrowed(study: Study, found: Mapping[str, Sequence[Path]], results: Path) -> list[Row]:
    """Rows of other studies that are jobs of this one too, under this one's overrides and older than any of its own."""
    rows = []
    for label, (name, other) in study.shared.items():
        theirs = _rows(name, [*map(read_run, found.get(name, []))], results)
        same = [row for row in theirs if row.overrides == _overrides(other)]
        rows += [replace(row, overrides=_overrides(label), begun="") for row in same]
    return rows


def _overrides(label: str) -> dict[str, str]:
    """Keys and values of a label, whose pairs are parted as in a table or as on a command line."""
    return dict(pair_of(word.rstrip(",")) for word in label.split())


def _counting(overrides: Iterable[str]) -> dict[str, str]:
    return {key: value for key, value in map(pair_of, overrides) if counts(key)}


def _has(row: Row, asked: Mapping[str, str]) -> bool:
    """Whether a row has each of some keys, varied yet or not, at its value."""
    return bool(asked) and asked == {key: row.overrides.get(key, "default") for key in asked}


def _group(study: Study, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Label -> its rows: those with names, then as in the recipe's grid, then any others as they were begun."""
    grid, parts = study.grid, {name: list[Row]() for name in [*study.rows, ""]}
    for row in sorted(rows, key=lambda row: next((i for i, job in enumerate(grid) if _has(row, job)), len(grid))):
        parts[next((name for name, asked in study.rows.items() if _has(row, asked)), "")].append(row)
    groups: dict[str, list[Row]] = {}
    for name, part in parts.items():
        if name and not part:
            groups[name] = []
        keys = _varied(part if name else rows)  # runs under one name may yet differ, and are not one setting then
        for row in part:
            words = [name, *(label_of(key, row.overrides.get(key, "default")) for key in keys)]
            groups.setdefault(", ".join(filter(None, words)) or "as the recipe says", []).append(row)
    return groups


def _varied(rows: Sequence[Row]) -> list[str]:
    """The keys in which rows differ."""
    keys = dict.fromkeys(key for row in rows for key in row.overrides)
    return [key for key in keys if len({row.overrides.get(key, "default") for row in rows}) > 1]


def table(study: Study, rows: Sequence[Row]) -> str:
    """The study's results in Markdown: a row a setting, mean over its seeds and 95 % t interval.

    ValueError where no row is the baseline, nor will one be when the recipe's whole grid has been run.
    """
    groups, asked = _group(study, rows), _overrides(study.baseline or "")
    like = [label for label, group in groups.items() if group and _has(group[0], asked)]
    baseline = like[0] if len(like) == 1 and len(groups) > 1 else None
    waiting = study.baseline is not None and len(like) != 1 and len(groups) > 1
    planned = {pair for job in study.grid for pair in job.items()}
    if waiting and not (asked and all(pair in planned or pair[1] == "default" for pair in asked.items())):
        raise ValueError(f"study {study.name}: baseline={study.baseline!r} is no row; there are: {'; '.join(groups)}")
    first = study.metrics[0]
    heads = ["setting", "seeds", *study.metrics, *([f"{first} less {baseline}"] if baseline else [])]
    lines = [_line(heads), _line("---" for _ in heads)]
    for label, group in groups.items():
        cells = [label, ", ".join(sorted((row.seed for row in group), key=lambda seed: (len(seed), seed)))]
        cells += [_interval(row.metrics.get(metric) for row in group) for metric in study.metrics]
        if baseline:
            cells.append("" if label == baseline else _less(group, groups[baseline], first))
        lines.append(_line(cells if group else [label, "not run yet", *[""] * (len(heads) - 2)]))
    paired = ", of differences paired by seed" if baseline else ""
    about = [
        f"Mean over the seeds; in brackets the 95 % t interval of the mean{paired}.",
        *([f"No comparison: {study.baseline} has not been run yet."] if waiting else []),
        *_once("Command", (f"`{row.command}`" for row in rows)),
        *_once("Machine", (row.machine for row in rows)),
        *_once("Revision", (f"`{row.git}`" for row in rows)),
    ]
    return "\n".join([*lines, "", *about])


def _less(rows: Sequence[Row], baseline: Sequence[Row], metric: str) -> str:
    """The mean difference to the baseline, seed by seed; runs whose seed the other has not are left out."""
    theirs = {row.seed: row.metrics[metric] for row in baseline if metric in row.metrics}
    pairs = [row.metrics[metric] - theirs[row.seed] for row in rows if row.seed in theirs and metric in row.metrics]
    return _interval(pairs, sign="+") or "no seed in common"


def _interval(values: Iterable[float | None], sign: str = "") -> str:
    """Mean and interval of the values that there are, "" of none."""
    kept = [value for value in values if value is not None]
    if not kept:
        return ""
    found = mean(kept)
    form = f"{sign}.{2 if abs(found.value) < 1000 else 0}f"
    text = f"{found.value:{form}}"
    return text if found.low is None else f"{text} ({found.low:{form}} to {found.high:{form}})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _once(name: str, values: Iterable[str]) -> list[str]:
    kept = [value for value in dict.fromkeys(values) if value.strip("`")]
    return [f"{name}: {'; '.join(kept)}."] if kept else []


def _row(run: Run) -> Row:
    origin, changed = run.origin, " with changes" if run.origin.get("git_dirty") else ""
    again = read_plan(run.folder.parent)["again"]
    words = again.split() if again else ["python", "-m", "slt.train", *map(str, origin.get("command", [])[1:])]
    # What a command said of one machine's folders is of no use in a notebook, and seeds have a column of their own.
    words = [
        word for word in words if "=" not in word or word.startswith("experiments=") or counts(word.partition("=")[0])
    ]
    command = " ".join(re.sub(r"=/\S*/", "=.../", word) for word in words)
    overrides = {key: re.sub(r"^/\S*/", ".../", value) for key, value in run.overrides.items() if counts(key)}
    git = f"{(origin.get('git') or '')[:12]}{changed}"
    return Row(overrides, run.seed, run.metrics, git, _machine(origin), command, run.status.started or "")


def _machine(origin: Mapping[str, Any]) -> str:
    parts = [str(origin.get("processor") or origin.get("machine") or "")]
    parts += [f"{origin['cores']} cores"] if origin.get("cores") else []
    parts += [", ".join(origin["gpus"]) or "no GPU"] if "gpus" in origin else []
    parts += [f"Python {origin['python']}"] if origin.get("python") else []
    parts += [f"torch {origin['packages']['torch']}"] if origin.get("packages", {}).get("torch") else []
    return ", ".join(filter(None, parts))


def read_rows(path: Path) -> list[Row]:
    """The rows of a results/NAME.csv, none where there is no such file; ValueError names a line that is none."""
    if not path.is_file():
        return []
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, cells in enumerate(csv.DictReader(file), 2):
            try:
                metrics = {key: float(value) for key, value in cells.items() if key not in FIXED and value}
                fixed: dict[str, Any] = {key: cells[key] for key in FIXED}
                rows.append(Row(**{**fixed, "overrides": json.loads(fixed["overrides"])}, metrics=metrics))
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a run's row ({error}); restore it from git") from error
    return rows
