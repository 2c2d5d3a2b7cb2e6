"""Vision transformers of timm made faster to run: attention as one operator, and a last block for one token only.

Shape letters: N frames, P tokens of a picture (class token and patches), D width, H heads, d head width.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional


def fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Attention of H heads over maps without their biases: (N, P', D), (N, P, D), (N, P, D), (3 D) -> (N, P', D).

    In an ONNX graph it is onnxruntime's own operator, which never stores the scores and moves no heads about.
    """
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention", [query, key, value, bias], attrs={"num_heads": num_heads},
            dtype=query.dtype, shape=query.shape, version=1,
        )  # fmt: skip
    heads = [
        (each + own).unflatten(2, (num_heads, -1)).transpose(1, 2)
        for each, own in zip((query, key, value), bias.chunk(3), strict=True)
    ]
    return functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


class PictureAttention(nn.Module):
    """Attention of a vision transformer.

    Args:
        attention: whose weights these are.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads, self.norm, self.proj = attention.num_heads, attention.norm, attention.proj
        self.weights = nn.ParameterList(attention.qkv.weight.detach().clone().chunk(3))
        bias = attention.qkv.bias
        self.bias = nn.Parameter(attention.qkv.weight.new_zeros(3 * len(self.weights[0])) if bias is None else bias)

    def forward(self, x: Tensor, asking: Tensor | None = None, **_: Any) -> Tensor:
        """(N, P, D), and which of its tokens ask, (N, P', D), where not all of them do -> (N, P', D)."""
        asking = x if asking is None else asking
        query, key, value = (functional.linear(each, own) for each, own in
                             zip((asking, x, x), self.weights, strict=True))  # fmt: skip
        return self.proj(self.norm(fused_attention(query, key, value, self.bias, self.num_heads)))


class LastBlock(nn.Module):
    """The last block of a vision transformer of which only the class token is looked at.

    Args:
        block: whose layers these are.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = block.norm1, block.attn, block.ls1
        self.norm2, self.mlp, self.ls2 = block.norm2, block.mlp, block.ls2

    def forward(self, x: Tensor) -> Tensor:
        """(N, P, D) -> the class token, (N, 1, D)."""
        normed, x = self.norm1(x), x[:, :1]
        x = x + self.ls1(self.attn(normed, normed[:, :1]))
        return x + self.ls2(self.mlp(self.norm2(x)))


def quicken(network: Any) -> None:
    """Puts faster layers with the same weights into a vision transformer, in place; others stay as they are."""
    if type(network) is not timm.models.VisionTransformer:
        return
    for block in network.blocks:
        attention = getattr(block, "attn", None)
        if (
            type(attention) is Attention
            and attention.gate is None
            and all(isinstance(each, nn.Identity) for each in (attention.q_norm, attention.k_norm))
        ):
            block.attn = PictureAttention(attention)
    last, pooled = network.blocks[-1], network.attn_pool is None and network.global_pool == "token"
    if (
        pooled
        and network.cls_token is not None
        and type(last) is timm.models.vision_transformer.Block
        and isinstance(last.attn, PictureAttention)
    ):
        network.blocks[-1] = LastBlock(last)
