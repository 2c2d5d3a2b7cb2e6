"""The end of a sweep: sweep.csv, sweep.html and its plots of whatever the jobs have come to, and its exit status."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from slt.drawing.charts import inline, look
from slt.drawing.page import templates
from slt.files import atomic
from slt.sweeps.grid import read_plan
from slt.sweeps.groups import BOOTSTRAP, LEVEL, Group, compare_groups, differing, grouped, ranked
from slt.sweeps.plots import learning_curves, parallel_coordinates, score_bars
from slt.sweeps.runs import Run, read_sweep, write_table
from slt.sweeps.status import STATES, read_status
from slt.words import say, told


@dataclass
class Sweep:
    """A sweep as read from its folder.

    Attributes:
        runs: all jobs, by number.
        keys: in which they differ, the seed left out.
        groups: runs that differ in their seed only, the best first.
        objective: the validation score that ranks them.
        final: the test score shown beside it; None where nothing was scored.
        again: the command that goes on with the sweep.
    """

    folder: Path
    runs: list[Run]
    keys: list[str]
    groups: list[Group]
    objective: str
    final: str | None
    again: str | None

    @classmethod
    def read(cls, folder: Path) -> Sweep:
        """Reads, groups and compares; FileNotFoundError or ValueError where no sweep is there."""
        runs = read_sweep(folder)
        keys = differing(runs)
        objective = Counter(run.objective for run in runs if run.config).most_common(1)
        name = objective[0][0] if objective else "score"
        splits = Counter(run.split for run in runs if run.split and f"{run.split}/bleu" in run.metrics)
        groups = ranked(grouped(runs, keys), name)
        compare_groups(groups)
        final = f"{splits.most_common(1)[0][0]}/bleu" if splits else None
        return cls(folder, runs, keys, groups, name, final, read_plan(folder)["again"])

    @property
    def scores(self) -> list[str]:
        return [name for name in (self.objective, self.final) if name]

    @property
    def not_told_apart(self) -> list[str]:
        """The settings in the first place of the paired test, where that is said of any."""
        return [group.label for group in self.groups if group.place == 1]

    @property
    def states(self) -> dict[str, int]:
        """State -> jobs in it, in the order of `STATES`, the ones that there are."""
        counts = Counter(run.status.state for run in self.runs)
        return {state: counts[state] for state in STATES if counts[state]}


def write_sweep(folder: Path) -> Sweep:
    """Writes sweep.csv, sweep.html, and the plots as PNG, into a sweep's folder."""
    sweep = Sweep.read(folder)
    _write_csv(folder / "sweep.csv", sweep)
    environment = templates("slt.sweeps")
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["signed"] = lambda value: f"{value:+.2f}"
    page = environment.get_template("sweep.html").render(
        title=say("Sweep over {keys}").format(keys=", ".join(sweep.keys) or say("seeds")), facts=_facts(sweep),
        sweep=sweep, charts=_draw(sweep),
        bootstrap=BOOTSTRAP, level=LEVEL, rows=[_row(run, sweep) for run in sweep.runs], states=STATES,
    )  # fmt: skip
    with atomic(folder / "sweep.html") as file:
        file.write(page.encode())
    return sweep


def _draw(sweep: Sweep) -> list[Markup]:
    """The plots for the page; each is saved too."""
    both, objective = say(" and ").join(sweep.scores), sweep.objective
    keys = [*sweep.keys, *(["seed"] if len({run.seed for run in sweep.runs}) > 1 else [])]
    charts = []
    for name, label, draw in (
        ("scores", f"{both} of each setting", partial(score_bars, sweep.groups, sweep.scores)),
        ("curves", f"{objective} over steps", partial(learning_curves, sweep.groups, objective)),
        ("parallel", f"overrides of each run and its {both}",
         partial(parallel_coordinates, sweep.runs, keys, sweep.scores)),
    ):  # fmt: skip
        with look(name):
            figure = draw()
        if figure is not None:
            charts.append(Markup(inline(figure, told(label))))
            figure.savefig(sweep.folder / f"{name}.png", dpi=130, facecolor="white")
    return charts


def _facts(sweep: Sweep) -> Mapping[str, str]:
    started = [run.status.started for run in sweep.runs if run.status.started]
    machines = dict.fromkeys(str(run.origin["machine"]) for run in sweep.runs if "machine" in run.origin)
    revisions = dict.fromkeys(
        f"{run.origin['git']}{say(' (changed)') if run.origin.get('git_dirty') else ''}"
        for run in sweep.runs
        if run.origin.get("git")
    )
    facts = {
        say("folder"): os.path.relpath(sweep.folder),
        say("jobs"): ", ".join(f"{count} {say(state)}" for state, count in sweep.states.items()),
        say("ranked by"): f"{sweep.objective} of the best checkpoint, mean over seeds",
        say("begun"): min(started, default="").replace("T", " "),
        say("machine"): ", ".join(machines),
        say("revision"): ", ".join(revisions),
        say("goes on with"): sweep.again if sweep.again and any(not run.finished for run in sweep.runs) else "",
        say("written"): datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }
    return {name: value for name, value in facts.items() if value}


