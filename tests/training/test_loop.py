"""The training loop with a regression in place of a translator: updates, checkpoints, signals, stopping.

B rows.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from slt.training.checkpoint import load_checkpoint
from slt.training.loop import Trainer, parameter_groups, signals
from slt.training.record import read_metrics
from slt.training.schedule import linear

Make = Callable[..., Trainer]


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def calls(trainer: Trainer, step: int, action: Callable[[], object]) -> Callable[[nn.Module, Any], Tensor]:
    """The trainer's objective, which does `action` in the update that ends as number `step`."""
    plain = trainer.objective

    def objective(model: nn.Module, rows: Any) -> Tensor:
        if trainer.step_count + 1 == step:
            action()
        return plain(model, rows)

    return objective


def scripted(*values: float) -> Callable[[], dict[str, float]]:
    answers = iter(values)
    return lambda: {"val/bleu": next(answers)}


class Pair(tuple[Tensor, ...]):
    """Features (B, 3) and targets (B,), which stay where they are."""

    def to(self, device: torch.device) -> Pair:
        return self

    def __len__(self) -> int:
        return len(self[0])


class Shuffled:
    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def start(self, consumed: int) -> Iterator[Pair]:
        while True:
            yield from map(Pair, self.loader)


def test_linear_smoke_reaches_the_losses_that_the_predecessor_documented(trainer: Make) -> None:
    source = torch.Generator().manual_seed(2024)
    x = torch.randn(64, 3, generator=source)
    y = x @ torch.tensor([1.0, 2.0, 3.0]) + 0.05 * torch.randn(64, generator=source)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)

    def loss(model: nn.Module, pair: Pair) -> Tensor:
        x, y = pair
        return functional.mse_loss(model(x)[:, 0], y)

    def evaluation() -> float:
        with torch.no_grad():  # over the shuffled loader, which draws from the global generator: part of the figures
            return sum(loss(run.model, Pair(pair)).item() for pair in loader) / len(loader)

    run = trainer(dropout=0.0, lr=0.05, batches=Shuffled(loader), objective=loss, max_steps=3 * 8)  # manual_seed(0)
    before = evaluation()
    run.run()
    assert (before, evaluation()) == (pytest.approx(16.10, abs=0.01), pytest.approx(0.57, abs=0.01))


def test_accumulation_is_the_big_batch(trainer: Make, tmp_path: Path) -> None:
    size = trainer().batches.size
    big = trainer(dropout=0.0, accumulate=1, folder=tmp_path / "big")
    big.batches.size = 4 * size
    small = trainer(dropout=0.0, accumulate=4, folder=tmp_path / "small")
    for run in (big, small):
        run.run()
    torch.testing.assert_close(weights(small), weights(big), rtol=1e-4, atol=1e-6)
    assert dict(read_metrics(small.record.path)["train/loss"])[6] == pytest.approx(
        dict(read_metrics(big.record.path)["train/loss"])[6], rel=1e-4
    )


def test_no_update_is_longer_than_the_clipped_gradient(trainer: Make) -> None:
    moved = {}
    for clip in (None, 0.01):
        run = trainer(dropout=0.0, grad_clip=clip)
        groups = [{"params": list(run.model.parameters()), "lr": 1.0, "base_lr": 1.0}]
        run.optimizer, before = torch.optim.SGD(groups), weights(run)
        run.step(run.batches.start(0))
        moved[clip] = (weights(run) - before).norm().item()
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[None] > 1


def test_rates_follow_the_schedule(trainer: Make) -> None:
    run = trainer(lr=0.4, schedule=partial(linear, warmup_steps=2, floor=0.5), max_steps=6)
    run.run()
    rates = [value for _, value in run.record.curves["train/lr"]]
    assert rates == pytest.approx([0.2, 0.4, 0.4, 0.35, 0.3, 0.25])


