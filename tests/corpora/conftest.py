"""Corpora as published, made up: a few clips each in their authors' form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def two_steps(entry: Any, tiny: list[str]) -> Callable[..., Any]:
    """Two training steps over `dataset=NAME dataset.root=ROOT`, then the test split scored from the checkpoint."""

    def run(name: str, root: Path, *more: str) -> Any:
        given = [each for each in tiny if not each.startswith("dataset.")]
        ran = entry("train", *given, "max_steps=2", "eval_every=2", "final=null", f"dataset={name}",
                    f"dataset.root={root}", *more)  # fmt: skip
        assert ran.status == 0, ran.err
        scored = entry("eval", f"checkpoint={ran.folder}", "split=test", "device=cpu", "evaluation.bootstrap=0")
        assert scored.status == 0, scored.err
        return scored

    return run
