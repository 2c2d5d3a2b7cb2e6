"""The training loop: plain PyTorch, in plain sight; run -> step and evaluate, each on one screen.

The loop knows nothing of streams: anything with an endless iterator of batches and an objective trains here. With
several processes each runs this same loop on its part of every batch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from slt.training import processes
from slt.training.averaging import Average
from slt.training.checkpoint import load_weights, save_checkpoint
from slt.training.finite import FirstBad
from slt.training.machine import Compute
from slt.training.masks import quick_masks
from slt.training.record import Record
from slt.training.schedule import cosine
from slt.training.settings import LoopSettings
from slt.training.sharding import wrap_model

log = logging.getLogger(__name__)

Objective = Callable[[Any, Any], Tensor]


class Batches(Protocol):
    def start(self, consumed: int) -> Iterator[Any]:
        """Batches from number `consumed` on, for ever."""


@dataclass(frozen=True)
class Run:
    """Where a training happens (`folder` of its checkpoints) and what it leaves; checkpoints have what is `carried`."""

    folder: Path
    compute: Compute
    record: Record
    carried: dict[str, Any]
    profiler: torch.profiler.profile | None = None


class Trainer:
    """Trains a model for `max_steps` updates.

    Args:
        model: on its device.
        objective: (model, batch) -> mean loss, over the items of all processes (`processes.share`). It may have
            `after_step(step)`, called after updates and on resuming, and `report() -> metrics`, logged with the loss.
        optimizer: over parameter groups of `model` with a `base_lr` each.
        schedule: (step, max_steps=) -> factor of the base rates.
        batches: this process's part of each; a batch has `to(device)` and a length in `settings.unit`.
        evaluate: () -> metrics named `val/...`, the same ones in each process; None never evaluates.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[..., float],
        batches: Batches,
        evaluate: Callable[[], dict[str, float]] | None,
        run: Run,
        settings: LoopSettings,
    ) -> None:
        self.compute, self.device = run.compute, run.compute.device
        half = self.compute.precision == "fp16"
        if half and self.device.type != "cuda":
            raise ValueError(
                f"precision=fp16 trains on CUDA only (loss scaling), device is {self.device}; use bf16 or fp32"
            )
        self.model, self.objective, self.optimizer, self.schedule = model, objective, optimizer, schedule
        self.batches, self.evaluate, self.settings = batches, evaluate, settings
        self.record, self.folder, self.carried, self.profiler = run.record, run.folder, run.carried, run.profiler
        self.decays = [group["weight_decay"] for group in optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.parallel = wrap_model(model, optimizer, settings.strategy, self.device)
        self.average = Average(self.parallel.loss, settings.ema_decay)
        processes.own_randomness()
        self.step_count = 0
        self.best = math.inf if settings.lowest else -math.inf
        self.since_best = 0
        self.waited = 0.0
        self.first_bad = FirstBad()

    def run(self) -> None:
        """Trains to the end, early stopping, or a signal: it saves and leaves with the shell's status (130, 143)."""
        s = self.settings
        stream = self.batches.start(self.step_count * s.accumulate)
        since, count = time.perf_counter(), 0
        bar = tqdm(total=s.max_steps, initial=self.step_count, unit="step", desc="train", disable=not processes.first())
        with self.profiler or nullcontext(), quick_masks(), signals() as caught, bar:
            while self.step_count < s.max_steps and not self.exhausted and not processes.max_signal(caught):
                loss, passed = self.step(stream)
                if self.profiler is not None:
                    self.profiler.step()
                count += passed
                bar.update()
                last = self.step_count == s.max_steps
                if self.step_count % s.log_every == 0 or last:
                    self.check_finite()
                    seconds = time.perf_counter() - since
                    rate = int(processes.total(torch.tensor(count))) / seconds
                    bar.set_postfix_str(f"loss {loss.item():.3f}, {rate:.0f} {s.unit}/s")
                    self.log_step(loss.item(), rate, self.waited / seconds)
                    since, count, self.waited = time.perf_counter(), 0, 0.0
                if self.step_count % s.eval_every == 0 or last:
                    self.check_finite()
                    self.check()
                    since, count, self.waited = time.perf_counter(), 0, 0.0
        if stopped := processes.max_signal(caught):
            self.check_finite()
            self.save_last()
            log.warning("stopped by signal %d at step %d; go on with resume=auto", stopped, self.step_count)
            raise SystemExit(128 + stopped)

    @property
    def exhausted(self) -> bool:
        return self.settings.patience is not None and self.since_best >= self.settings.patience

    def step(self, stream: Iterator[Any]) -> tuple[Tensor, int]:
        """One update over `accumulate` batches -> the mean loss of all processes (detached), and what this one saw."""
        accumulate = self.settings.accumulate
        self.parallel.loss.train()
        self.set_rates()
        total, count = torch.zeros((), device=self.device), 0
        for turn in range(accumulate):
            before = time.perf_counter()
            batch = next(stream)
            self.waited += time.perf_counter() - before
            batch = batch.to(self.device)
            with self.parallel.sync_gradients(last=turn == accumulate - 1):
                with self.compute.autocast():
                    loss = self.parallel.loss(self.objective, batch) / accumulate
                self.scaler.scale(loss).backward()
            total += loss.detach()
            count += len(batch)
        total = processes.mean(total)  # on each process, so that all stop or none
        self.first_bad.note(total, self.step_count + 1)
        if self.settings.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parallel.loss.parameters(), self.settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_count += 1
        self.average.update(self.step_count)
        self.tell_objective()
        return total, count

    def check_finite(self) -> None:
        """Raises ValueError where a loss was not finite; a GPU is waited for."""
        if step := self.first_bad.step:
            term = self.objective.blame() if hasattr(self.objective, "blame") else ""
            raise ValueError(
                f"the loss is {self.first_bad.loss} at step {step}{term}; checkpoints are as they were. "
                "Lower optimizer.lr, lengthen schedule.warmup_steps, or use precision=fp32"
            )

    def set_rates(self) -> None:
        """Gives each parameter group the learning rate and weight decay of the next update."""
        s = self.settings
        factor = self.schedule(self.step_count, max_steps=s.max_steps)
        left = cosine(self.step_count, max_steps=s.max_steps, warmup_steps=0, floor=0.0)
        for group, decay in zip(self.optimizer.param_groups, self.decays, strict=True):
            group["lr"] = group["base_lr"] * factor
            if decay and s.weight_decay_end is not None:
                group["weight_decay"] = s.weight_decay_end + (decay - s.weight_decay_end) * left

    def tell_objective(self) -> None:
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(self.step_count)

    def log_step(self, loss: float, per_second: float, data_wait: float) -> None:
        """Writes the step's metrics; `train/data_wait` is the share of the time spent waiting for the loader."""
        rate = {"train/lr": self.optimizer.param_groups[0]["lr"], f"train/{self.settings.unit}_per_second": per_second}
        own = self.objective.report() if hasattr(self.objective, "report") else {}
        self.record.log(self.step_count, {"train/loss": loss, **rate, "train/data_wait": data_wait, **own})

    def check(self) -> None:
        """Evaluates, keeps the best, saves the last."""
        if self.evaluate is not None:
            with self.average.shown(), self.parallel.full_weights():
                self.model.eval()
                metrics = self.evaluate()
                self.record.log(self.step_count, metrics)
                found = metrics[self.settings.select]
                if found < self.best if self.settings.lowest else found > self.best:
                    self.best, self.since_best = found, 0
                    self.save("best.pt", resumable=False)
                else:
                    self.since_best += 1
        self.save_last()

    def save_last(self) -> None:
        """Writes what training goes on from: the weights trained, and their average where there is one."""
        average: dict[str, Any] = {}
        if self.settings.ema_decay is not None:
            with self.average.shown(), self.parallel.full_weights():
                average = {"average": {name: x.clone() for name, x in self.model.state_dict().items()}}
        with self.parallel.full_weights():
            self.save("last.pt", **average)

    def save(self, name: str, *, resumable: bool = True, **more: Any) -> None:
        """Writes a checkpoint, the same one whatever the strategy and number of processes."""
        payload = {**self.carried, "model": self.model.state_dict(), "step": self.step_count, "best": self.best, **more}
        if resumable:
            states = processes.random_states(self.device)
            payload |= {
                "optimizer": self.parallel.optimizer_state(self.optimizer),
                "scaler": self.scaler.state_dict(),
                "since_best": self.since_best,
                "rng": states[0][0],
                "rng_cuda": states[0][1:],
                "rng_others": states[1:],
            }
        if processes.first():
            save_checkpoint(self.folder / name, payload)
        processes.wait()  # none goes on, or leaves, before the file is there

    def resume(self, payload: dict[str, Any], *, source: Path) -> None:
        """Takes up where `payload` (of a `last.pt`) left off, bit for bit with as many processes as wrote it.

        With another number, or strategy, only what the model itself draws (dropout) is drawn otherwise.
        """
        if "optimizer" not in payload:
            raise ValueError(f"resume={source}: holds weights only (a best.pt does); resume from last.pt")
        for weights in ("average", "model"):  # one after the other into the same places
            if weights in payload:
                load_weights(self.model, payload[weights], source=source)
                self.parallel.load_from_model()
            if weights == "average":
                self.average.take()
        self.parallel.load_optimizer(self.optimizer, payload["optimizer"])
        self.scaler.load_state_dict(payload["scaler"])
        self.step_count, self.best, self.since_best = payload["step"], payload["best"], payload["since_best"]
        self.tell_objective()
        states = [[payload["rng"], *payload["rng_cuda"]], *payload.get("rng_others", [])]
        processes.set_random_state(states, self.device)


def parameter_groups(model: nn.Module, *, lr: float, rates: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Parameters by base learning rate and weight decay: vectors (norms, biases) never decay.

    `rates` maps what names of parameters begin with to their own rate; of all others, and of None, it is `lr`.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = (rate for prefix, rate in rates.items() if name.startswith(prefix) and rate is not None)
            groups.setdefault((next(own, lr), parameter.dim() >= 2), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "base_lr": rate} | ({} if decays else {"weight_decay": 0.0})
        for (rate, decays), parameters in groups.items()
    ]


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them; a second Ctrl-C interrupts at once."""
    caught: list[int] = []

    def catch(number: int, frame: object) -> None:
        # One of several is told twice, by the batch system and by whoever started it.
        if caught and processes.world() == 1:
            raise KeyboardInterrupt
        caught.append(number)

    with processes.on_signals(catch):
        yield caught