def test_weight_decay_goes_to_its_end_along_half_a_cosine_where_there_is_any(trainer: Make, tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    groups = [
        {"params": [model.weight], "lr": 0.1, "base_lr": 0.1, "weight_decay": 0.04},
        {"params": [model.bias], "lr": 0.1, "base_lr": 0.1, "weight_decay": 0.0},
    ]
    made = trainer(model=model, optimizer=torch.optim.AdamW(groups), weight_decay_end=0.4, max_steps=3, eval_every=4)
    stream, seen = made.batches.start(0), []
    for _ in range(3):
        made.step(stream)
        seen.append([group["weight_decay"] for group in made.optimizer.param_groups])
    assert seen == [
        [pytest.approx(0.04), 0.0],
        [pytest.approx(0.13), 0.0],
        [pytest.approx(0.31), 0.0],
    ]  # cosines of 0, 60, 120 degrees
    trainer(folder=tmp_path / "begun", max_steps=1, weight_decay_end=0.4).run()
    again = trainer(folder=tmp_path / "again", max_steps=2, weight_decay_end=0.4)
    payload = load_checkpoint(tmp_path / "begun" / "checkpoints" / "last.pt")
    payload["optimizer"]["param_groups"][0]["weight_decay"] = 0.3  # as a run leaves it, on its way
    again.resume(payload, source=tmp_path)
    again.run()
    assert again.optimizer.param_groups[0]["weight_decay"] == pytest.approx((0.01 + 0.4) / 2)


def test_loss_that_is_not_a_number_stops_and_leaves_checkpoints_as_they_were(trainer: Make) -> None:
    run = trainer(evaluate=scripted(1.0, 2.0), eval_every=3)
    run.objective = calls(run, 5, lambda: next(run.model.parameters()).data.fill_(math.nan))
    with pytest.raises(ValueError, match="the loss is nan at step 5; checkpoints are as they were"):
        run.run()
    for name in ("last.pt", "best.pt"):
        payload = load_checkpoint(run.folder / name)
        assert payload["step"] == 3
        assert all(value.isfinite().all() for value in payload["model"].values())


def test_patience_stops_early(trainer: Make) -> None:
    run = trainer(evaluate=scripted(5.0, 6.0, 6.0, 4.0, 9.0), patience=2, eval_every=1, max_steps=50)
    run.run()
    assert (run.step_count, run.best) == (4, 6.0)


def test_best_is_the_best_on_val_and_last_the_last(trainer: Make) -> None:
    run = trainer(evaluate=scripted(1.0, 3.0, 2.0), eval_every=2)
    run.run()
    best, last = (load_checkpoint(run.folder / name) for name in ("best.pt", "last.pt"))
    assert (best["step"], best["best"]) == (4, 3.0)
    assert (last["step"], last["best"], last["since_best"]) == (6, 3.0, 1)
    assert not torch.equal(best["model"]["0.weight"], last["model"]["0.weight"])
    assert run.record.curves["val/bleu"] == [(2, 1.0), (4, 3.0), (6, 2.0)]


def test_of_errors_the_lowest_is_the_best(trainer: Make) -> None:
    run = trainer(evaluate=scripted(40.0, 20.0, 30.0), eval_every=2, lowest=True)
    run.run()
    best = load_checkpoint(run.folder / "best.pt")
    assert (best["step"], best["best"], run.best) == (4, 20.0, 20.0)


def test_ends_with_an_evaluation_whatever_the_interval(trainer: Make) -> None:
    run = trainer(evaluate=scripted(1.0, 2.0), eval_every=4, max_steps=5)
    run.run()
    assert [step for step, _ in run.record.curves["val/bleu"]] == [4, 5]


def test_without_evaluation_it_saves_all_the_same(trainer: Make) -> None:
    run = trainer(evaluate=None, eval_every=4)
    run.run()
    assert load_checkpoint(run.folder / "last.pt")["step"] == 6
    assert not (run.folder / "best.pt").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_leaves_with_the_shells_status(trainer: Make, number: int, status: int) -> None:
    before = signal.getsignal(number)
    run = trainer(max_steps=100, eval_every=100)
    run.objective = calls(run, 2, lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as left:
        run.run()
    assert left.value.code == status
    payload = load_checkpoint(run.folder / "last.pt")
    assert payload["step"] == 2
    assert torch.equal(payload["model"]["0.weight"], run.model.state_dict()["0.weight"])
    assert signal.getsignal(number) is before


def test_run_stopped_by_a_signal_goes_on_bit_for_bit(trainer: Make, tmp_path: Path) -> None:
    whole = trainer(folder=tmp_path / "whole")
    whole.run()
    stopped = trainer(folder=tmp_path / "stopped")
    stopped.objective = calls(stopped, 2, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        stopped.run()
    torch.manual_seed(99)
    rest = trainer(folder=tmp_path / "rest")
    rest.resume(load_checkpoint(stopped.folder / "last.pt"), source=stopped.folder)
    rest.run()
    assert torch.equal(weights(rest), weights(whole))


def test_a_resumed_run_that_accumulates_goes_on_with_the_batches_that_would_have_come(
    trainer: Make, tmp_path: Path
) -> None:
    whole, begun, rest = (trainer(folder=tmp_path / name, accumulate=2, max_steps=steps)
                          for name, steps in (("whole", 6), ("begun", 3), ("rest", 6)))  # fmt: skip
    for run in (whole, begun):
        torch.manual_seed(0)
        run.run()
    rest.resume(load_checkpoint(begun.folder / "last.pt"), source=begun.folder)
    rest.run()
    assert torch.equal(weights(rest), weights(whole))


def test_second_ctrl_c_interrupts_at_once() -> None:
    with signals() as caught:
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_objective_is_told_of_every_update(trainer: Make) -> None:
    class Counting:
        def __init__(self, plain: Any) -> None:
            self.plain, self.steps = plain, []

        def __call__(self, model: nn.Module, rows: Any) -> Tensor:
            return self.plain(model, rows)

        def after_step(self, step: int) -> None:
            self.steps.append(step)

    run = trainer(accumulate=2)
    run.objective = counting = Counting(run.objective)
    run.run()
    assert counting.steps == [1, 2, 3, 4, 5, 6]


def test_bf16_trains_close_to_fp32_and_keeps_its_weights_in_fp32(trainer: Make, tmp_path: Path) -> None:
    runs = [trainer(dropout=0.0, precision=p, folder=tmp_path / p, max_steps=20) for p in ("fp32", "bf16")]
    for run in runs:
        run.run()
    losses = [run.record.curves["train/loss"][-1][1] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=0.3)
    assert losses[1] != losses[0]
    assert weights(runs[1]).dtype == torch.float32


def test_fp16_is_refused_where_there_is_no_loss_scaling(trainer: Make) -> None:
    with pytest.raises(ValueError, match=r"precision=fp16 trains on CUDA only.*use bf16 or fp32"):
        trainer(precision="fp16")


def test_weights_alone_cannot_be_resumed(trainer: Make) -> None:
    run = trainer(evaluate=scripted(1.0), max_steps=3)
    run.run()
    best = load_checkpoint(run.folder / "best.pt")
    with pytest.raises(ValueError, match=r"resume=.*best\.pt: holds weights only .*; resume from last\.pt"):
        trainer().resume(best, source=run.folder / "best.pt")


def test_checkpoints_carry_what_they_are_given(trainer: Make) -> None:
    run = trainer(carried={"config": "a: 1", "corpus": "f1"}, evaluate=scripted(1.0), max_steps=3)
    run.run()
    for name in ("last.pt", "best.pt"):
        payload = load_checkpoint(run.folder / name)
        assert (payload["config"], payload["corpus"]) == ("a: 1", "f1")


def test_parts_have_their_own_rates_and_vectors_do_not_decay(build: Callable[..., nn.Module]) -> None:
    model = build()
    groups = parameter_groups(model, lr=1.0, rates={"encoder.backbones.": 0.1, "decoder.model.": 0.3})
    found = {id(p): (group["base_lr"], group.get("weight_decay")) for group in groups for p in group["params"]}
    rates = {"encoder.backbones.": 0.1, "decoder.model.": 0.3}
    for name, p in model.named_parameters():
        rate = next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)
        if p.requires_grad:
            assert found.pop(id(p)) == (rate, None if p.dim() >= 2 else 0.0), name
    assert found == {}


def test_parts_without_a_rate_share_the_base_rate(build: Callable[..., nn.Module]) -> None:
    groups = parameter_groups(build(), lr=0.5, rates={"encoder.backbones.": None})
    assert [group["base_lr"] for group in groups] == [0.5, 0.5]
    assert all(group["lr"] == group["base_lr"] for group in groups)


def test_frozen_parameters_are_in_no_group(build: Callable[..., nn.Module]) -> None:
    model = build("streams.face.frozen=true")
    there = {id(p) for group in parameter_groups(model, lr=1.0, rates={}) for p in group["params"]}
    assert not there & {id(p) for p in model.encoder.backbones["face"].parameters()}
    assert there & {id(p) for p in model.encoder.backbones["left_hand"].parameters()}
