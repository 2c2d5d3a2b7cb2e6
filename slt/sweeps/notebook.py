"""The lab notebook's tables, made from runs: between `<!-- report:NAME -->` and `<!-- /report -->` nobody types.

A study is a recipe with a mapping `study`. Its runs are found by their override `experiments=NAME`; what the table was
made from is kept beside the notebook, in results/NAME.csv, one row a run, so that a clone without runs makes it too.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from slt.files import atomic
from slt.sweeps.grid import jobs_of, read_plan
from slt.sweeps.groups import IGNORED, Mean, label_of, mean
from slt.sweeps.runs import Run, find_runs, pair_of, read_run

MARK = re.compile(r"<!-- report:(?P<name>[\w-]+) -->\n(?P<body>.*?)<!-- /report -->", re.DOTALL)
FIXED = ("overrides", "seed", "git", "machine", "command", "begun")


@dataclass(frozen=True)
class Study:
    """What a recipe's table shows.

    Attributes:
        name: of the recipe.
        question: it answers.
        metrics: the columns, `split/name` as `slt.sweeps.runs.read_run` gives them.
        baseline: the label of the row that all others are compared with in the first metric; None = no comparison.
        rows: name of a row -> the overrides that its runs have; these rows come first.
        grid: the overrides of each job that the recipe would run, in its order.
        shared: label of a row -> recipe and label of the same job in another study, whose runs count here too.
    """

    name: str
    question: str
    metrics: list[str]
    baseline: str | None
    rows: Mapping[str, Mapping[str, str]]
    grid: Sequence[Mapping[str, str]]
    shared: Mapping[str, tuple[str, str]]

    @property
    def planned(self) -> bool:
        """Whether the baseline's pairs are among those of the grid's jobs, or are left at their defaults."""
        known = {pair for job in self.grid for pair in job.items()}
        asked = _overrides(self.baseline or "").items()
        return bool(asked) and all(pair in known or pair[1] == "default" for pair in asked)


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
    """The study of a recipe; None where it has none.

    Raises:
        ValueError: a key that there is not, or a value of another kind, with the file's name.
    """
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
    known = ("question", "metrics", "baseline", "rows", "shared")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{path}: study.{key}: there is no such key{hint} (there are: {', '.join(known)})")
    metrics = given.get("metrics")
    if not isinstance(given.get("question"), str) or not isinstance(metrics, list) or not metrics:
        raise ValueError(f"{path}: study: expected a question and a list of metrics, as metrics: [test/bleu]")
    baseline = given.get("baseline")
    params = recipe.get("hydra", {}).get("sweeper", {}).get("params", {})
    shared = {}
    for label, source in (given.get("shared") or {}).items():
        name, _, other = str(source).partition(": ")
        if not (path.parent / f"{name}.yaml").is_file() or "=" not in other:
            raise ValueError(f"{path}: study.shared: {label}: expected 'RECIPE: KEY=VALUE', got {source!r}")
        shared[str(label)] = (name, other)
    rows = {str(name): _overrides(str(label)) for name, label in (given.get("rows") or {}).items()}
    if empty := [name for name, pairs in rows.items() if "" in pairs or "" in pairs.values()]:
        raise ValueError(f"{path}: study.rows: {empty[0]}: expected 'KEY=VALUE ...', got {given['rows'][empty[0]]!r}")
    grid = [dict(map(pair_of, job)) for job in jobs_of(params)]
    return Study(path.stem, given["question"], list(map(str, metrics)), baseline, rows, grid, shared)


def rebuild(notebook: Path, outputs: Path, names: Sequence[str]) -> list[str]:
    """Writes the notebook's tables anew, and results/NAME.csv where runs were found.

    Args:
        notebook: the Markdown file; recipes and results stand beside it.
        outputs: folder with the runs, at any depth.
        names: of the studies; none = all that the notebook has a place for.

    Returns:
        What was done, a line a study.

    Raises:
        FileNotFoundError, ValueError: no notebook, a place without a recipe or without an end, a recipe with a typo.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook}: no such file; the notebook stands beside the recipes")
    text = notebook.read_text(encoding="utf-8")
    places = [match["name"] for match in MARK.finditer(text)]
    if text.count("<!-- report:") != len(places):
        raise ValueError(f"{notebook}: each <!-- report:NAME --> ends with a line <!-- /report -->; one does not")
    for name in names:
        if name not in places:
            near = difflib.get_close_matches(name, places, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"{notebook}: no place for {name!r}{hint}; write <!-- report:{name} --> and <!-- /report -->, each on "
                "a line of its own, where its table shall stand"
            )
    found = find_runs(outputs)
    told: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if names and name not in names:
            return match[0]
        recipe = notebook.parent / f"{name}.yaml"
        study = read_study(recipe) if recipe.is_file() else None
        if study is None:
            raise ValueError(f"{notebook}: <!-- report:{name} -->: {recipe} is not there or has no mapping `study`")
        body, line = _tell(study, found, notebook.parent / "results")
        told.append(line)
        return f"<!-- report:{name} -->\n{body}\n<!-- /report -->"

    new = MARK.sub(fill, text)
    if new != text:
        with atomic(notebook) as file:
            file.write(new.encode())
    return told


