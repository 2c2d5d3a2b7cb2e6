"""Random masks: the same law as torch's own, drawn anew from torch's generator alone, in every network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from slt.training.masks import bernoulli_, quick_masks


@pytest.mark.parametrize("p", [0.0, 1e-5, 0.1, 0.5, 0.9, 1 - 1e-5, 1.0])
def test_each_element_is_one_with_its_probability(p: float) -> None:
    torch.manual_seed(0)
    count = 1_000_000
    drawn = [bernoulli_(torch.empty(count), p) for _ in range(4)]
    assert {*torch.stack(drawn).unique().tolist()} <= {0.0, 1.0}
    ones = sum(int(each.sum()) for each in drawn)
    # Four masks of a million: five standard deviations of them, and of the level that each mask draws.
    spread = 5 * ((4 * count * p * (1 - p)) ** 0.5 + count / 2**16)
    assert abs(ones - 4 * count * p) <= spread
    if 0 < p < 1:
        same = (drawn[0] == drawn[1]).double().mean()
        assert abs(float(same) - (p * p + (1 - p) ** 2)) < 0.01  # one mask says nothing about the next


def test_neighbours_say_nothing_about_each_other() -> None:
    torch.manual_seed(0)
    drawn = bernoulli_(torch.empty(1_000_000), 0.5).mul_(2).sub_(1)
    for apart in (1, 2, 3, 4, 5, 64):
        assert abs(float((drawn[apart:] * drawn[:-apart]).mean())) < 0.006


def test_a_level_is_drawn_so_that_the_mean_is_right() -> None:
    torch.manual_seed(0)
    p = (100 + 0.25) / 2**16
    means = [float(bernoulli_(torch.empty(2**16), p).sum()) for _ in range(4000)]
    assert sum(means) / len(means) == pytest.approx(100.25, abs=4 * 10 / len(means) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.int64])
def test_any_type_and_any_layout_is_filled(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.full((7, 90, 5), 3).to(dtype).transpose(0, 1)
    assert bernoulli_(x, 0.5) is x
    assert {*x.flatten().tolist()} == {0, 1}
    assert bernoulli_(torch.empty(0), 0.5).numel() == 0


def test_the_seed_of_torch_repeats_it_and_a_generator_of_one_s_own_too() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = [bernoulli_(torch.empty(50), 0.5) for _ in range(2)]
    torch.set_rng_state(state)
    again = [bernoulli_(torch.empty(50), 0.5) for _ in range(2)]
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert not torch.equal(*first)
    mine = [bernoulli_(torch.empty(50), 0.5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*mine)


def test_every_network_draws_by_it_within_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(x: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
        calls.append(x.numel())
        return bernoulli_(x, p, generator=generator)

    monkeypatch.setattr("slt.training.masks.bernoulli_", counted)
    x = torch.ones(2, 3, 4, requires_grad=True)
    attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
    for _ in range(2):  # and once more, after it has ended
        calls.clear()
        with quick_masks():
            kept = nn.Dropout(0.25)(x)
            attention(x, x, x, need_weights=False)
        assert calls == [24, 36]
        functional.dropout(x, 0.5)
        assert calls == [24, 36]
    kept.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(kept > 0, 1 / 0.75, 0.0))
