"""Low-rank adapters (LoRA; Hu et al. 2022): few weights learn beside those of a network, and become part of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import ModuleType

from torch import Tensor, nn


def peft() -> ModuleType:
    """Return the library, or say what to install."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'adapters need peft: pip install "slt[pretrain]" ({error})') from error
    return peft


def add_adapters(network: nn.Module, *, rank: int, alpha: int, layers: Sequence[str]) -> None:
    """Freeze a network and put adapters on its linear layers of these names, or ends of names, in place.

    Their scale is alpha over rank. ValueError where there are no such layers.
    """
    library = peft()
    library.inject_adapter_in_model(library.LoraConfig(r=rank, lora_alpha=alpha, target_modules=[*layers]), network)


def linear_layers(network: nn.Module) -> list[str]:
    """Return the names of a network's linear layers whose weights are nothing else too, as a head's and embedding's."""
    owners: dict[int, int] = {}
    for module in network.modules():
        for weight in module._parameters.values():
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    return [name for name, module in network.named_modules()
            if isinstance(module, nn.Linear) and owners[id(module.weight)] == 1]  # fmt: skip


def merge_adapters(network: nn.Module) -> None:
    """Add the products of adapters to the weights beside which they learned, in place; the adapters are gone."""
    for name, module in [*network.named_modules()]:
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            module.merge()
            owner, _, key = name.rpartition(".")
            setattr(network.get_submodule(owner), key, module.base_layer)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network under the names that it has without adapters, whose products are added."""
    network = copy.deepcopy(network)
    merge_adapters(network)
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
