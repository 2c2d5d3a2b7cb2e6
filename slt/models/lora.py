"""Low-rank adapters beside a language model's products, which stay as published (Hu et al. 2022, LoRA, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from slt.text import near

KEYS = ("rank", "alpha", "targets", "dropout")


def add_lora(model: nn.Module, lora: Mapping[str, Any]) -> None:
    """Freeze a model and put adapters on it, in place: a product W x becomes W x + (alpha / rank) B A x.

    A is drawn at random and B is zero, so that the model first writes as before. Weights are then named as peft does:
    `q.base_layer.weight`, `q.lora_A.default.weight`, `q.lora_B.default.weight`.

    Args:
        model: a transformers model.
        lora: `rank` and `alpha`; `targets`, the ends of the names of the layers that get one; `dropout` of their input.
    """
    if unknown := [key for key in lora if key not in KEYS]:
        raise ValueError(f"decoder.lora.{unknown[0]}: unknown; expected {', '.join(KEYS)}{near(unknown[0], KEYS)}")
    if missing := [key for key in KEYS if key not in lora]:
        raise ValueError(f"decoder.lora.{missing[0]} is missing; expected {', '.join(KEYS)}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'decoder.lora needs peft: pip install "slt[llm]" ({error})') from error
    targets = [*lora["targets"]]
    named = {name.rpartition(".")[2]: type(module).__name__ for name, module in model.named_modules()}
    if absent := [target for target in targets if target.rpartition(".")[2] not in named]:
        linear = sorted({name for name, kind in named.items() if kind in ("Linear", "Conv1D", "Linear4bit")})
        raise ValueError(
            f"decoder.lora.targets: {type(model).__name__} has no layer {absent[0]!r}; it has {', '.join(linear)}"
        )
    try:
        # GPT-2's products lie on their side, and peft wants to be told.
        turned = any(named[target.rpartition(".")[2]] == "Conv1D" for target in targets)
        inject_adapter_in_model(
            LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=targets, lora_dropout=lora["dropout"],
                       fan_in_fan_out=turned),
            model,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"decoder.lora={dict(lora)}: {error}") from error
    for parameter in model.parameters():
        if parameter.requires_grad:  # beside 4 bits they would be bfloat16, too coarse for an optimizer's small steps
            parameter.data = parameter.data.float()
