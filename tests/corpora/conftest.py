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
    """`dataset=NAME dataset.root=ROOT` is checked, trained on for two steps, and its test split scored."""

    def run(name: str, root: Path, *more: str) -> Any:
        looked = entry("check", f"dataset={name}", f"dataset.root={root}",
                       *(each for each in more if each.startswith("dataset.corpus")))  # fmt: skip
        assert looked.status == 0, looked.err
        assert "of its clips have no files" not in looked.out or "dataset.only" in str(more)
        given = [each for each in tiny if not each.startswith("dataset.")]
        ran = entry("train", *given, "evaluation.bootstrap=0", f"dataset={name}", f"dataset.root={root}", *more)
        assert ran.status == 0, ran.err
        return ran

    return run
