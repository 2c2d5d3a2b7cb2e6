"""Learning-rate schedules at points that can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from slt.training.schedule import constant, cosine, inverse_sqrt, linear

FLOORED: Any = pytest.mark.parametrize("schedule", [cosine, linear])


@pytest.mark.parametrize("schedule", [cosine, linear, constant, inverse_sqrt])
def test_warms_up_from_the_first_step_in_a_straight_line(schedule: Any) -> None:
    floor = {"floor": 0.1} if schedule in (cosine, linear) else {}
    factors = [schedule(step, max_steps=100, warmup_steps=10, **floor) for step in range(10)]
    assert factors == pytest.approx([(step + 1) / 10 for step in range(10)])


@FLOORED
def test_falls_from_one_through_the_middle_to_its_floor(schedule: Any) -> None:
    at = [schedule(step, max_steps=110, warmup_steps=10, floor=0.2) for step in (10, 60, 110)]
    assert at == pytest.approx([1.0, 0.6, 0.2])


def test_cosine_is_above_the_line_in_its_first_half() -> None:
    quarter = {"max_steps": 100, "warmup_steps": 0, "floor": 0.0}
    assert cosine(25, **quarter) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert linear(25, **quarter) == pytest.approx(0.75)


def test_constant_stays() -> None:
    assert {constant(step, max_steps=50, warmup_steps=5) for step in range(5, 500)} == {1.0}


def test_inverse_sqrt_halves_in_four_times_the_steps() -> None:
    at = [inverse_sqrt(step - 1, max_steps=0, warmup_steps=100) for step in (100, 400, 1600)]
    assert at == pytest.approx([1.0, 0.5, 0.25])


@FLOORED
def test_stays_at_the_floor_past_the_end(schedule: Any) -> None:
    assert schedule(5000, max_steps=100, warmup_steps=10, floor=0.02) == pytest.approx(0.02)


@pytest.mark.parametrize("schedule", [cosine, linear, constant, inverse_sqrt])
@pytest.mark.parametrize("warmup_steps", [0, 2, 500])
def test_no_length_of_warm_up_breaks_a_run_of_two_steps(schedule: Any, warmup_steps: int) -> None:
    floor = {"floor": 0.02} if schedule in (cosine, linear) else {}
    factors = [schedule(step, max_steps=2, warmup_steps=warmup_steps, **floor) for step in range(2)]
    assert all(0 < factor <= 1 for factor in factors)
