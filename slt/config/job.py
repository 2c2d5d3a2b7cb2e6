"""A command through Hydra: one message for what a user can cause, one folder a run, exit statuses, sweeps."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import math
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from slt.config.checks import CONF
from slt.config.messages import explain
from slt.config.moved import rename_targets
from slt.config.screen import ours_alone
from slt.sweeps import grid
from slt.sweeps.status import claimed
from slt.words import in_their_language, told

log = logging.getLogger(__name__)

# What a user can cause. Anything else is our fault and keeps its traceback.
USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError, yaml.YAMLError)


def run_command(function: Callable[[DictConfig], object], name: str, full: bool) -> None:
    """Runs `function(cfg)` over `conf/<name>.yaml` and what the command line says; see `slt.config.entry.main`.

    `full` asks for tracebacks of what a user can cause, too.
    """
    statuses = [0]

    @functools.wraps(function)
    def job(cfg: DictConfig) -> object:
        try:
            return _job(function, cfg, name, statuses, full)
        finally:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                _give_memory_back()
            print(told(f"run folder: {os.path.relpath(HydraConfig.get().runtime.output_dir)}"), flush=True)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises instead of printing and leaving
    try:
        _enter(hydra.main(version_base=None, config_path=str(CONF), config_name=name)(job), name, full)
    finally:
        if sweep := grid.begun(forget=True):
            # Here and not above: a job that is about to train, or a demo, has no use for the drawing library.
            from slt.sweeps.page import close

            statuses.append(close(sweep))
    if status := max(statuses):
        sys.exit(status)


def _job(
    function: Callable[[DictConfig], object], cfg: DictConfig, name: str, statuses: list[int], full: bool
) -> object:
    """A job, whose exit status is added to `statuses`; of a sweep's that fails, only a message."""
    state = HydraConfig.get()
    folder, sweeping = Path(state.runtime.output_dir), state.mode == RunMode.MULTIRUN
    _start_processes_as_usual()
    rename_targets(cfg)
    try:
        value = _begin(function, cfg, folder, sweeping, tell=functools.partial(explain, name=name))
        statuses.append(value if type(value) is int and not sweeping else 0)
        return value
    except Exception as error:
        if not sweeping and (full or not isinstance(error, USER_ERRORS)):
            raise
        # The screen gets one message; the traceback is kept beside the run for whoever hunts it.
        with contextlib.suppress(OSError):
            (folder / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
        if not sweeping:
            _leave(explain(error, name))
        if full:
            traceback.print_exc()
        which = f"with {' '.join(state.overrides.task)}; see {os.path.relpath(folder)}"
        print(f"error: {told(f'job {state.job.num}')}: {told(explain(error, name))}\n  {told(which)}", file=sys.stderr)
        return math.nan


def _enter(run: Callable[[], object], name: str, full: bool) -> None:
    try:
        with _one_folder(name):
            run()
    except BrokenPipeError:  # as of `--help | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # A job of a sweep on a cluster has said its error in its own process; submitit hands it on as text.
        said = type(error).__module__.startswith("submitit")
        if full or not (said or isinstance(error, USER_ERRORS)):
            raise
        _leave(str(error) if said else explain(error, name))
    except KeyboardInterrupt:  # between two jobs; one at work leaves by itself, once it has saved
        sys.exit(130)


def _leave(message: str) -> NoReturn:
    print(f"error: {told(message)}", file=sys.stderr)
    sys.exit(1)


def _give_memory_back() -> None:
    """Frees what a job of a sweep leaves: its model lies in cycles of references, and glibc keeps what is freed."""
    gc.collect()
    with contextlib.suppress(AttributeError, TypeError, OSError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _start_processes_as_usual() -> None:
    """In a process of joblib's, takes back its way of starting others, which is none for torch's loader or for ours."""
    usual = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method(allow_none=True) not in (None, *usual):
        multiprocessing.set_start_method(usual[0], force=True)


@contextlib.contextmanager
def _one_folder(name: str) -> Iterator[None]:
    """Of processes that torchrun or srun has started for one run, only the first gets a run folder and log of Hydra."""
    outside = os.environ.get("SLURM_PROCID", "0") if "SLURM_STEP_NUM_TASKS" in os.environ else "0"
    if name not in ("train", "pretrain") or os.environ.get("RANK", outside) == "0":
        yield
        return
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        sys.argv += [f"hydra.run.dir={folder}", "hydra.output_subdir=null", "hydra/job_logging=disabled"]
        with contextlib.redirect_stdout(nowhere):
            yield


def _begin(
    function: Callable[[DictConfig], object], cfg: DictConfig, folder: Path, sweeping: bool, tell: Callable[..., str]
) -> object:
    """Runs a job in a folder that it alone writes to; one of a sweep that is finished already is passed over."""
    overrides = list(HydraConfig.get().overrides.task)
    if sweeping:
        grid.check_same_job(folder, overrides)
    with claimed(folder, overrides, tell=tell) as claim:
        earlier = claim.earlier
        if sweeping and earlier is not None and earlier.state == "finished":
            log.info("finished already, passed over: %s", " ".join(overrides))
            return math.nan if earlier.value is None else earlier.value
        claim.write("running")
        with ours_alone(), in_their_language():
            value = function(cfg)
        claim.end(value)
        return value
