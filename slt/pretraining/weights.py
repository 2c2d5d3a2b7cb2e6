"""The result: a backbone's weights under timm's own names, with what made them beside; and low-rank adapters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from slt.files import atomic, write_json
from slt.models.backbones import ImageBackbone, form_of


def add_adapters(backbone: ImageBackbone, *, rank: int, alpha: int) -> None:
    """Freezes a ViT and puts low-rank adapters (Hu et al. 2022, LoRA) on its attention and perceptrons, in place.

    Their scale is alpha over rank.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'adapters need peft: pip install "slt[pretrain]" ({error})') from error
    layers = ["qkv", "proj", "fc1", "fc2"]
    try:
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers), backbone.network)
    except ValueError as error:
        raise ValueError(f"adapters: {type(backbone.network).__name__} has no layers to adapt ({error})") from error
    # A convolution called `proj` too: the patches stay as they are.
    for name, parameter in backbone.network.named_parameters():
        if name.startswith("patch_embed."):
            parameter.requires_grad_(False)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network under the names that it has without adapters, whose products are added to them."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            module.merge()  # type: ignore[operator]
    return {
        name.replace(".base_layer", ""): value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if ".lora_" not in name
    }


def write_backbone(folder: Path, backbone: ImageBackbone, *, stream: str, about: Mapping[str, Any]) -> Path:
    """Writes `backbone_<stream>.safetensors`, which it returns, and beside it a JSON file that says what they are."""
    path = folder / f"backbone_{stream}.safetensors"
    with atomic(path) as file:
        file.write(save(plain_weights(backbone.network)))
    write_json(path.with_suffix(".json"), {"stream": stream, "form": form_of(backbone.network), **about})
    return path
