"""The way into every command: its help at once, all else through Hydra."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slt.config import CONF, HOME

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Makes `function(cfg)` the entry point over `conf/<name>.yaml`.

    What a user can cause (a misspelt key, a missing file, a value that does not fit) ends in one message on standard
    error and exit status 1; where a run folder exists its log keeps the traceback. A whole number that the function
    returns is the exit status. A job of a sweep that fails, of whatever cause, says so and does not end the sweep; the
    sweep's exit status is the largest of its jobs. The last line of standard output names the run folder.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def wrap(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(function)
        def entry() -> None:
            if not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
                _help(name)
                return
            from slt.config.job import run_command  # here: Hydra takes longer to import than help to print

            run_command(function, name, full)

        return entry

    return wrap


def _help(name: str) -> None:
    from slt.config.usage import usage

    try:
        print(usage(name, CONF, [HOME, Path.cwd()]), flush=True)
    except BrokenPipeError:  # as of `--help | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
