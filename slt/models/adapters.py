"""Low-rank adapters: few weights learn beside those of a network, which stay, and may become part of them.

A product W x becomes W x + (alpha / rank) B A x (Hu et al. 2022, LoRA, section 4.1). A is drawn at random and B is
zero, so that the network first computes as before. Weights are then named as peft does: `q.base_layer.weight`,
`q.lora_A.default.weight`, `q.lora_B.default.weight`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from slt.text import near

KEYS = ("rank", "alpha", "targets", "dropout")


def add_adapters(network: nn.Module, *, rank: int, alpha: int, layers: Sequence[str], **options: Any) -> None:
    """Freeze a network and put adapters on its layers of these names, or ends of names, in place.

    `options` are of peft's `LoraConfig`. ValueError where there are no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'adapters need peft: pip install "slt[llm]" ({error})') from error
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=[*layers], **options), network)


def add_lora(model: nn.Module, lora: Mapping[str, Any]) -> None:
    """Freeze a transformers model and put adapters on it, in place, as the keys `decoder.lora` say.

    Args:
        model: a transformers model.
        lora: `rank` and `alpha`; `targets`, the ends of the names of the layers that get one; `dropout` of their input.
    """
    if unknown := [key for key in lora if key not in KEYS]:
        raise ValueError(f"decoder.lora.{unknown[0]}: unknown; expected {', '.join(KEYS)}{near(unknown[0], KEYS)}")
    if missing := [key for key in KEYS if key not in lora]:
        raise ValueError(f"decoder.lora.{missing[0]} is missing; expected {', '.join(KEYS)}")
    targets = [*lora["targets"]]
    named = {name.rpartition(".")[2]: type(module).__name__ for name, module in model.named_modules()}
    if absent := [target for target in targets if target.rpartition(".")[2] not in named]:
        linear = sorted({name for name, kind in named.items() if kind in ("Linear", "Conv1D", "Linear4bit")})
        raise ValueError(
            f"decoder.lora.targets: {type(model).__name__} has no layer {absent[0]!r}; it has {', '.join(linear)}"
        )
    # GPT-2's products lie on their side, and peft wants to be told.
    turned = any(named[target.rpartition(".")[2]] == "Conv1D" for target in targets)
    try:
        add_adapters(model, rank=lora["rank"], alpha=lora["alpha"], layers=targets, lora_dropout=lora["dropout"],
                     fan_in_fan_out=turned)  # fmt: skip
    except ValueError as error:
        raise ValueError(f"decoder.lora={dict(lora)}: {error}") from error
    for parameter in model.parameters():
        if parameter.requires_grad:  # beside 4 bits they would be bfloat16, too coarse for an optimizer's small steps
            parameter.data = parameter.data.float()


def linear_layers(network: nn.Module) -> list[str]:
    """Return the names of a network's linear layers whose weights are nothing else too, as a head's and embedding's."""
    owners: dict[int, int] = {}
    for module in network.modules():
        for weight in module._parameters.values():
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    return [name for name, module in network.named_modules()
            if isinstance(module, nn.Linear) and owners[id(module.weight)] == 1]  # fmt: skip


def has_adapters(network: nn.Module) -> bool:
    return any(hasattr(module, "base_layer") for module in network.modules())


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
