"""What a run's random numbers come from, and whether its operations give the same result each time."""

from __future__ import annotations

import os

import torch


def fix_randomness(seed: int, *, deterministic: bool) -> None:
    """Seeds torch and says whether only operations with one possible result may be used.

    Both ways are set, because the jobs of a sweep may share a process.

    Args:
        seed: of torch's generators on every device.
        deterministic: an operation that has no deterministic form raises, cuDNN does not try several algorithms, and
            cuBLAS keeps one workspace a stream (https://docs.pytorch.org/docs/stable/notes/randomness.html). The CPU
            needs none of it: there a seed repeats a run on the same machine and number of threads as it is.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA makes its first handle
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)
