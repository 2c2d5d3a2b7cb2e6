"""The machine that a run uses: device, precision, random numbers, and the profiler of where its time goes."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from slt.training import processes
from slt.training.settings import Profile

log = logging.getLogger(__name__)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ROWS = 40  # of the profile's table; what lies below them is noise


@dataclass(frozen=True)
class Compute:
    """Where a model runs, and in which precision: fp32, tf32 (of a GPU's products; elsewhere fp32), bf16 or fp16."""

    device: torch.device
    precision: str

    def __post_init__(self) -> None:
        if self.device.type == "cuda":  # torch's own choice is TF32 of convolutions and float32 of all other products
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision != "fp32"

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=DTYPES.get(self.precision), enabled=self.precision in DTYPES)


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; of several processes on a machine, each gets a GPU of its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and processes.world() > 1:
        name = f"cuda:{processes.local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device={name}: there are {torch.cuda.device_count()} CUDA devices here; use device=cpu or auto"
        )
    if device.type == "cuda" and processes.world() > 1:
        torch.cuda.set_device(device)
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` is bf16 where the hardware multiplies matrices faster in it, elsewhere fp32.

    On a processor that takes AMX: AVX-512's own products of bfloat16 can be half as fast as those of float32.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"


def fix_randomness(seed: int, *, deterministic: bool) -> None:
    """Seeds torch and says whether only operations with one possible result may be used, which may raise.

    On a CPU a seed repeats a run on the same machine and number of threads as it is
    (https://docs.pytorch.org/docs/stable/notes/randomness.html).
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA makes its first handle
    # Both ways are set, because the jobs of a sweep may share a process.
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


def profiler(folder: Path, device: torch.device, updates: Profile) -> profile | None:
    """What the training loop steps after each update, which writes once and then costs nothing; None for no steps.

    `profile.txt` (operations, most time of their own first) and `trace.json.gz` (for https://ui.perfetto.dev or
    chrome://tracing) go to the folder; a run that ends early writes what it has.
    """
    if not updates.steps or not processes.first():
        return None

    def write(done: profile) -> None:
        own = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
        table = done.key_averages().table(sort_by=own, row_limit=ROWS, max_name_column_width=60)
        (folder / "profile.txt").write_text(table + "\n", encoding="utf-8")
        done.export_chrome_trace(str(folder / "trace.json.gz"))
        log.info("profile: %s and trace.json.gz", folder / "profile.txt")

    if device.type == "cpu":
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # or it calls it an error that there is no GPU
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    # The profiler's own first step is slow too: it is the last one of ours that pass.
    plan = schedule(wait=updates.warmup - 1, warmup=1, active=updates.steps, repeat=1)
    return profile(activities=activities, schedule=plan, on_trace_ready=write, acc_events=True)
