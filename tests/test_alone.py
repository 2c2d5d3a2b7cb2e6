"""A test that fails takes no other with it: what it leaves behind ends with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
import wandb
from hydra.core.global_hydra import GlobalHydra

from slt.config.checks import CONF


def leave_it_all() -> None:
    """What a test that stops halfway may leave."""
    wandb.init(mode="offline", settings=wandb.Settings(silent=True, console="off"))
    os.environ |= {"WANDB_API_KEY": "0123456789" * 4, "WANDB_MODE": "online", "HYDRA_FULL_ERROR": "1"}
    os.chdir("/")
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    multiprocessing.set_start_method("spawn", force=True)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(5)
    hydra.initialize_config_dir(str(CONF), version_base=None).__enter__()


def services() -> int:
    """How many of wandb's services this process has."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended in between
            words = path.read_text().split()
            count += words[1].startswith("(wandb-core") and int(words[3]) == os.getpid()
    return count


def state() -> dict[str, Any]:
    """What one test can leave to the next."""
    root = logging.getLogger()
    environment = {name: value for name, value in os.environ.items() if name.startswith(("WANDB", "HYDRA"))}
    return {
        "wandb": (wandb.run, services()), "environment": environment, "place": Path.cwd(),
        "torch": (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        "processes": multiprocessing.get_start_method(allow_none=True), "logging": (list(root.handlers), root.level),
        "hydra": GlobalHydra.instance().is_initialized(),
    }  # fmt: skip


@pytest.mark.usefixtures("offline")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look for wandb's service in")
def test_what_a_failing_test_leaves_ends_with_it(alone: Any, tmp_path: Path) -> None:
    before = state()
    with pytest.raises(AssertionError, match="failed"), alone(tmp_path):
        leave_it_all()
        left = state()
        assert [key for key in before if left[key] == before[key]] == []
        assert services() == 1
        raise AssertionError("failed")
    assert state() == before
