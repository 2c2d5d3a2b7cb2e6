"""Checkpoints: plain tensors and values, written whole or not at all, and read without ever running what is in them."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slt.training import weights

log = logging.getLogger(__name__)

FORMAT = 1
MOVED = {"gloss_head.": "heads.gloss."}  # how names of weights began in checkpoints of before, and begin


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Writes `payload` atomically: a crash, a kill or a full disk leaves the previous file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    # torch's writer reports a full disk as a RuntimeError
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        kept = "the previous checkpoint is intact" if path.exists() else "there was none before"
        raise OSError(f"{path}: could not be saved ({error}); {kept}. Is the disk full?") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; refuses what is damaged, or holds more than tensors and plain values."""
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint={path}: no such file; give a run folder or a .pt file")
    if path.name == weights.WEIGHTS:
        return _checked(weights.read_weights(path.parent), path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise ValueError("it is compressed, which none that was written here is")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a strange pickle's protocol, just before it is refused
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, nothing in it was run: it holds more than tensors and plain values, or is damaged. "
            "Expected a checkpoint written by slt.train"
        ) from error
    except Exception as error:  # torch's reader meets damaged bytes with any error there is, EOFError without a word
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path}: truncated or not a checkpoint ({why})") from error
    return _checked(payload, path)


def _checked(payload: Any, path: Path) -> dict[str, Any]:
    found = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
    if not isinstance(found, type(FORMAT)) or found != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this suite: expected format {FORMAT}, found {found}")
    for before, now in MOVED.items():
        for name in [name for name in payload.get("model", ()) if name.startswith(before)]:
            payload["model"][now + name.removeprefix(before)] = payload["model"].pop(name)
    return payload  # type: ignore[no-any-return]


def find_checkpoint(run: Path, name: str) -> Path:
    """The checkpoint file for a run folder, an exported folder or a file."""
    if run.is_file():
        return run
    if (run / weights.FILE).is_file():
        return run / weights.WEIGHTS
    path = run / "checkpoints" / name
    if not path.is_file():
        what = "no such file or folder" if not run.exists() else f"it has no checkpoints/{name}"
        raise FileNotFoundError(f"checkpoint={run}: {what}; give a run folder of slt.train or a .pt file")
    return path


def load_weights(model: nn.Module, state: dict[str, torch.Tensor], *, source: Path) -> None:
    """Loads weights, all of them; ValueError names the first that is of another architecture or shared."""
    own = model.state_dict()
    for name in [*own, *state]:
        mine, theirs = own.get(name), state.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            shapes = [None if t is None else tuple(t.shape) for t in (mine, theirs)]
            raise ValueError(
                f"{source}: weights of another architecture: {name} is {shapes[0] or 'absent'} in the model and "
                f"{shapes[1] or 'absent'} in the file; use the configuration the checkpoint was trained with"
            )
    for name, other in _joined(model, state):
        raise ValueError(
            f"{source}: {other} and {name} are one tensor in the model and two with other values in the file; use the "
            "configuration the checkpoint was trained with"
        )
    model.load_state_dict(state)


def begin_with(model: nn.Module, run: Path) -> None:
    """Start from the weights of a run or checkpoint, where name and shape are alike; the log says which are not.

    ValueError where none is.
    """
    path = find_checkpoint(run, "best.pt")
    own, theirs = model.state_dict(), load_checkpoint(path)["model"]
    taken = {name: x for name, x in theirs.items() if name in own and own[name].shape == x.shape}
    if not taken:
        raise ValueError(f"start={path}: no weight has a name and shape of this model; is it of another kind?")
    model.load_state_dict(own | taken)
    rest = {"anew": own.keys() - taken.keys(), "left out": theirs.keys() - taken.keys()}
    said = [f"; {what}: {', '.join(sorted({'.'.join(name.split('.')[:3]) for name in names}))}"
            for what, names in rest.items() if names]  # fmt: skip
    log.info("start=%s: %d of %d tensors taken%s", path, len(taken), len(own), "".join(said))


@contextmanager
def no_larger_than(state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Stops the building of a model that these weights cannot be of, before it takes the memory or the time.

    Four times as much is let pass: parts are built that are then left out, and a few of any size.
    """
    stored = 0
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name}: {tuple(tensor.shape)} numbers, but not so many are stored")
        stored += tensor.numel()
    most, values = 4 * len(state) + 1000, 4 * stored + 2**26

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal most, values
        most, values = most - 1, values - (0 if parameter is None else parameter.numel())
        if min(most, values) < 0:
            raise ValueError(
                f"the configuration describes a model that is far larger than the {len(state)} tensors of {stored} "
                "weights beside it"
            )

    hook = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def part(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Gives parameters of their own to a model that shares what `state` holds apart, as a head and an embedding.

    Checkpoints of before say of every T5 that its head is the embedding, as transformers told them.
    """
    for name, _ in _joined(model, state):
        parent, _, key = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, key, nn.Parameter(getattr(owner, key).detach().clone()))


def _joined(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Names of tensors that the model has as one, and `state` with different values."""
    first: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in model.state_dict().items():
        other = first.setdefault((tensor.data_ptr(), tensor.shape), name)
        if name in state and other in state and not torch.equal(state[name], state[other]):
            yield name, other
