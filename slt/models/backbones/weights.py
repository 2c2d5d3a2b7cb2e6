"""Files of pretrained weights: loaded whole into a network of their own form, and refused where they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
import torch
from torch import Tensor, nn

from slt.files import read_json

log = logging.getLogger(__name__)


def load_file(network: nn.Module, weights: str | None) -> None:
    """Load a safetensors or `weights_only` torch file into a network of its own form, through timm's key filters."""
    if weights is None:
        return
    if not Path(weights).is_file():
        raise FileNotFoundError(f"weights={weights}: no such file; give a local file, `timm` or null")
    told = pretrained_about(Path(weights)).get("form", {})
    for key, mine in form_of(network).items():
        if key in told and told[key] != mine:
            raise ValueError(f"weights={weights} are of another architecture: {key} {told[key]} there, {mine} here")
    try:
        # Said, for releases of timm differ in it: a file of others may hold more than weights.
        timm.models.load_checkpoint(network, weights, strict=False, filter_fn=_filter_of(network), weights_only=True)
        state = timm.models.load_state_dict(weights, weights_only=True)
    except Exception as error:
        raise ValueError(f"weights={weights} do not fit {type(network).__name__}: {error}") from error
    known = set(network.state_dict())
    if missing := sorted(known - set(_filter_of(network)(state, network))):
        raise ValueError(
            f"weights={weights} are of another architecture: {len(missing)} tensors missing: {missing[:3]}"
        )
    log.info("loaded %d tensors from %s", len(known), weights)


def load_published(
    network: nn.Module, weights: str, renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]], what: str
) -> None:
    """Load a checkpoint `{'model': weights}` of other people's code.

    Args:
        network: what takes all of them.
        weights: a local file.
        renamed: gives the weights that belong to the network its own names.
        what: was expected, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or one of another network: it says which weights lack or are too many.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(f"weights={weights}: no such file; give a local file, or null")
    try:
        held: Any = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(renamed(held["model"]))
    except Exception as error:
        raise ValueError(f"weights={weights}: expected {what}; {shorten(str(error), 300)}") from error


def form_of(network: nn.Module) -> dict[str, Any]:
    """Return what a file of weights must share with a network: its class and, of a ViT, patch, width and depth."""
    form: dict[str, Any] = {"network": type(network).__name__}
    if isinstance(network, timm.models.VisionTransformer):
        form |= {"patch_size": network.patch_embed.patch_size[0], "embed_dim": network.embed_dim}
        form |= {"depth": len(network.blocks)}
    return form


def pretrained_about(weights: Path) -> dict[str, Any]:
    """Return what `slt.pretrain` wrote beside a file of weights; nothing for files of others."""
    about = weights.with_suffix(".json")
    told = read_json(about) if about.is_file() else {}
    if not isinstance(told.get("form", {}), dict):
        raise ValueError(f"{about}: expected what slt.pretrain writes beside weights; copy it again, or remove it")
    return told


def check_stream(weights: str | None, stream: str) -> None:
    """Refuse weights that were pretrained on another stream; those of hands serve both."""
    trained = pretrained_about(Path(weights)).get("stream") if weights is not None else None
    fits = {"hands": ("hands", "left_hand", "right_hand")}.get(str(trained), (trained,))
    if trained is not None and stream not in fits:
        raise ValueError(f"weights={weights} were pretrained on stream {str(trained)!r}, came stream {stream!r}")


def _filter_of(network: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]:
    module = __import__(type(network).__module__, fromlist=["checkpoint_filter_fn"])
    return getattr(module, "checkpoint_filter_fn", lambda state, _: state)