def _row(run: Run, sweep: Sweep) -> dict[str, Any]:
    """A job as the page lists it."""
    page = run.folder / "report.html"
    logs = sorted(run.folder.glob("*.log"), key=lambda path: path.name != "error.log")
    there = page if page.is_file() else logs[0] if logs else None
    return {
        "run": run,
        "values": [run.value_of(key) for key in sweep.keys],
        "link": there and there.relative_to(sweep.folder).as_posix(),
        "objective": run.metrics.get(sweep.objective),
        "final": run.metrics.get(sweep.final or ""),
        "bounds": run.bounds.get(sweep.final or ""),
    }


def _write_csv(path: Path, sweep: Sweep) -> None:
    """One row a job: what differs, its state and scores, and beside them those of its group."""
    names = dict.fromkeys([sweep.objective, *(name for run in sweep.runs for name in run.metrics if name != "seconds")])
    rows = []
    for group in sweep.groups:
        beside: dict[str, Any] = {"group": group.label, "n": len(group.finished)}
        for name in sweep.scores:
            mean = group.mean(name)
            for end, value in (("", "value"), ("_low", "low"), ("_high", "high")):
                beside[f"{name}_mean{end}"] = mean and getattr(mean, value)
        if group.place:
            beside["place"] = group.place
        if group.difference:
            d = group.difference
            beside |= {"difference": d.value, "difference_low": d.low, "difference_high": d.high, "p": d.p}
        for run in group.runs:
            row: dict[str, Any] = {"job": run.number, "state": run.status.state}
            row |= {"folder": run.folder.name, "seed": run.seed} | {key: run.value_of(key) for key in sweep.keys}
            for name in names:
                row[name] = run.metrics.get(name)
                if name in run.bounds:
                    row[f"{name}_low"], row[f"{name}_high"] = run.bounds[name]
            rows.append(row | {"seconds": run.status.seconds, "failure": run.status.failure} | beside)
    rows.sort(key=lambda row: row["job"])
    # The longest row's order, then what only others have.
    write_table(path, dict.fromkeys([*max(rows, key=len), *(name for row in rows for name in row)]), rows)


def close(folder: Path) -> int:
    """Writes a sweep's table and page and says how its jobs ended; 0, or the largest exit status of a job.

    A sweep that came to nothing before its first job has said why already and gets no page.
    """
    jobs = read_plan(folder)["jobs"]
    # A sweeper that chooses as it goes has no list of jobs.
    places = [folder / job["folder"] for job in jobs] or [path.parent for path in folder.glob("*/status.json")]
    found = {place: status for place in places if (status := read_status(place)) is not None}
    if not found:
        return 0
    try:
        sweep = write_sweep(folder)
    except (ValueError, OSError) as error:
        print(told(f"error: the sweep's page could not be written ({error})"), file=sys.stderr)
        return 1
    print(told(summary(sweep)))
    ended = [status.exit if status.exit is not None else 1 for status in found.values()]
    return max([*ended, int(len(found) < len(places))])


def summary(sweep: Sweep) -> str:
    """What the terminal shows: how the jobs ended, which ones failed and why, and where the page is."""
    folder = Path(os.path.relpath(sweep.folder))
    lines = ["sweep: " + ", ".join(f"{count} {state}" for state, count in sweep.states.items())]
    unfinished = [run for run in sweep.runs if not run.finished]
    for run in unfinished:
        differs = " ".join(f"{key}={run.value_of(key)}" for key in (*sweep.keys, "seed"))
        logs = [name for name in ("error.log", "train.log") if (run.folder / name).is_file()]
        where = f" (see {folder / run.folder.name / logs[0]})" if logs else ""
        why = f": {run.status.failure}" if run.status.failure else ""
        lines.append(f"  job {run.number}, {differs}, {run.status.state}{why}{where}")
    if sweep.again and unfinished:
        lines.append(f"  what is not finished goes on with: {sweep.again}")
    best = sweep.groups[0]
    if found := best.mean(sweep.objective):
        interval = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
        lines.append(f"  best: {best.label}, {sweep.objective} {found.value:.2f}{interval}, {found.n} seeds")
    if tied := sweep.not_told_apart:
        lines.append(f"  the paired test on {sweep.final} finds none better than: {'; '.join(tied)}")
    lines += [f"table: {folder / 'sweep.csv'}", f"page: {folder / 'sweep.html'}", f"sweep folder: {folder}"]
    return "\n".join(lines)
