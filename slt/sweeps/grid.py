"""What is about to be done: a new run's folder is made, and a sweep's jobs are looked at before the first one starts.

Hydra tells `SweepCallback` when a run or a sweep begins (`hydra.callbacks`, conf/folders.yaml); it writes a sweep's
jobs to sweep.json.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from slt.files import read_json, write_json
from slt.sweeps.status import new_folder, read_overrides, read_status

PLAN = "sweep.json"
_begun: list[Path] = []


class SweepCallback(Callback):
    """Gives a new run or sweep a folder of its own, and looks a sweep over before its first job."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with suppress(OSError):  # what cannot be made is Hydra's to say, which tries next
            _own_folder(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Writes sweep.json; a sweep that cannot be meant ends here, with one message and exit status 1."""
        try:
            jobs = _jobs(config)
            folder = _own_folder(config, "sweep") or Path(str(config.hydra.sweep.dir))
            words = [word for word in sys.argv[1:] if not word.startswith("hydra.sweep.dir=")]
            command = Path(sys.argv[0]).name.removesuffix(".py").removeprefix("slt.")
            again = ["python", "-m", f"slt.{command}", *words, f"hydra.sweep.dir={folder}"]
            write_json(folder / PLAN, {"again": shlex.join(again), "jobs": jobs})
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)  # Hydra makes a warning of any other error of a callback
        _begun[:] = [folder]


Watch = SweepCallback  # its name in Hydra configurations that were saved before; hydra.callbacks is not renamed


def _own_folder(config: DictConfig, kind: Literal["run", "sweep"]) -> Path | None:
    """Makes the folder of a new run or sweep, and has Hydra use it; None where it need not be new.

    A name with the second in it is a new one's, as in conf/folders.yaml; a fixed one is gone on in.
    """
    if not re.search(r"\$\{now:[^}]*%[SfTsXc]", _pattern(config, kind, "dir")):
        return None
    folder = new_folder(Path(str(config.hydra[kind].dir)))
    with read_write(config), open_dict(config):
        config.hydra[kind].dir = str(folder)
        # Hydra composes each job of a sweep anew, of these; quoted, for a comma would be a grid.
        quoted = str(folder).replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{quoted}'")
    return folder


def _pattern(config: DictConfig, kind: str, key: str) -> str:
    """A value below `hydra.run` or `hydra.sweep` before anything in it is looked up."""
    return str(OmegaConf.to_container(config.hydra[kind], resolve=False)[key])  # type: ignore[index, call-overload]


def begun(*, forget: bool = False) -> Path | None:
    """The folder of the sweep that this process began, if it did."""
    found = _begun[0] if _begun else None
    if forget:
        _begun.clear()
    return found


def _jobs(config: DictConfig) -> list[dict[str, Any]]:
    """A sweep's jobs: number, folder below the sweep's, overrides; none of a sweeper that chooses as it goes.

    ValueError for a grid without a job, two jobs of one folder, or a folder that holds another job or is in use.
    """
    if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
        return []
    loader = GlobalHydra.instance().config_loader()
    words = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    words += list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
    ((*grid,),) = BasicSweeper.split_arguments(overrides, None)
    if not grid:
        empty = [o.get_key_element() for o in overrides if o.is_sweep_override() and not [*o.sweep_string_iterator()]]
        raise ValueError(f"the grid is empty: {', '.join(empty)} has no values to choose from; nothing was run")
    jobs = [
        {"number": number, "folder": _subfolder(config, number, job), "overrides": job}
        for number, job in enumerate(grid)
    ]
    _check_folders(Path(str(config.hydra.sweep.dir)), jobs)
    return jobs


def jobs_of(params: Mapping[str, Any]) -> list[list[str]]:
    """The overrides of each job of a grid, as a recipe holds it: key -> values."""
    grid = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    ((*jobs,),) = BasicSweeper.split_arguments(grid, None)
    return jobs


def _subfolder(config: DictConfig, number: int, overrides: Sequence[str]) -> str:
    """Where Hydra will put a job, below the sweep's folder."""
    if _pattern(config, "sweep", "subdir") == "${hydra.job.num}":  # composing each job takes a tenth of a second
        return str(number)
    composed = GlobalHydra.instance().config_loader().load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.num = composed.hydra.job.id = number
    return str(composed.hydra.sweep.subdir)


def _check_folders(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> None:
    where: dict[str, Mapping[str, Any]] = {}
    for job in jobs:
        place = folder / job["folder"]
        if other := where.get(job["folder"]):
            before, now = _apart(other["overrides"], job["overrides"])
            raise ValueError(
                f"hydra.sweep.subdir puts two jobs into {place}: job {other['number']} ({before}) and job "
                f"{job['number']} ({now}); name them by ${{hydra.job.num}} too"
            )
        where[job["folder"]] = job
        status = read_status(place)
        if status is not None and status.state == "running":
            raise ValueError(
                f"{place}: process {status.pid} on {status.host} is running this job; wait for it or stop it, or give "
                "this sweep another hydra.sweep.dir"
            )
        check_same_job(place, job["overrides"])


def check_same_job(folder: Path, overrides: Sequence[str]) -> None:
    """Raises ValueError for a folder of another job: what stands there is not lost."""
    earlier = read_overrides(folder)
    if earlier is not None and sorted(earlier) != sorted(overrides):
        before, now = _apart(earlier, overrides)
        raise ValueError(
            f"{os.path.relpath(folder)} holds another job: it was begun with {before}, and would now be run with "
            f"{now}; go on with the overrides of before, or give this sweep another hydra.sweep.dir"
        )


def _apart(one: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """The overrides that each has and the other has not, for a message."""
    pairs = ([word for word in a if word not in b] for a, b in ((one, other), (other, one)))
    first, second = (" ".join(words) or "nothing else" for words in pairs)
    return first, second


def read_plan(folder: Path) -> dict[str, Any]:
    """What sweep.json says: `again`, the command that goes on, and `jobs`; nothing of either where it is not there."""
    path = folder / PLAN
    if not path.is_file():
        return {"again": None, "jobs": []}
    try:
        found = read_json(path)
        jobs = [
            {"number": int(job["number"]), "folder": str(job["folder"]), "overrides": [*map(str, job["overrides"])]}
            for job in found["jobs"]
        ]
        if any(len(str(job["folder"]).encode()) > 255 for job in jobs):
            raise ValueError("the name of a folder of over 255 bytes")
        return {"again": found["again"], "jobs": jobs}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: not a sweep's list of jobs ({error}); the sweep writes it anew") from error