def _tell(study: Study, found: Mapping[str, Sequence[Path]], results: Path) -> tuple[str, str]:
    """What stands in the study's place, and what was done for whoever asked; writes its results."""
    runs = [read_run(folder) for folder in found.get(study.name, [])]
    finished = [run for run in runs if run.finished]
    kept = [*read_rows(results / f"{study.name}.csv"), *_borrowed(study, found, results)]
    rows = _merge(kept, [_row(run) for run in finished])
    known = sorted({metric for row in rows for metric in row.metrics})
    for metric in study.metrics if rows else ():
        if metric not in known:
            near = difflib.get_close_matches(metric, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"study {study.name}: metrics: no run has {metric!r}{hint} (there are: {', '.join(known)})"
            )
    if rows:
        write_rows(results / f"{study.name}.csv", rows)
    left = [f"{run.folder} ({run.status.state})" for run in runs if not run.finished]
    line = f"{study.name}: {len(rows)} runs, {len(finished)} of them found here"
    line += f"; not in the table: {', '.join(left)}" if left else ""
    if not rows:
        return "Not run here.", line
    return table(study, rows), line


def _borrowed(study: Study, found: Mapping[str, Sequence[Path]], results: Path) -> list[Row]:
    """Rows of other studies that are jobs of this one too, under this one's overrides and older than any of its own."""
    rows = []
    for label, (name, other) in study.shared.items():
        theirs = [run for run in map(read_run, found.get(name, [])) if run.finished]
        for row in _merge(read_rows(results / f"{name}.csv"), [_row(run) for run in theirs]):
            if row.overrides == _overrides(other):
                rows.append(replace(row, overrides=_overrides(label), begun=""))
    return rows


def _has(row: Row, asked: Mapping[str, str]) -> bool:
    """Whether a row has each of some keys, varied yet or not, at its value."""
    return bool(asked) and asked == {key: row.overrides.get(key, "default") for key in asked}


