"""The machine that a run uses: its device, and the precision that it computes in there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from slt.training import processes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where a model runs, and in which precision: fp32, bf16 or fp16."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision on the device, as `precision` says."""
        return torch.autocast(self.device.type, dtype=DTYPES.get(self.precision), enabled=self.precision != "fp32")


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; a device that was asked for and is not there is an error.

    Of several processes on a machine, each gets a GPU of its own.

    Raises:
        ValueError: no such device here.
    """
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
