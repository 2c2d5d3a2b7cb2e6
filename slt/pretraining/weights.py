"""The result: a backbone's weights under timm's own names, with what made them beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from slt.files import atomic, write_json
from slt.models.adapters import add_adapters, plain_weights
from slt.models.backbones import ImageBackbone, form_of


def adapt_vit(backbone: ImageBackbone, *, rank: int, alpha: int) -> None:
    """Freezes a ViT and puts low-rank adapters on its attention and perceptrons, in place; see `add_adapters`."""
    try:
        add_adapters(backbone.network, rank=rank, alpha=alpha, layers=("qkv", "proj", "fc1", "fc2"))
    except ValueError as error:
        raise ValueError(f"adapters: {type(backbone.network).__name__} has no layers to adapt ({error})") from error
    # A convolution called `proj` too: the patches stay as they are.
    for name, parameter in backbone.network.named_parameters():
        if name.startswith("patch_embed."):
            parameter.requires_grad_(False)


def write_backbone(folder: Path, backbone: ImageBackbone, *, stream: str, about: Mapping[str, Any]) -> Path:
    """Writes `backbone_<stream>.safetensors`, which it returns, and beside it a JSON file that says what they are."""
    path = folder / f"backbone_{stream}.safetensors"
    with atomic(path) as file:
        file.write(save(plain_weights(backbone.network)))
    write_json(path.with_suffix(".json"), {"stream": stream, "form": form_of(backbone.network), **about})
    return path
