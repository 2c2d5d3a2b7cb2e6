"""One step of T5's and BART's decoders in a form that computes nothing twice, for the search and for export.

The step of transformers' own code takes half as long again in onnxruntime (six layers, four beams: 9.4 against 6.4 ms),
over the very same weights. mT5 and ByT5 are T5s; mBART is a BART that norms before each part and once more at the end.

Shape letters: B clips, N hypotheses, T queries, S keys, T' frames after the temporal encoder, L tokens of the past,
H heads, d head width, D model width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.attention import attend, hiding


class Projections(nn.Module):
    """Several linear maps (D -> H * d) of the same input as one product, cut into heads."""

    def __init__(self, linears: Sequence[Any], num_heads: int) -> None:
        super().__init__()
        self.count, self.num_heads = len(linears), num_heads
        self.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]).detach(), False)
        biases = [linear.bias for linear in linears if linear.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases).detach(), False) if biases else None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, D) -> as many (N, H, 1, d) as there are maps."""
        out = functional.linear(x, self.weight, self.bias).chunk(self.count, dim=1)
        return tuple(one.unflatten(1, (self.num_heads, 1, -1)) for one in out)


class RmsNorm(nn.Module):
    """T5's norm, with a division where transformers multiplies by an inverse root: the form runtimes know and fuse."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        return self.weight * (x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())


class Layer(nn.Module):
    """Self-attention, cross-attention and perceptron, each with its norm before it (`first`) or after its residual.

    `own` and `cross` are the maps of query, key, value and out; scores are multiplied with `scale`.
    """

    def __init__(
        self, own: Sequence[Any], cross: Sequence[Any], norms: Sequence[nn.Module], perceptron: nn.Module, *,
        first: bool, num_heads: int, scale: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.own, self.own_out = Projections(own[:3], num_heads), own[3]
        self.cross, self.cross_out = Projections(cross[:1], num_heads), cross[3]
        self.norms, self.perceptron, self.first, self.scale = nn.ModuleList(norms), perceptron, first, scale

    def _enter(self, part: int, x: Tensor) -> Tensor:
        return self.norms[part](x) if self.first else x

    def _leave(self, part: int, x: Tensor) -> Tensor:
        return x if self.first else self.norms[part](x)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        return attend(query, key, value, bias, scale=self.scale).flatten(1)

    def forward(
        self, x: Tensor, distance: Tensor | None, bias: Tensor, cross: Sequence[Tensor], past: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) and both caches -> (N, D) and self-attention's longer key and value."""
        query, key, value = self.own(self._enter(0, x))
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        x = self._leave(0, x + self.own_out(self._attend(query, key, value, distance)))
        (query,) = self.cross(self._enter(1, x))
        x = self._leave(1, x + self.cross_out(self._attend(query, cross[0], cross[1], bias)))
        return self._leave(2, x + self.perceptron(self._enter(2, x))), key, value


