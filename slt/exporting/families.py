"""The two architectures of decoders that can be exported, T5 and BART, over the weights of a loaded transformers model.

mT5 and ByT5 are T5s; mBART is a BART that norms before each part and once more at the end. Each family gives its text
encoder (frames in place of words), the keys and values of its cross-attention, and one step with a cache.

Shape letters: B clips, N hypotheses, T' frames after the temporal encoder, L tokens of the past, H heads, d head width,
D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.exporting.attention import DistanceBias, Projections, RmsNorm, attend, key_bias

FAMILIES = {"t5": "T5", "mt5": "T5", "bart": "BART", "mbart": "BART"}


def check_family(model: Any) -> str:
    """Return `T5` or `BART`.

    Raises:
        ValueError: the decoder is of neither architecture.
    """
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise ValueError(
            f"decoder: a model of type {kind!r} has no exportable form; there are {', '.join(FAMILIES)} (ByT5 is t5); "
            "train with one of them, or use the checkpoint itself: slt.demo takes one"
        )
    return FAMILIES[kind]


def text_encoder(model: Any) -> nn.Module:
    """The model's own encoder as a module (B, T', D), (B, T') bool -> (B, T', D)."""
    return {"T5": TextEncoderOfT5, "BART": TextEncoderOfBart}[check_family(model)](model)


def cross(model: Any) -> Cross:
    """The keys and values that cross-attention reads."""
    if check_family(model) == "T5":
        layers = [block.layer[1].EncDecAttention for block in model.get_decoder().block]
        return Cross([Projections.of([layer.k, layer.v], layer.n_heads) for layer in layers])
    own = [layer.encoder_attn for layer in model.get_decoder().layers]
    return Cross([Projections.of([layer.k_proj, layer.v_proj], layer.num_heads) for layer in own])


def step(model: Any) -> Step:
    """The decoder for one token with its cache."""
    return {"T5": StepOfT5, "BART": StepOfBart}[check_family(model)](model)


class Cross(nn.Module):
    """What is computed once a clip: keys and values of every layer's cross-attention.

    Args:
        layers: key and value maps of each decoder layer.
    """

    def __init__(self, layers: list[Projections]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, memory: Tensor) -> tuple[Tensor, ...]:
        """(B, T', D) -> key and value (B, H, T', d) of each layer in turn."""
        return tuple(each for layer in self.layers for each in layer(memory))


class Step(nn.Module):
    """One step of a decoder: the last token in, logits and a longer cache out. A family says how in `_step`.

    Attributes:
        num_layers: of the decoder.
        num_heads, width: H and d, of self- and cross-attention alike.
    """

    num_layers: int
    num_heads: int
    width: int

    def forward(self, tokens: Tensor, present: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Decodes one token of N hypotheses.

        Args:
            tokens: (N, 1) int64.
            present: (N, T') bool, True on real frames.
            cache: cross-attention's key and value (N, H, T', d) of each layer in turn, then the past's
                (N, H, L, d) likewise, L = 0 at the first step.

        Returns:
            Logits (N, V), then key and value (N, H, L + 1, d) of each layer in turn.
        """
        half = 2 * self.num_layers
        return self._step(tokens, key_bias(present), cache[:half], cache[half:])

    def _step(
        self, tokens: Tensor, bias: Tensor, cross: tuple[Tensor, ...], past: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        raise NotImplementedError


# ---------------------------------------------------------------- T5


def _relative(stack: Any, *, bidirectional: bool) -> DistanceBias:
    """The bias that the first block of a T5 stack holds for all."""
    return DistanceBias(stack.block[0].layer[0].SelfAttention, bidirectional=bidirectional)


class SelfOfT5(nn.Module):
    """Norm, self-attention and perceptron of a T5 block."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        own, last = block.layer[0], block.layer[-1]
        attention = own.SelfAttention
        self.projections = Projections.of([attention.q, attention.k, attention.v], attention.n_heads)
        self.norm, self.out = RmsNorm(own.layer_norm), attention.o
        self.norm_last, self.perceptron = RmsNorm(last.layer_norm), last.DenseReluDense

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) -> query, key and value (B, H, T, d)."""
        return self.projections(self.norm(x))

    def close(self, x: Tensor) -> Tensor:
        """The block's perceptron and its residual: (B, T, D) -> (B, T, D)."""
        return x + self.perceptron(self.norm_last(x))


class TextEncoderOfT5(nn.Module):
    """T5's encoder over frames instead of words.

    Args:
        model: whose encoder it is.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        stack = model.get_encoder()
        self.blocks: Any = nn.ModuleList(SelfOfT5(block) for block in stack.block)
        self.relative = _relative(stack, bidirectional=True)
        self.norm = RmsNorm(stack.final_layer_norm)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, T', D) and (B, T') bool -> (B, T', D)."""
        places = torch.arange(x.shape[1], device=x.device)
        bias = self.relative(places, places) + key_bias(present)
        for block in self.blocks:
            query, key, value = block(x)
            x = block.close(x + block.out(attend(query, key, value, bias, 1.0)))  # T5 does not scale its scores
        return self.norm(x)


class StepOfT5(Step):
    """One step of a T5's decoder.

    Args:
        model: whose decoder it is.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        stack, config = model.get_decoder(), model.config
        self.num_layers, self.num_heads, self.width = len(stack.block), config.num_heads, config.d_kv
        self.embedding, self.head = stack.embed_tokens, model.lm_head
        self.blocks: Any = nn.ModuleList(SelfOfT5(block) for block in stack.block)
        own = [block.layer[1] for block in stack.block]
        self.norms = nn.ModuleList(RmsNorm(layer.layer_norm) for layer in own)
        self.queries = nn.ModuleList(
            Projections.of([layer.EncDecAttention.q], layer.EncDecAttention.n_heads) for layer in own
        )
        self.outs = nn.ModuleList(layer.EncDecAttention.o for layer in own)
        self.relative = _relative(stack, bidirectional=False)
        self.norm = RmsNorm(stack.final_layer_norm)
        # T5 v1.0 ties its embeddings and scales what its head reads; mT5 has the key too, and does not look at it.
        tied = config.model_type == "t5" and config.scale_decoder_outputs
        self.scale = config.d_model**-0.5 if tied else 1.0

    def _step(
        self, tokens: Tensor, bias: Tensor, cross: tuple[Tensor, ...], past: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        places = torch.arange(past[0].shape[2] + 1, device=tokens.device)
        distance = self.relative(places[-1:], places)
        x = self.embedding(tokens)
        new: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            query, key, value = block(x)
            key, value = torch.cat([past[2 * i], key], 2), torch.cat([past[2 * i + 1], value], 2)
            new += [key, value]
            x = x + block.out(attend(query, key, value, distance, 1.0))
            (query,) = self.queries[i](self.norms[i](x))
            x = x + self.outs[i](attend(query, cross[2 * i], cross[2 * i + 1], bias, 1.0))
            x = block.close(x)
        x = self.norm(x)
        # Two dimensions, so that the head is one product with the embedding itself and no transposed copy of it.
        return self.head(x.squeeze(1) * self.scale), *new


# ---------------------------------------------------------------- BART


class PartOfBart(nn.Module):
    """A part of a BART layer with its norm and residual: after it (BART), or before (mBART).

    Args:
        norm: of the part.
        first: whether it norms before.
    """

    def __init__(self, norm: nn.Module, *, first: bool) -> None:
        super().__init__()
        self.norm, self.first = norm, first

    def enter(self, x: Tensor) -> Tensor:
        """What the part reads: (B, T, D) -> (B, T, D)."""
        return self.norm(x) if self.first else x

    def leave(self, x: Tensor, found: Tensor) -> Tensor:
        """The residual and what the part found, (B, T, D) each -> (B, T, D)."""
        return x + found if self.first else self.norm(x + found)


class AttentionOfBart(PartOfBart):
    """Attention of a BART layer: its maps and the norm around it."""

    def __init__(self, attention: Any, norm: nn.Module, *, first: bool, cross: bool) -> None:
        super().__init__(norm, first=first)
        maps = [attention.q_proj] if cross else [attention.q_proj, attention.k_proj, attention.v_proj]
        self.projections = Projections.of(maps, attention.num_heads)
        self.out, self.scale = attention.out_proj, float(attention.scaling)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) -> query, and of self-attention key and value, (B, H, T, d)."""
        return self.projections(self.enter(x))

    def close(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attends (B, H, ...) and adds what it found to (B, T, D)."""
        return self.leave(x, self.out(attend(query, key, value, bias, self.scale)))


class PerceptronOfBart(PartOfBart):
    """The perceptron of a BART layer and the norm around it."""

    def __init__(self, layer: Any, *, first: bool) -> None:
        super().__init__(layer.final_layer_norm, first=first)
        self.fc1, self.fc2, self.activation = layer.fc1, layer.fc2, layer.activation_fn

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.leave(x, self.fc2(self.activation(self.fc1(self.enter(x)))))


def _norms_first(model: Any) -> bool:
    return bool(model.config.model_type == "mbart")


def _last_norm(stack: Any, first: bool) -> nn.Module:
    """Of an mBART, which norms once more at the end; what BART's last layer gives is normed already."""
    return stack.layer_norm if first else nn.Identity()


class TextEncoderOfBart(nn.Module):
    """BART's encoder over frames instead of words.

    Args:
        model: whose encoder it is.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        stack, first = model.get_encoder(), _norms_first(model)
        self.positions, self.offset = stack.embed_positions.weight, stack.embed_positions.offset
        self.norm_in = stack.layernorm_embedding
        self.attentions: Any = nn.ModuleList(
            AttentionOfBart(layer.self_attn, layer.self_attn_layer_norm, first=first, cross=False)
            for layer in stack.layers
        )
        self.perceptrons = nn.ModuleList(PerceptronOfBart(layer, first=first) for layer in stack.layers)
        self.norm = _last_norm(stack, first)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, T', D) and (B, T') bool -> (B, T', D)."""
        places = torch.arange(x.shape[1], device=x.device) + self.offset
        x = self.norm_in(x + functional.embedding(places, self.positions))
        bias = key_bias(present)
        for attention, perceptron in zip(self.attentions, self.perceptrons, strict=True):
            x = perceptron(attention.close(x, *attention(x), bias))
        return self.norm(x)


class StepOfBart(Step):
    """One step of a BART's decoder.

    Args:
        model: whose decoder it is.
    """

    bias: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        stack, first = model.get_decoder(), _norms_first(model)
        self.num_layers, self.num_heads = len(stack.layers), stack.layers[0].self_attn.num_heads
        self.width = stack.layers[0].self_attn.head_dim
        self.embedding, self.head = stack.embed_tokens, model.lm_head  # the embedding scales by itself
        self.register_buffer("bias", model.final_logits_bias.detach().clone())
        self.positions, self.offset = stack.embed_positions.weight, stack.embed_positions.offset
        self.norm_in = stack.layernorm_embedding
        self.selves: Any = nn.ModuleList(
            AttentionOfBart(layer.self_attn, layer.self_attn_layer_norm, first=first, cross=False)
            for layer in stack.layers
        )
        self.crosses: Any = nn.ModuleList(
            AttentionOfBart(layer.encoder_attn, layer.encoder_attn_layer_norm, first=first, cross=True)
            for layer in stack.layers
        )
        self.perceptrons = nn.ModuleList(PerceptronOfBart(layer, first=first) for layer in stack.layers)
        self.norm = _last_norm(stack, first)

    def _step(
        self, tokens: Tensor, bias: Tensor, cross: tuple[Tensor, ...], past: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        place = torch.arange(past[0].shape[2] + 1, device=tokens.device)[-1:] + self.offset
        x = self.norm_in(self.embedding(tokens) + functional.embedding(place, self.positions))
        new: list[Tensor] = []
        for i, attention in enumerate(self.selves):
            query, key, value = attention(x)
            key, value = torch.cat([past[2 * i], key], 2), torch.cat([past[2 * i + 1], value], 2)
            new += [key, value]
            x = attention.close(x, query, key, value, None)
            (query,) = self.crosses[i](x)
            x = self.crosses[i].close(x, query, cross[2 * i], cross[2 * i + 1], bias)
            x = self.perceptrons[i](x)
        return self.head(self.norm(x).squeeze(1)) + self.bias, *new
