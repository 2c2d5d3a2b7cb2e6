"""Transformer layers in a form that every exporter takes: plain products over the weights of the loaded model.

The layers of torch and transformers choose kernels and build masks by looking at values, which a graph cannot. These
read the very same weights and give the same numbers; `slt.exporting.parity` holds them against the originals.

Shape letters: B clips or hypotheses, T queries, S keys, H heads, d head width, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def key_bias(present: Tensor) -> Tensor:
    """(B, S) bool, True = a key that is there -> what is added to attention scores, (B, 1, 1, S) float32."""
    # The least number and not minus infinity: a clip without any frame gives an even mixture and not NaN.
    return torch.where(present, 0.0, torch.finfo(torch.float32).min)[:, None, None]


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """(B, H, T, d) queries, (B, H, S, d) keys and values, additive (B | 1, H | 1, T | 1, S) bias -> (B, T, H * d)."""
    scores = query @ key.transpose(-1, -2)
    if scale != 1.0:
        scores = scores * scale
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class Projections(nn.Module):
    """Several linear maps of the same input as one product, cut into heads.

    Args:
        weights: each (H * d, D).
        biases: each (H * d,), or None for all.
        num_heads: H.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] | None, num_heads: int) -> None:
        super().__init__()
        self.count, self.num_heads = len(weights), num_heads
        self.width = weights[0].shape[0] // num_heads
        self.weight = nn.Parameter(torch.cat(list(weights)).detach().clone(), requires_grad=False)
        self.bias = None if biases is None else nn.Parameter(torch.cat(list(biases)).detach().clone(), False)

    @classmethod
    def of(cls, linears: Sequence[nn.Linear], num_heads: int) -> Projections:
        """The same out of linear layers, all with a bias or none."""
        biases = [linear.bias for linear in linears if linear.bias is not None]
        return cls([linear.weight for linear in linears], biases or None, num_heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) -> as many (B, H, T, d) as there are maps."""
        out = functional.linear(x, self.weight, self.bias)
        cut = out.unflatten(2, (self.count, self.num_heads, self.width)).permute(2, 0, 3, 1, 4)
        return cut.unbind(0)


class RmsNorm(nn.Module):
    """T5's norm, with a division where transformers multiplies by an inverse root: the form runtimes know and fuse.

    Args:
        norm: of a T5 model.
    """

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.weight * (x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())


class DistanceBias(nn.Module):
    """T5's relative position bias as a table over distances: beyond the last bucket it does not change any more.

    Args:
        attention: the T5 attention that holds the bias of its stack.
        bidirectional: whether keys may come after the query.
    """

    table: Tensor

    def __init__(self, attention: Any, *, bidirectional: bool) -> None:
        super().__init__()
        self.reach = int(attention.relative_attention_max_distance)
        places = torch.arange(-self.reach, self.reach + 1 if bidirectional else 1)
        buckets = attention._relative_position_bucket(
            places, bidirectional=bidirectional, num_buckets=attention.relative_attention_num_buckets,
            max_distance=self.reach,
        )  # fmt: skip
        self.last = len(places) - 1
        table = attention.relative_attention_bias.weight.detach()[buckets]  # (places, H), from far before to far after
        self.register_buffer("table", table.clone())

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions (T,) of the queries and (S,) of the keys, int64 -> (1, H, T, S)."""
        place = (keys[None] - queries[:, None] + self.reach).clamp(0, self.last)
        return self.table[place].permute(2, 0, 1)[None]


class SelfAttentionBlock(nn.Module):
    """A layer of torch's own transformer encoder, pre-norm: attention, then a perceptron.

    Args:
        layer: built with `norm_first=True`, `batch_first=True` and GELU.
    """

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        own = layer.self_attn
        assert layer.norm_first
        assert own.in_proj_weight is not None
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.out, self.linear1, self.linear2 = own.out_proj, layer.linear1, layer.linear2
        self.projections = Projections(own.in_proj_weight.chunk(3), own.in_proj_bias.chunk(3), own.num_heads)
        self.activation = layer.activation

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, T, D) and the additive (B, 1, 1, T) -> (B, T, D)."""
        query, key, value = self.projections(self.norm1(x))
        x = x + self.out(attend(query, key, value, bias, self.projections.width**-0.5))
        return x + self.linear2(self.activation(self.linear1(self.norm2(x))))