def _group(study: Study, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Label -> its rows: those with names, then as in the recipe's grid, then any others as they were begun."""
    grid = [{key: value for key, value in job.items() if key.split(".")[0] not in IGNORED} for job in study.grid]
    parts: dict[str, list[Row]] = {name: [] for name in [*study.rows, ""]}
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


def _overrides(label: str) -> dict[str, str]:
    """Keys and values of a label, whose pairs are parted as in a table or as on a command line."""
    return dict(pair_of(word.rstrip(",")) for word in label.split())


def table(study: Study, rows: Sequence[Row]) -> str:
    """The study's results in Markdown: a row a setting, mean over its seeds and 95 % t interval.

    Raises:
        ValueError: no row is the baseline, nor will one be when the recipe's whole grid has been run.
    """
    groups, asked = _group(study, rows), _overrides(study.baseline or "")
    like = [label for label, group in groups.items() if group and _has(group[0], asked)]
    baseline = like[0] if len(like) == 1 else None
    waiting = study.baseline is not None and baseline is None and len(groups) > 1
    if waiting and not study.planned:
        raise ValueError(f"study {study.name}: baseline={study.baseline!r} is no row; there are: {'; '.join(groups)}")
    first = study.metrics[0]
    compared = baseline is not None and len(groups) > 1
    heads = ["setting", "seeds", *study.metrics, *([f"{first} less {baseline}"] if compared else [])]
    lines = [_line(heads), _line("---" for _ in heads)]
    for label, group in groups.items():
        if not group:
            lines.append(_line([label, "not run yet", *[""] * (len(heads) - 2)]))
            continue
        cells = [label, ", ".join(sorted((row.seed for row in group), key=lambda seed: (len(seed), seed)))]
        cells += [_interval(_mean(group, metric)) for metric in study.metrics]
        if compared:
            cells.append("" if label == baseline else _less(group, groups[baseline or ""], first))
        lines.append(_line(cells))
    about = [
        "Mean over the seeds; in brackets the 95 % t interval of the mean"
        + (", of differences paired by seed." if compared else "."),
        *([f"No comparison: {study.baseline} has not been run yet."] if waiting else []),
        *_once("Command", (f"`{row.command}`" for row in rows)),
        *_once("Machine", (row.machine for row in rows)),
        *_once("Revision", (f"`{row.git}`" for row in rows)),
    ]
    return "\n".join([*lines, "", *about])


def _varied(rows: Sequence[Row]) -> list[str]:
    """The keys in which rows differ."""
    keys = dict.fromkeys(key for row in rows for key in row.overrides)
    return [key for key in keys if len({row.overrides.get(key, "default") for row in rows}) > 1]


def _mean(rows: Sequence[Row], metric: str) -> Mean | None:
    found = [row.metrics[metric] for row in rows if metric in row.metrics]
    return mean(found) if found else None


def _less(rows: Sequence[Row], baseline: Sequence[Row], metric: str) -> str:
    """The mean difference to the baseline, seed by seed; runs whose seed the other has not are left out."""
    theirs = {row.seed: row.metrics[metric] for row in baseline if metric in row.metrics}
    pairs = [row.metrics[metric] - theirs[row.seed] for row in rows if row.seed in theirs and metric in row.metrics]
    return _interval(mean(pairs), sign="+") if pairs else "no seed in common"


def _interval(found: Mean | None, sign: str = "") -> str:
    if found is None:
        return ""
    places = 2 if abs(found.value) < 1000 else 0
    text = f"{found.value:{sign}.{places}f}"
    return text if found.low is None else f"{text} ({found.low:{sign}.{places}f} to {found.high:{sign}.{places}f})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _once(name: str, values: Iterable[str]) -> list[str]:
    kept = [value for value in dict.fromkeys(values) if value.strip("`")]
    return [f"{name}: {'; '.join(kept)}."] if kept else []


def _row(run: Run) -> Row:
    overrides = {key: value for key, value in run.overrides.items() if key.split(".")[0] not in IGNORED}
    origin, changed = run.origin, " with changes" if run.origin.get("git_dirty") else ""
    again = read_plan(run.folder.parent)["again"]
    words = again.split() if again else ["python", "-m", "slt.train", *map(str, origin.get("command", [])[1:])]
    # What a command said of one machine's folders is of no use in a notebook.
    command = " ".join(re.sub(r"=/\S*/", "=.../", word) for word in words if not word.startswith("hydra.sweep.dir="))
    return Row(
        overrides={key: re.sub(r"^/\S*/", ".../", value) for key, value in overrides.items()}, seed=run.seed,
        metrics=run.metrics, git=f"{(origin.get('git') or '')[:12]}{changed}", machine=_machine(origin),
        command=command, begun=run.status.started or "",
    )  # fmt: skip


def _machine(origin: Mapping[str, Any]) -> str:
    parts = [str(origin.get("processor") or origin.get("machine") or "")]
    parts += [f"{origin['cores']} cores"] if origin.get("cores") else []
    parts += [", ".join(origin["gpus"]) or "no GPU"] if "gpus" in origin else []
    versions = [f"Python {origin['python']}"] if origin.get("python") else []
    versions += [f"torch {origin['packages']['torch']}"] if origin.get("packages", {}).get("torch") else []
    return ", ".join([*filter(None, parts), *versions])


def _merge(kept: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """The rows of before with those found now; of the same setting and seed the one begun last."""
    rows: dict[tuple[Any, str], Row] = {}
    for row in [*kept, *found]:
        key = (frozenset(row.overrides.items()), row.seed)
        if key not in rows or row.begun >= rows[key].begun:
            rows[key] = row
    return list(rows.values())


def read_rows(path: Path) -> list[Row]:
    """The rows of a results/NAME.csv; none where there is no such file.

    Raises:
        ValueError: it is not such a table, with the line.
    """
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


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes results/NAME.csv."""
    metrics = sorted({metric for row in rows for metric in row.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *metrics])
    for row in rows:
        fixed = [json.dumps(dict(row.overrides)), row.seed, row.git, row.machine, row.command, row.begun]
        writer.writerow(fixed + [f"{row.metrics[m]:.6g}" if m in row.metrics else "" for m in metrics])
    with atomic(path) as file:
        file.write(text.getvalue().encode())
