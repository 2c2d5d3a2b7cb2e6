"""Checkpoints: whole or not at all on disk, and nothing in them is ever run."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slt.training.checkpoint import begin_with, find_checkpoint, load_checkpoint, load_weights, part, save_checkpoint


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(path, {"model": nn.Linear(3, 2).state_dict(), "step": 7, "config": "lr: 1"})
    return path


def test_training_begins_with_the_weights_that_fit_and_says_which_do_not(saved: Path, caplog: Any) -> None:
    model = nn.Sequential()
    model.weight, model.bias = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(5))  # type: ignore[assignment]
    with caplog.at_level("INFO"):
        begin_with(model, saved)
    assert torch.equal(model.weight, load_checkpoint(saved)["model"]["weight"])
    assert not model.bias.any()
    assert "1 of 2 tensors taken; anew: bias; left out: bias" in caplog.text
    with pytest.raises(ValueError, match="none|no weight"):
        begin_with(nn.Linear(1, 1), saved)


def test_a_gloss_head_of_before_is_found_by_its_name_of_today(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"model": {"gloss_head.bias": torch.ones(2)}})
    assert [*load_checkpoint(tmp_path / "last.pt")["model"]] == ["heads.gloss.bias"]


def test_gives_back_what_was_saved(saved: Path) -> None:
    payload = load_checkpoint(saved)
    assert (payload["step"], payload["config"], payload["model"]["weight"].shape) == (7, "lr: 1", (2, 3))


@pytest.mark.parametrize("error", [RuntimeError("enforce fail: no space"), OSError(errno.ENOSPC, "No space left")])
def test_full_disk_while_saving_keeps_the_previous_file_and_says_so(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    before = saved.read_bytes()

    def half(payload: Any, file: Any) -> None:
        file.write(b"PK half of it")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match=r"last\.pt: could not be saved .*previous checkpoint is intact.*disk full"):
        save_checkpoint(saved, {"step": 8})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]


def test_first_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=r"No space left on device.*there was none before"):
        save_checkpoint(tmp_path / "checkpoints" / "last.pt", {"step": 1})
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused_by_name(saved: Path, share: float) -> None:
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(ValueError, match=r"last\.pt: (truncated or not a checkpoint|refused)"):
        load_checkpoint(saved)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02", b"x" * 5000, bytes(range(256))])
def test_file_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pt: "):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("form", ["pickle", "torch", "torch, old"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    trap, path = tmp_path / "executed", tmp_path / "best.pt"
    content = {"format": 1, "model": {}, "config": Payload(trap)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(ValueError, match=r"best\.pt: refused, nothing in it was run"):
        load_checkpoint(path)
    assert not trap.exists()


def test_checkpoint_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: not a checkpoint of this suite: expected format 1, found None"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save({"format": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: not a checkpoint of this suite"):
        load_checkpoint(tmp_path / "other.pt")


def test_holds_tensors_and_plain_values_only(trainer: Callable[..., Any]) -> None:
    trained = trainer(max_steps=3)
    trained.run()
    with zipfile.ZipFile(trained.folder / "last.pt") as file:
        pickled = next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    modules = {str(argument).split(" ")[0] for code, argument, _ in _opcodes(pickled) if code == "GLOBAL"}
    assert modules <= {"torch._utils", "collections", "torch"}


def _opcodes(pickled: bytes) -> list[tuple[str, Any, Any]]:
    import pickletools

    return [(code.name, argument, place) for code, argument, place in pickletools.genops(pickled)]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (nn.Linear(3, 5), r"weight is \(2, 3\) in the model and \(5, 3\) in the file"),
        (nn.Linear(3, 2, bias=False), r"bias is \(2,\) in the model and absent in the file"),
        (nn.Bilinear(3, 3, 2), "weight is"),
    ],
)
def test_weights_of_another_architecture_are_named(other: nn.Module, difference: str) -> None:
    with pytest.raises(ValueError, match=rf"best\.pt: weights of another architecture: {difference}"):
        load_weights(nn.Linear(3, 2), other.state_dict(), source=Path("best.pt"))


def test_weights_too_many_are_named() -> None:
    with pytest.raises(ValueError, match=r"bias is absent in the model and \(2,\) in the file"):
        load_weights(nn.Linear(3, 2, bias=False), nn.Linear(3, 2).state_dict(), source=Path("best.pt"))


class Head(nn.Module):
    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


def test_a_model_that_shares_what_the_file_holds_apart_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"best\.pt: embedding\.weight and head\.weight are one tensor in the model"):
        load_weights(Head(tied=True), Head(tied=False).state_dict(), source=Path("best.pt"))


def test_what_the_file_holds_twice_alike_is_loaded_apart_or_shared(saved: Path) -> None:
    save_checkpoint(saved, {"model": Head(tied=True).state_dict()})
    state = load_checkpoint(saved)["model"]
    for tied in (True, False):
        load_weights(model := Head(tied=tied), {name: x.clone() for name, x in state.items()}, source=saved)
        assert torch.equal(model.head.weight, state["head.weight"])


def test_parting_a_model_gives_it_what_the_file_holds_apart_and_leaves_the_rest_shared() -> None:
    state = Head(tied=False).state_dict()
    part(model := Head(tied=True), state)
    load_weights(model, state, source=Path("best.pt"))
    assert torch.equal(model.head.weight, state["head.weight"])
    assert torch.equal(model.embedding.weight, state["embedding.weight"])
    part(shared := Head(tied=True), Head(tied=True).state_dict())
    assert shared.head.weight is shared.embedding.weight


def test_is_found_by_run_folder_and_by_file(saved: Path, tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, "last.pt") == saved
    assert find_checkpoint(saved, "best.pt") == saved


@pytest.mark.parametrize(
    ("where", "message"),
    [("outputs/absent", "no such file or folder"), (".", r"it has no checkpoints/best\.pt")],
)
def test_missing_checkpoint_says_what_was_looked_for(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"checkpoint=.*{message}; give a run folder"):
        find_checkpoint(tmp_path / where, "best.pt")