class FastStep(nn.Module):
    """What the two families share: layers, and the norm after them. Its weights are those that `model` had."""

    layers: nn.ModuleList
    norm: nn.Module

    def __init__(self, model: Any) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, present: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Tokens (N, 1), present (N, T') and a cache -> logits (N, V) and more; see `TextSeq2SeqDecoder.step`."""
        bias = hiding(~present)[:, None, None]
        half = 2 * len(self.layers)
        # Two dimensions throughout: products with their biases are one operator, and heads need no moving about.
        x, distance = self.enter(tokens[:, 0], torch.arange(cache[half].shape[2] + 1, device=tokens.device))
        new: list[Tensor] = []
        for place, layer in enumerate(self.layers):
            pair = slice(2 * place, 2 * place + 2)
            x, *grown = layer(x, distance, bias, cache[:half][pair], cache[half:][pair])
            new += grown
        return self.leave(self.norm(x)), *new

    def enter(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (N,) and positions (L + 1,) -> (N, D), and what self-attention adds to its scores."""
        raise NotImplementedError

    def leave(self, x: Tensor) -> Tensor:
        """(N, D) -> logits (N, V)."""
        raise NotImplementedError


class StepOfT5(FastStep):
    """One step of a T5's decoder."""

    table: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        stack, config = model.get_decoder(), model.config
        self.embedding, self.head, self.norm = stack.embed_tokens, model.lm_head, RmsNorm(stack.final_layer_norm)
        self.layers = nn.ModuleList()
        for block in stack.block:
            attentions = (block.layer[0].SelfAttention, block.layer[1].EncDecAttention)
            own, cross = ([each.q, each.k, each.v, each.o] for each in attentions)
            norms = [RmsNorm(part.layer_norm) for part in block.layer]
            self.layers.append(Layer(own, cross, norms, block.layer[2].DenseReluDense, first=True,
                                     num_heads=config.num_heads, scale=1.0))  # fmt: skip
        # The relative position bias as a table over distances: beyond the last bucket it does not change any more.
        holder = stack.block[0].layer[0].SelfAttention
        self.reach = int(holder.relative_attention_max_distance)
        buckets = holder._relative_position_bucket(
            torch.arange(-self.reach, 1), bidirectional=False, num_buckets=holder.relative_attention_num_buckets,
            max_distance=self.reach,
        )  # fmt: skip
        self.register_buffer("table", holder.relative_attention_bias.weight.detach()[buckets])  # (reach + 1, H)
        # T5 v1.0 ties its embeddings and scales what its head reads; mT5 has the key too, and does not look at it.
        tied = config.model_type == "t5" and config.scale_decoder_outputs
        self.scale = config.d_model**-0.5 if tied else 1.0

    def enter(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor | None]:
        distance = self.table[(places - places[-1] + self.reach).clamp(min=0)]
        return self.embedding(tokens), distance.transpose(0, 1)[None, :, None]

    def leave(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale)


class StepOfBart(FastStep):
    """One step of a BART's or mBART's decoder."""

    bias: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        stack, first = model.get_decoder(), model.config.model_type == "mbart"
        self.embedding, self.head = stack.embed_tokens, model.lm_head  # the embedding scales by itself
        self.positions, self.norm_in = stack.embed_positions, stack.layernorm_embedding
        self.norm = stack.layer_norm if first else nn.Identity()
        self.register_buffer("bias", model.final_logits_bias.detach())
        self.layers = nn.ModuleList()
        for each in stack.layers:
            own, cross = ([part.q_proj, part.k_proj, part.v_proj, part.out_proj]
                          for part in (each.self_attn, each.encoder_attn))  # fmt: skip
            norms = [each.self_attn_layer_norm, each.encoder_attn_layer_norm, each.final_layer_norm]
            perceptron = nn.Sequential(each.fc1, each.activation_fn, each.fc2)
            self.layers.append(Layer(own, cross, norms, perceptron, first=first, num_heads=each.self_attn.num_heads,
                                     scale=float(each.self_attn.scaling)))  # fmt: skip

    def enter(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor | None]:
        place = functional.embedding(places[-1:] + self.positions.offset, self.positions.weight)
        return self.norm_in(self.embedding(tokens) + place), None

    def leave(self, x: Tensor) -> Tensor:
        return self.head(x) + self.bias


def cast(module: Any, precision: torch.dtype) -> Any:
    """Copy a module with the weights of its products in another precision: autocast would cast them at every step."""
    copied = copy.copy(module)
    copied._modules = {name: child and cast(child, precision) for name, child in module._modules.items()}
    if isinstance(module, nn.Linear | Projections):
        copied._parameters = {
            name: weight if weight is None else nn.Parameter(weight.detach().to(precision), False)
            for name, weight in module._parameters.items()
        }
    return copied


FORMS: dict[str, type[FastStep]] = {"t5": StepOfT5, "mt5": StepOfT5, "bart": StepOfBart, "mbart": StepOfBart}
