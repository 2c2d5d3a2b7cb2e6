"""A published language model held in 4 bits while adapters beside it learn; its checkpoints hold plain numbers.

QLoRA (Dettmers et al. 2023): NF4 of blocks of weights (section 3), read in bfloat16.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn


def four_bit_loading() -> dict[str, Any]:
    """Return the arguments with which transformers loads a model in 4 bits; an error where that cannot be."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModuleNotFoundError(
            "decoder.lora.four_bit=true needs bitsandbytes, which is of use beside a GPU alone and in no extra: pip "
            'install "slt[llm]" bitsandbytes, or set it to false'
        )
    if not torch.cuda.is_available():
        raise ValueError("decoder.lora.four_bit=true needs a CUDA GPU, and there is none here; set it to false")
    return _loading()


def _loading() -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    # Not quantised twice: then what is read of a block are its own numbers, and quantising those gives the same again.
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    }


def as_plain_weights(model: nn.Module) -> None:
    """Have a model's `state_dict` give 4-bit weights as float32, and loading take such for the ones it has.

    So a checkpoint is rebuilt and scored anywhere, in full precision, and training goes on from it in 4 bits.
    """
    from bitsandbytes.nn import Linear4bit

    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.register_state_dict_post_hook(_give)
            layer.register_load_state_dict_pre_hook(_take)


def _plain(layer: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    weight = layer.weight
    if weight.quant_state is None:  # not yet on its device, where it is quantised
        return weight.data.float()
    return dequantize_4bit(weight.data, weight.quant_state).float()


def _give(layer: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}weight.")]:  # how the 4 bits are to be read
        del state[key]
    state[f"{prefix}weight"] = _plain(layer)


def _take(layer: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    key = f"{prefix}weight"
    if key not in state:
        return  # which loading says by itself
    if not torch.equal(state[key].to(layer.weight.device), _plain(layer)):
        raise ValueError(
            f"{key}: the checkpoint's frozen weights are not those of decoder.pretrained in 4 bits; name the model it "
            "was trained with"
        )
    state[key] = layer.weight
