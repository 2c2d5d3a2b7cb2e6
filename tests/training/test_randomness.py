"""Seeds and the flag for deterministic operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from slt.training.machine import fix_randomness


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    fix_randomness(0, deterministic=False)


def test_a_seed_gives_the_same_numbers() -> None:
    drawn = []
    for seed in (1, 1, 2):
        fix_randomness(seed, deterministic=False)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_deterministic_operations_are_asked_of_torch_cudnn_and_cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    fix_randomness(1, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_next_job_of_a_process_is_not_deterministic_because_the_last_one_was() -> None:
    fix_randomness(1, deterministic=True)
    fix_randomness(1, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
