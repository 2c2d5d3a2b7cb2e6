"""Where the time of a training step goes: PyTorch's profiler over a few updates, as a table and as a trace."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

ROWS = 40  # of the table; what lies below them is noise
TABLE, TRACE = "profile.txt", "trace.json.gz"


def profiler(folder: Path, *, device: torch.device, warmup: int, steps: int) -> profile:
    """A profiler whose `step()` the training loop calls after each update; it writes once and then costs nothing.

    Args:
        folder: the run folder; `profile.txt` (operations, most time of their own first) and `trace.json.gz`
            (for https://ui.perfetto.dev or chrome://tracing) go there. A run that ends early writes what it has.
        device: of the run.
        warmup: updates that pass before: first ones allocate, compile and fill the loader.
        steps: updates that are recorded.
    """

    def write(done: profile) -> None:
        own = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
        table = done.key_averages().table(sort_by=own, row_limit=ROWS, max_name_column_width=60)
        (folder / TABLE).write_text(table + "\n", encoding="utf-8")
        done.export_chrome_trace(str(folder / TRACE))
        log.info("profile: %s and %s", folder / TABLE, folder / TRACE)

    if device.type == "cpu":
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # or it calls it an error that there is no GPU
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    # The profiler's own first step is slow too: it is the last one of ours that pass.
    plan = schedule(wait=warmup - 1, warmup=1, active=steps, repeat=1)
    return profile(activities=activities, schedule=plan, on_trace_ready=write, acc_events=True)
