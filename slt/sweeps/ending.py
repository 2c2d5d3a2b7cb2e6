"""The end of a sweep: its page, what the terminal says of it, and its exit status."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slt.sweeps.grid import read_plan
from slt.sweeps.status import read_status

if TYPE_CHECKING:
    from slt.sweeps.page import Sweep


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
    # Here and not above: a job that is about to train, or a demo, has no use for the drawing library.
    from slt.sweeps.page import write_sweep

    try:
        sweep = write_sweep(folder)
    except (ValueError, OSError) as error:
        print(f"error: the sweep's page could not be written ({error})", file=sys.stderr)
        return 1
    print(summary(sweep))
    ended = [status.exit if status.exit is not None else 1 for status in found.values()]
    return max([*ended, *([1] if len(found) < len(places) else [])])


def summary(sweep: Sweep) -> str:
    """What the terminal shows: how the jobs ended, which ones failed and why, and where the page is."""
    folder = Path(os.path.relpath(sweep.folder))
    lines = ["sweep: " + ", ".join(f"{count} {state}" for state, count in sweep.states().items())]
    for run in sweep.runs:
        if not run.finished:
            differs = " ".join(f"{key}={run.value_of(key)}" for key in (*sweep.keys, "seed"))
            logs = [name for name in ("error.log", "train.log") if (run.folder / name).is_file()]
            where = f" (see {folder / run.folder.name / logs[0]})" if logs else ""
            why = f": {run.status.failure}" if run.status.failure else ""
            lines.append(f"  job {run.number}, {differs}, {run.status.state}{why}{where}")
    if sweep.again and any(not run.finished for run in sweep.runs):
        lines.append(f"  what is not finished goes on with: {sweep.again}")
    best = sweep.groups[0]
    if found := best.mean(sweep.objective):
        interval = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
        lines.append(f"  best: {best.label}, {sweep.objective} {found.value:.2f}{interval}, {found.n} seeds")
    return "\n".join(
        [*lines, f"table: {folder / 'sweep.csv'}", f"page: {folder / 'sweep.html'}", f"sweep folder: {folder}"]
    )
