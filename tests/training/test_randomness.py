"""Seeds and the flag for deterministic operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from slt.training.machine import Compute, choose_precision, fix_randomness


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


@pytest.mark.parametrize(("precision", "shortened"), [("bf16", True), ("tf32", True), ("fp32", False)])
def test_a_gpu_computes_float32_in_full_where_it_is_asked_for(precision: str, shortened: bool) -> None:
    try:
        Compute(torch.device("cuda"), precision)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == shortened
    finally:
        Compute(torch.device("cuda"), "fp32")


@pytest.mark.parametrize(
    ("device", "faster", "chosen"),
    [("cpu", False, "fp32"), ("cpu", True, "bf16"), ("cuda", False, "fp32"), ("cuda", True, "bf16")],
)
def test_auto_is_bfloat16_only_where_the_hardware_multiplies_matrices_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, device: str, faster: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": faster})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: faster or including_emulation)
    assert choose_precision("auto", torch.device(device)) == chosen
    assert choose_precision("tf32", torch.device(device)) == "tf32"
