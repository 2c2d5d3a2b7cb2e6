"""The processes of one run, and what they tell each other; alone, it is as if nothing were here.

A rank is a process's number, 0 to world - 1; rank 0 alone writes, logs and talks to a dashboard.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_PATIENCE = timedelta(minutes=30)  # of a collective, as torch's own for gloo


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its run; `local_rank` counts those of its machine."""

    rank: int
    world: int
    local_rank: int
    host: str
    port: int
    starter: str  # devices, torchrun or srun


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over processes, on each of them; no gradient passes."""
    if world() > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
    return value


def highest(value: Tensor) -> Tensor:
    """The greatest number of a tensor in any process, a scalar; minus infinity where none has any."""
    top = value.max() if value.numel() else value.new_tensor(-torch.inf)
    if world() > 1:
        dist.all_reduce(top, dist.ReduceOp.MAX)
    return top


def mean(value: Tensor) -> Tensor:
    return total(value) / world() if world() > 1 else value


def share(count: Tensor) -> Tensor | float:
    """What a mean over this process's items weighs, so that the mean over processes is the mean over all items.

    Gradients are averaged over processes, but batches have more clips, tokens or frames in one than in another. `count`
    is a scalar on the device, 0 where there are no items.
    """
    return count * world() / total(count).clamp_min(1) if world() > 1 else 1.0


def broadcast(value: Any) -> Any:
    """Rank 0's value, on each process; it must be picklable."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: Any) -> list[Any]:
    """The value of each process, by rank, on each of them; it must be picklable."""
    values: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return values


def wait() -> None:
    if world() > 1:
        gather(None)  # and not dist.barrier, which takes a GPU for it


def on_rank_zero(function: Callable[[], Any] | None) -> Any:
    """Calls it on rank 0 and broadcasts the result; the other processes need not have it."""
    return broadcast(function() if function is not None and first() else None)


@contextmanager
def first_per_machine() -> Iterator[None]:
    """Runs the block on one process per machine, then on the others, which find its files (a corpus, a download)."""
    ahead = world() == 1 or local_rank() == 0
    if not ahead:
        wait()
    yield
    if ahead:
        wait()


@contextmanager
def on_signals(catch: Callable[[int, Any], None]) -> Iterator[None]:
    """Within, `catch` answers SIGTERM and SIGINT; only the main thread is told of them, which joblib's are not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def max_signal(caught: Sequence[int]) -> int:
    """The signal that any process has caught, the same on each of them; 0 where none has."""
    return int(highest(torch.tensor(caught[:1] or [0])))


def local_rank() -> int:
    """This process's number among those of its machine: which of the GPUs is its own."""
    return _joined.local_rank if _joined is not None else 0


def outside(environment: Mapping[str, str]) -> Place | None:
    """The place that torchrun or srun has given to this process; None where neither has started it.

    Of srun MASTER_ADDR is this machine unless given, and MASTER_PORT follows from the job's number.
    """
    e, host = environment, environment.get("MASTER_ADDR", "127.0.0.1")
    if "RANK" in e and "WORLD_SIZE" in e:
        place = Place(int(e["RANK"]), int(e["WORLD_SIZE"]), int(e.get("LOCAL_RANK", 0)), host,
                      int(e.get("MASTER_PORT", 29500)), "torchrun")  # fmt: skip
    elif "SLURM_PROCID" in e and "SLURM_STEP_NUM_TASKS" in e:  # the second is srun's own: a batch script has it not
        if int(e.get("SLURM_STEP_NUM_NODES", 1)) > 1 and "MASTER_ADDR" not in e:
            raise ValueError(
                "srun has started processes on several machines, which do not know where to meet: put "
                'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) before srun'
            )
        port = int(e.get("MASTER_PORT", 20_000 + int(e.get("SLURM_JOB_ID", 0)) % 20_000))
        place = Place(int(e["SLURM_PROCID"]), int(e["SLURM_STEP_NUM_TASKS"]), int(e.get("SLURM_LOCALID", 0)), host,
                      port, "srun")  # fmt: skip
    else:
        return None
    return place if place.world > 1 else None


_joined: Place | None = None


@contextmanager
def joined(place: Place) -> Iterator[None]:
    """This process as one of its run's; tensors of a GPU go by nccl, everything else by gloo."""
    global _joined
    store = None
    if place.starter == "devices":
        store = dist.TCPStore(place.host, place.port, is_master=False)
    else:  # as torchrun has set them already
        os.environ |= {"MASTER_ADDR": place.host, "MASTER_PORT": str(place.port)}
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=_PATIENCE)
    _joined = place
    try:
        yield
        wait()  # so that none takes its end of a connection away while another still reads
        dist.destroy_process_group()
    finally:
        _joined = None


def own_randomness() -> None:
    """Gives each process dropout masks of its own; rank 0's stay those of one process alone."""
    if rank():
        torch.manual_seed(torch.initial_seed() + 1_000_003 * rank())


def random_states(device: torch.device) -> list[list[Tensor]]:
    """The states of each process's random generators, by rank: the CPU's, and on a GPU that one's."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return gather([torch.get_rng_state(), *cuda])


def set_random_state(states: Sequence[Sequence[Tensor]], device: torch.device) -> None:
    """Puts this process's generators where `random_states` found them; a process that there was not keeps its own."""
    if rank() >= len(states):
        return
    cpu, *cuda = states[rank()]  # a process of old noted the states of all its machine's GPUs
    torch.set_rng_state(cpu)
    if device.type == "cuda" and cuda:
        torch.cuda.set_rng_state(cuda[(device.index or 0) if len(cuda) > 1 else 0], device)
