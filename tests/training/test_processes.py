"""What processes tell each other, and that two of them train as one does: two of gloo, started once for all tests.

B rows, N crops, K prototypes.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.pretraining.losses import Centring, SinkhornKnopp
from slt.streams.batch import LengthBatches
from slt.training import processes
from slt.training.batches import parts
from slt.training.checkpoint import load_checkpoint
from slt.training.launching import launch
from slt.training.loop import Run, Trainer
from slt.training.machine import Compute
from slt.training.processes import Place, outside
from slt.training.record import Record, read_metrics
from slt.training.schedule import constant
from slt.training.settings import LoopSettings

SCORES = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))


class Rows:
    """A batch: features x (B, 3) and targets y (B,)."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.y = x, x @ torch.tensor([1.0, 2.0, 3.0])

    def to(self, device: torch.device) -> Rows:
        return self

    def __len__(self) -> int:
        return len(self.x)


class Parts:
    """Batches of 5 rows, of which each process has every so-many-th: never as many in one as in the other."""

    def start(self, consumed: int) -> Iterator[Rows]:
        x = torch.randn(400, 3, generator=torch.Generator().manual_seed(5))
        while True:
            batch = x[consumed * 5 : consumed * 5 + 5]
            yield Rows(batch[processes.rank() :: processes.world()])
            consumed += 1


class Fork(nn.Module):
    """Two ways through: only rows with a first feature above 1 take the second, and some parts of batches have none."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(1))
        self.rare = nn.Linear(3, 1)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers[0](x) * self.frozen
        chosen = x[:, 0] > 1
        if chosen.any():
            out = out.index_add(0, chosen.nonzero()[:, 0], self.rare(x[chosen]).to(out.dtype))
        return out[:, 0]


def error(model: nn.Module, rows: Rows) -> Tensor:
    loss = functional.mse_loss(model(rows.x), rows.y)
    return loss * processes.share(torch.tensor(len(rows)))


def trainer(folder: Path, strategy: str, **changes: Any) -> Trainer:
    """The real loop on the regression, with accumulation and a clipped gradient."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = Fork()
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": 0.05, "base_lr": 0.05}]
    compute = Compute(torch.device("cpu"), changes.pop("precision", "fp32"))
    steps = {key: changes.pop(key) for key in ("max_steps", "eval_every") if key in changes}
    settings = LoopSettings(strategy=strategy, select="val/bleu", accumulate=2, grad_clip=0.5, log_every=1,
                            **{"max_steps": 6, "eval_every": 3} | steps)  # fmt: skip
    run = Run(folder / "checkpoints", compute, Record(folder, []), {})
    options: dict[str, Any] = {
        "model": model, "objective": error, "optimizer": torch.optim.AdamW(groups), "batches": Parts(),
        "schedule": partial(constant, warmup_steps=0), "evaluate": None, "run": run, "settings": settings,
    }  # fmt: skip
    return Trainer(**options | changes)


def stop(number: int, step: int, run: Trainer) -> Callable[[nn.Module, Any], Tensor]:
    """The objective, in which the second process catches a signal in the update that ends as number `step`."""

    def objective(model: nn.Module, rows: Any) -> Tensor:
        if processes.rank() == 1 and run.step_count + 1 == step:
            signal.raise_signal(number)
        return error(model, rows)

    return objective


def spoiled(model: nn.Module, rows: Rows) -> Tensor:
    return error(model, rows) * (math.nan if processes.rank() else 1.0)


def together(folder: Path) -> list[dict[str, Any]]:
    """Everything that the tests below ask about, done by one of two processes; what each of them saw."""
    mine = SCORES[:9] if processes.first() else SCORES[9:]  # all in one process, none in the other
    halves = SCORES[processes.rank() :: 2]
    seen: dict[str, Any] = {
        "rank": processes.rank(),
        "world": processes.world(),
        "same": processes.broadcast(os.getpid()),
    }
    seen["share"] = [float(processes.share(torch.tensor(n))) for n in ((3, 1)[processes.rank()], 0)]
    for name, part in (("uneven", mine), ("even", halves)):
        centring = Centring(num_prototypes=4, momentum=0.5)
        seen[name] = {"sinkhorn": SinkhornKnopp(num_prototypes=4, iterations=3)(part, 0.5)}
        seen[name] |= {"centred": centring(part, 0.5), "centre": centring.centre}
    for strategy in ("ddp", "fsdp2"):
        trainer(folder / strategy, strategy).run()
        bf16 = trainer(folder / f"{strategy}_bf16", strategy, precision="bf16")
        bf16.run()
        seen[f"{strategy}_shards"] = sum(p.numel() for p in _local(bf16))
    processes.wait()
    stopped = trainer(folder / "stopped", "ddp", max_steps=100, eval_every=100)
    stopped.objective = stop(signal.SIGTERM, 2, stopped)
    for name, run in (("stopped", stopped), ("spoiled", trainer(folder / "spoiled", "ddp", objective=spoiled))):
        try:
            run.run()
        except (SystemExit, ValueError) as error:
            seen[name] = repr(error)
    for strategy, other in (("ddp", "fsdp2"), ("fsdp2", "six")):
        source = folder / other / "checkpoints" / "last.pt"
        onward = trainer(folder / f"onward_{strategy}", strategy, max_steps=9)
        onward.resume(load_checkpoint(source), source=source)
        onward.run()
    return processes.gather(seen)


