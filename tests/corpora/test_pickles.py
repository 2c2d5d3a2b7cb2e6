"""Pickles of others: what builds data is read, and nothing is run."""

from __future__ import annotations

import collections
import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slt.corpora.pickles import read_pickle


class Calls:
    """A pickle of it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("zipped", [False, True])
def test_containers_numbers_texts_and_arrays_are_read(tmp_path: Path, protocol: int, zipped: bool) -> None:
    value = {
        "a": [1, 2.5, "ñ", b"\xff", None, (True, {3})],
        "b": collections.OrderedDict(c=np.arange(6.0).reshape(2, 3)),
        "d": np.float32(1.5),
        "e": np.array(["x", "yz"]),
    }
    data = pickle.dumps(value, protocol)
    (tmp_path / "x.pkl").write_bytes(gzip.compress(data) if zipped else data)
    came = read_pickle(tmp_path / "x.pkl")
    assert came["a"] == value["a"]
    assert (came["b"]["c"] == value["b"]["c"]).all()
    assert came["d"] == 1.5
    assert came["e"].tolist() == ["x", "yz"]


def test_tensors_come_as_arrays(tmp_path: Path) -> None:
    value = [{"sign": torch.arange(12.0).reshape(3, 4)[:, 1:3]}, {"sign": torch.zeros(2, 5, dtype=torch.float16)}]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    first, second = (clip["sign"] for clip in read_pickle(tmp_path / "x.pkl"))
    assert first.tolist() == [[1, 2], [5, 6], [9, 10]]
    assert (second.dtype, second.shape) == (np.float16, (2, 5))


@pytest.mark.parametrize(
    ("bad", "asked"),
    [
        (Calls(os.system, "touch made"), "system"),
        (Calls(eval, "1"), "eval"),
        (Calls(getattr, "a", "b"), "getattr"),
        (Calls(torch.load, "x"), "load"),
        (Path("x"), "Path"),
    ],
)
def test_what_calls_anything_else_is_refused_and_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: Any, asked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([{"name": "a"}, bad]))
    with pytest.raises(ValueError, match=rf"x\.pkl: a pickle that asks for \S*{asked}.*not read"):
        read_pickle(tmp_path / "x.pkl")
    assert not (tmp_path / "made").exists()


def test_a_storage_inside_a_pickle_is_loaded_as_weights_alone(tmp_path: Path) -> None:
    torch.save(Calls(os.system, "touch made"), tmp_path / "inner.pt")
    inner = (tmp_path / "inner.pt").read_bytes()
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([Calls(torch.storage._load_from_bytes, inner)]))
    with pytest.raises(ValueError, match=r"x\.pkl: not a pickle that can be read"):
        read_pickle(tmp_path / "x.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kept", [0, 1, 7, 30])
def test_a_damaged_pickle_is_an_error_that_names_it(tmp_path: Path, kept: int) -> None:
    (tmp_path / "x.pkl").write_bytes(gzip.compress(pickle.dumps([{"name": "a" * 50}]))[:kept])
    with pytest.raises(ValueError, match=r"x\.pkl: not a pickle that can be read"):
        read_pickle(tmp_path / "x.pkl")
