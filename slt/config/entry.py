"""The way into every entry point: one message for what a user can cause, one folder a run, exit statuses, sweeps."""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import functools
import gc
import logging
import math
import multiprocessing
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.config.checks import CONF, HOME
from slt.config.moved import rename_targets
from slt.config.schema import Study
from slt.config.screen import ours_alone
from slt.config.usage import usage
from slt.sweeps import grid
from slt.sweeps.status import claimed

log = logging.getLogger(__name__)

# What a user can cause. Anything else is our fault and keeps its traceback.
USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError, yaml.YAMLError)

LONGEST = 6000  # characters of a message; the clips that a survey names are within it
# `$` is escaped because Hydra takes the help for a template.
OmegaConf.register_new_resolver(
    "slt.usage", lambda command: usage(command, CONF, [HOME, Path.cwd()]).replace("$", "$$"), replace=True
)


def main(name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Makes `function(cfg)` the entry point over `conf/<name>.yaml`.

    What a user can cause (a misspelt key, a missing file, a value that does not fit) ends in one message on standard
    error and exit status 1; where a run folder exists its log keeps the traceback. A whole number that the function
    returns is the exit status. A job of a sweep that fails, of whatever cause, says so and does not end the sweep; the
    sweep's exit status is the largest of its jobs. The last line of standard output names the run folder, whether the
    run went well, stopped or was stopped.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    statuses = [0]

    def wrap(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> object:
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
                    print(f"error: {explain(error, name)}", file=sys.stderr)
                    sys.exit(1)
                if full:
                    traceback.print_exc()
                which = f"with {' '.join(state.overrides.task)}; see {os.path.relpath(folder)}"
                print(f"error: job {state.job.num}: {explain(error, name)}\n  {which}", file=sys.stderr)
                return math.nan
            finally:
                if sweeping:
                    _give_memory_back()
                print(f"run folder: {os.path.relpath(folder)}", flush=True)

        run = hydra.main(version_base=None, config_path=str(CONF), config_name=name)(job)

        @functools.wraps(function)
        def entry() -> None:
            statuses[:] = [0]
            os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises instead of printing and leaving
            try:
                with _one_folder(name):
                    run()
            except BrokenPipeError:  # as of `--help | head`: whoever read has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(1)
            except USER_ERRORS as error:
                if full:
                    raise
                print(f"error: {explain(error, name)}", file=sys.stderr)
                sys.exit(1)
            except Exception as error:
                # A job of a sweep on a cluster has said its error in its own process; submitit hands it on as text.
                if full or not type(error).__module__.startswith("submitit"):
                    raise
                print(f"error: {error}", file=sys.stderr)
                sys.exit(1)
            except KeyboardInterrupt:  # between two jobs; one at work leaves by itself, once it has saved
                sys.exit(130)
            finally:
                if sweep := grid.begun(forget=True):
                    # Here and not above: a job that is about to train, or a demo, has no use for the drawing library.
                    from slt.sweeps.page import close

                    statuses.append(close(sweep))
            if status := max(statuses):
                sys.exit(status)

        return entry

    return wrap


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
        with ours_alone():
            value = function(cfg)
        claim.end(value)
        return value


def explain(error: BaseException, name: str) -> str:
    """One message for `error`, with the near spelling where a key or a group's option was misspelt."""
    text = _explain(error, name)
    half = LONGEST // 2  # a value of a megabyte, quoted from a file, would push what is wrong off the screen
    return text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}"


def _explain(error: BaseException, name: str) -> str:
    text = str(error).strip()
    if isinstance(error, yaml.YAMLError):
        return f"a file of conf/ or a recipe is not YAML: {' '.join(text.split())}"
    while isinstance(error, HydraException) and error.__cause__ is not None and "Error in call to" in text:
        error = error.__cause__
        text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not key=value as Hydra reads it{_quoted(error.override)}"
    if ambiguous := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        return f"{ambiguous[1]}: several values, which only a sweep takes (-m){_quoted(ambiguous[1])}"
    key = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' not in", text)
    if key and key[1] == "sweep":
        return (
            "a file of sweep/ begins with the line `# @package _global_`; those named wandb_*.yaml are no option of "
            "sweep=: `wandb sweep FILE` takes them"
        )
    if key:
        # Hydra lists the groups that take `@stream`; a key of a group's default choice need not be one of the chosen.
        listed = re.search(r"Did you mean to override one of (.*)\?", text)
        known = {*known_keys(name), *(listed[1].split(", ") if listed else ()), *(part.name for part in fields(Study))}
        near = difflib.get_close_matches(key[1], sorted(known - {key[1]}), n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near and key[1] not in known else ""
        return f"there is no key '{key[1]}' in conf/{name}.yaml and the chosen groups{hint}"
    option = re.search(r"Could not find '([\w@/.-]+)/([\w.-]+)'", text)
    if option:
        group = CONF / option[1]
        folders = (group, HOME / option[1], Path.cwd() / option[1])
        options = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        options = [name for name in options if not name.startswith("wandb_")]
        if option[1] == "hydra/launcher" and option[2] in ("joblib", "submitit_local", "submitit_slurm"):
            extra = "cluster" if option[2].startswith("submitit") else "parallel"
            return f"hydra/launcher={option[2]}: it is not installed; pip install -e '.[{extra}]'"
        near = difflib.get_close_matches(option[2], options, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{option[1]}={option[2]}: there is no such option{hint} (there are: {', '.join(options)})"
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        cause = str(error.__cause__).splitlines()[0]
        merged = re.fullmatch(r"Error merging override (.*)", text) if "to string" in cause else None
        return f"{text}: {cause}{_quoted(merged[1]) if merged else ''}"
    return text


def _quoted(override: str) -> str:
    """How a word of the command line is written where its value is a text; "" where no quotes mend it."""
    key, equals, value = override.partition("=")
    if not equals and override in sys.argv[2:]:  # what the shell has cut off at a blank
        key, equals, start = sys.argv[sys.argv.index(override) - 1].partition("=")
        value = f"{start} {override}"
    word = '{}="{}"'.format(key, re.sub(r'(\\*)("|$)', lambda end: 2 * end[1] + end[2].replace('"', '\\"'), value))
    try:
        read = OverridesParser.create().parse_override(word).value() if equals else None
    except HydraException:
        return ""
    if read != value:
        return ""
    signs = "blanks, accents or one of = , ( ) [ ] { } # & ; ' \""
    return f"; a value with {signs} stands in quotes, once for Hydra and once for the shell: {shlex.quote(word)}"


def known_keys(name: str) -> list[str]:
    """Every dotted key of `conf/<name>.yaml` with its default groups, and the groups' names."""
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        cfg = hydra.compose(name)
    found: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                found.append(f"{prefix}{key}")
                walk(value, f"{prefix}{key}.")

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return found + [path.name for path in CONF.iterdir() if path.is_dir()] + ["experiments"]