def _local(run: Trainer) -> list[Tensor]:
    return [getattr(p, "_local_tensor", p) for p in run.parallel.loss.parameters()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[dict[str, Any]]:
    trainer(folder / "six", "ddp").run()  # by one process
    return launch(together, (folder,), count=2)


@pytest.fixture(scope="module")
def alone(folder: Path, seen: Any) -> Path:
    run = trainer(folder / "alone", "ddp", max_steps=9)
    run.run()
    return folder / "alone"


def losses(folder: Path) -> list[float]:
    return [value for _, value in read_metrics(folder / "metrics.csv")["train/loss"]]


def test_processes_know_their_number_and_what_the_first_says(seen: list[dict[str, Any]]) -> None:
    assert [(each["rank"], each["world"]) for each in seen] == [(0, 2), (1, 2)]
    assert seen[0]["same"] == seen[1]["same"] != os.getpid()


def test_shares_weigh_items_and_not_processes(seen: list[dict[str, Any]]) -> None:
    assert [each["share"] for each in seen] == [[1.5, 0.0], [0.5, 0.0]]
    assert processes.share(torch.tensor(7)) == 1.0


@pytest.mark.parametrize("part", ["even", "uneven"])
def test_the_teachers_statistics_are_over_all_processes(seen: list[dict[str, Any]], part: str) -> None:
    centring = Centring(num_prototypes=4, momentum=0.5)
    wanted = {"sinkhorn": SinkhornKnopp(num_prototypes=4, iterations=3)(SCORES, 0.5), "centred": centring(SCORES, 0.5)}
    places = [slice(0, None, 2), slice(1, None, 2)] if part == "even" else [slice(0, 9), slice(9, 9)]
    for each, mine in zip(seen, places, strict=True):
        for name, whole in wanted.items():
            torch.testing.assert_close(each[part][name], whole[mine])
        torch.testing.assert_close(each[part]["centre"], centring.centre)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_uneven_parts_train_as_the_whole_batch_does(folder: Path, alone: Path, strategy: str) -> None:
    assert losses(folder / strategy) == pytest.approx(losses(alone)[:6], rel=1e-4)
    assert losses(folder / f"{strategy}_bf16") == pytest.approx(losses(alone)[:6], rel=0.1)
    assert losses(folder / f"{strategy}_bf16") != pytest.approx(losses(alone)[:6], rel=1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_checkpoints_go_on_with_another_strategy_and_number_of_processes(
    folder: Path, alone: Path, strategy: str
) -> None:
    assert losses(folder / f"onward_{strategy}") == pytest.approx(losses(alone)[6:], rel=1e-3)
    source = folder / strategy / "checkpoints" / "last.pt"
    rest = trainer(folder / f"rest_{strategy}", "ddp", max_steps=9)
    rest.resume(load_checkpoint(source), source=source)
    rest.run()
    assert losses(folder / f"rest_{strategy}") == pytest.approx(losses(alone)[6:], rel=1e-3)


def test_shards_divide_the_parameters(seen: list[dict[str, Any]]) -> None:
    whole = sum(p.numel() for p in Fork().parameters())
    assert [each["ddp_shards"] for each in seen] == [whole, whole]
    assert sum(each["fsdp2_shards"] for each in seen) == whole
    assert 0 < seen[0]["fsdp2_shards"] < whole


def test_a_signal_to_one_process_stops_all_at_the_same_step(seen: list[dict[str, Any]], folder: Path) -> None:
    assert [each["stopped"] for each in seen] == ["SystemExit(143)"] * 2
    assert load_checkpoint(folder / "stopped" / "checkpoints" / "last.pt")["step"] == 2


def test_a_loss_that_is_not_a_number_in_one_process_stops_all(seen: list[dict[str, Any]], folder: Path) -> None:
    assert all("the loss is nan at step 1" in each["spoiled"] for each in seen)
    assert not (folder / "spoiled" / "checkpoints").exists()


def test_parts_of_a_batch_are_the_batch_and_an_empty_one_has_no_weight() -> None:
    sampler = LengthBatches([3, 4, 5, 6, 7, 8, 30], batch_size=None, batch_frames=30, shuffle=True, seed=0)

    def take(count: int, rank: int, world: int) -> list[tuple[list[tuple[int, int]], bool]]:
        return list(islice(parts(sampler, 1, rank=rank, world=world), count))

    whole = [keys for keys, _ in take(6, 0, 1)]
    shares = [take(6, rank, 3) for rank in range(3)]
    for step, batch in enumerate(whole):
        own = [key for share in shares for key in share[step][0] if share[step][1]]
        assert sorted(own) == sorted(batch)
        assert all(share[step][0] for share in shares)
    assert not all(counts for share in shares for _, counts in share)


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29400"}
SRUN = {"SLURM_PROCID": "9", "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_NUM_NODES": "2", "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "40007", "MASTER_ADDR": "node7"}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        (TORCHRUN, Place(3, 4, 1, "node1", 29400, "torchrun")),
        (SRUN, Place(9, 16, 1, "node7", 20007, "srun")),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # a batch script, before any srun
        ({}, None),
    ],
)
def test_place_is_read_from_torchrun_and_srun(environment: dict[str, str], place: Place | None) -> None:
    assert outside(environment) == place


def test_several_machines_of_srun_without_an_address_are_told_how_to_meet() -> None:
    with pytest.raises(ValueError, match=r"do not know where to meet: put export MASTER_ADDR=\$\(scontrol"):
        outside({key: value for key, value in SRUN.items() if key != "MASTER_ADDR"})
