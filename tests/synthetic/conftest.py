"""A small corpus that the tests of the embedded corpus share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slt.synthetic import corpus_folder

PARAMETERS: dict[str, Any] = {
    "size": "default",
    "seed": 5,
    "clips": {"train": 6, "val": 2, "test": 2},
    "signers": {"train": 3, "val": 1, "test": 2},
    "left_handed": 0.3,
    "fps": 15.0,
    "crop_size": 24,
    "encoding": "raw",
    "quality": 90,
    "noise": {"jitter": 0.004, "missed": 0.05, "burst": 2.5, "grain": 4.0},
    "workers": 0,
    "progress": False,
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_folder(cache=str(tmp_path_factory.mktemp("cache")), **PARAMETERS)


@pytest.fixture
def parameters() -> dict[str, Any]:
    return dict(PARAMETERS)
