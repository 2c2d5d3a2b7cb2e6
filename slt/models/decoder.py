"""The decoder: a Hugging Face seq2seq model writes the sentence.

Shape letters: B clips, T' frames after the temporal encoder, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import eager_mask
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from slt.models.attention import attend, hiding, mixed_precision
from slt.models.hugging_face import build, drop_encoder
from slt.models.search import Floats, Found, Ids, Search, Tokens, search
from slt.models.step import FORMS, FastStep, cast
from slt.text import near

_ATTENTION = "slt"  # under which transformers' models find `_attention`
NARROW = 512  # hidden size below which a processor searches in float32
# What models call the cache that they are handed: transformers 5.24 renamed it.
_CACHE = "cache" if "cache" in Seq2SeqLMOutput.__dataclass_fields__ else "past_key_values"


class TextSeq2SeqDecoder(nn.Module):
    """Any Hugging Face sequence-to-sequence model over a sequence of vectors instead of words.

    With `text_encoder` the vectors take the place of word embeddings before the model's own encoder; without it they
    are handed to the cross-attention as they are, and the model's encoder layers are dropped.

    Args:
        embed_dim: D of what comes in.
        tokenizer: gives the vocabulary and the ids of the special tokens.
        architecture: transformers' `model_type` (t5, mt5, bart, mbart, ...) of a model built from scratch.
        pretrained: a hub name or local folder, weights and size as published; None builds from `config`.
        config: keys of the architecture's transformers configuration. With `pretrained` they override its own. A whole
            one, as `hf_config` gives it, is taken as it stands and says the architecture itself. With
            `tie_word_embeddings: false` the head has weights of its own, which start as the embedding's.
        text_encoder: whether the model's own encoder is used.
        language: target language of multilingual models such as mBART (`es_XX`).
        max_tokens: longest sentence, in tokens, that is trained on or written.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        tokenizer: PreTrainedTokenizerBase,
        architecture: str,
        pretrained: str | None,
        config: Mapping[str, Any],
        text_encoder: bool,
        language: str | None,
        max_tokens: int,
    ) -> None:
        super().__init__()
        self.model: Any = build(architecture, pretrained, config, tokenizer)
        self.model.set_attn_implementation(_ATTENTION)
        # How to search is this run's to say: a published generation_config.json (BART's forbids repeated trigrams)
        # would have a hidden say, and be lost when the model is rebuilt from a checkpoint.
        self.model.generation_config = GenerationConfig()
        settings = self.model.config
        _check_model(settings, max_tokens)
        self.positions = getattr(settings, "max_position_embeddings", None) if text_encoder else None
        self.text_encoder = text_encoder
        self.max_tokens = max_tokens
        self.tokens = Tokens(
            start=int(settings.decoder_start_token_id), eos=int(tokenizer.eos_token_id),  # type: ignore[arg-type]
            pad=int(tokenizer.pad_token_id),  # type: ignore[arg-type]
            forced_bos=None if language is None else language_id(tokenizer, language),
        )  # fmt: skip
        self.norm = nn.LayerNorm(embed_dim)
        self.bridge = nn.Linear(embed_dim, settings.hidden_size)
        if not text_encoder:
            drop_encoder(self.model)

    @property
    def hf_config(self) -> dict[str, Any]:
        """The model's transformers configuration as plain values: with it a checkpoint needs no hub to be rebuilt."""
        return {key: value for key, value in self.model.config.to_dict().items() if key != "_name_or_path"}

    def forward(self, memory: Tensor, present: Tensor, tokens: Tensor) -> Tensor:
        """(B, T', D), (B, T') bool and target ids (B, L) -> logits (B, L, V), each of the tokens before it."""
        self.check_length(memory)
        return self.follow(self.encode(memory, present), present, tokens)

    def follow(self, hidden: Tensor, present: Tensor, tokens: Tensor) -> Tensor:
        """What `encode` gave, or anything else to read (B, T', hidden size): `forward` from there on."""
        shifted = torch.cat([tokens.new_full((len(tokens), 1), self.tokens.start), tokens[:, :-1]], dim=1)
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=_mask(present),
            decoder_attention_mask=_causal(shifted),
            decoder_input_ids=shifted,
            use_cache=False,
        ).logits

    def encode(self, memory: Tensor, present: Tensor) -> Tensor:
        """(B, T', D) and (B, T') bool -> what the cross-attention reads, (B, T', hidden size)."""
        return entered(*self.entrance, memory, present)

    @property
    def entrance(self) -> tuple[nn.Module, nn.Module, Any]:
        """The parts of `encode`: norm, bridge, and the text encoder or None."""
        return self.norm, self.bridge, self.model.get_encoder() if self.text_encoder else None

    def check_length(self, memory: Tensor) -> None:
        """Refuse (B, T', D) of more frames than the text encoder has positions."""
        if self.positions is not None and memory.shape[1] > self.positions:
            raise ValueError(
                f"a clip of {memory.shape[1]} frames, but the decoder's text encoder has {self.positions} positions; "
                "lower dataset.max_frames, raise temporal.downsample, or set decoder.text_encoder=false"
            )

    def start(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """(B, T', hidden size) -> what every step reads of it: each layer's cross-attention key and value in turn.

        Each is (B, H, T', d), of H heads of width d.
        """
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens = torch.full((hidden.shape[0], 1), self.tokens.start, device=hidden.device)
        self.write(tokens, hidden, None, cache)
        return _tensors(cache.cross_attention_cache)

    def step(self, tokens: Tensor, present: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Last tokens (N, 1), present (N, T') and a cache -> logits (N, V) and the longer part of the cache.

        The cache is what `start` gave, then the past's key and value (N, H, L, d) of each layer in turn, with L = 0 at
        the first step; what comes back is of length L + 1.
        """
        half = len(cache) // 2
        both = EncoderDecoderCache(_cache(cache[half:]), _cache(cache[:half]))
        both.is_updated = dict.fromkeys(range(half // 2), True)
        # Keys and values of the cross-attention are in the cache: of what they are made of only the shape is looked at.
        hidden = torch.empty((*present.shape, self.bridge.out_features), device=tokens.device, dtype=cache[0].dtype)
        return self.write(tokens, hidden, present, both), *_tensors(both.self_attention_cache)

    def fast_step(self) -> FastStep | None:
        """`step` as a module of its own, with the weights of now, of the families that have a faster form of it."""
        form = FORMS.get(self.model.config.model_type)
        return None if form is None else form(self.model)

    def write(self, tokens: Tensor, hidden: Tensor, present: Tensor | None, cache: EncoderDecoderCache) -> Tensor:
        """Logits (N, V) of what follows tokens (N, 1), by hidden (N, T', hidden size), present (N, T') and a cache."""
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=None if present is None else _mask(present),
            decoder_input_ids=tokens, use_cache=True, **{_CACHE: cache},
        ).logits[:, -1]  # fmt: skip

    def generate(self, memory: Tensor, present: Tensor, options: Search, first: Ids | None = None) -> list[list[Found]]:
        """The sentences of (B, T', D) encoded frames, of which (B, T') bool are present, each clip's best first.

        `first` is the token (B,) that each sentence must begin with.
        """
        tokens = self.tokens if first is None else replace(self.tokens, forced_bos=first)
        self.check_length(memory)
        with torch.inference_mode():
            hidden = self.encode(memory, present)
            around: Any = contextlib.nullcontext()
            # Each step has a new shape, for which a processor's kernels of bfloat16 are made anew: of a narrow model
            # that takes longer than its products do.
            if hidden.device.type == "cpu" and hidden.shape[-1] < NARROW:
                hidden, around = hidden.float(), torch.autocast("cpu", enabled=False)
            with around:
                return search(_Step(self, hidden, present), len(memory), tokens, options)


def entered(norm: nn.Module, bridge: nn.Module, encoder: Any, memory: Tensor, present: Tensor) -> Tensor:
    """What `TextSeq2SeqDecoder.encode` computes, by its parts alone."""
    x = bridge(norm(memory))
    return x if encoder is None else encoder(inputs_embeds=x, attention_mask=_mask(present)).last_hidden_state


def _mask(present: Tensor) -> Tensor:
    """(B, T') bool as what is added to scores (B, 1, 1, T').

    Of bools transformers asks whether they hide anything at all, and the host would wait for a GPU's answer.
    """
    return hiding(~present)[:, None, None]


def _causal(tokens: Tensor) -> Tensor:
    """The mask of the past for tokens (B, L), (B, 1, L, L); see `_mask`."""
    length = tokens.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
    return hiding(later).expand(len(tokens), 1, length, length)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float = 0.0,
    scaling: float | None = None, position_bias: Tensor | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """`attend` as transformers' models call it; masks of ours hide the future too, so nothing is causal by itself."""
    if position_bias is not None:
        mask = position_bias if mask is None else position_bias + mask
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, mask, scale=scale, dropout=dropout).transpose(1, 2).contiguous(), None


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, eager_mask)  # of masks that are not ours


class _Step:
    """The decoder as the search asks it: one token for every hypothesis, keys and values of the past kept."""

    def __init__(self, decoder: TextSeq2SeqDecoder, hidden: Tensor, present: Tensor) -> None:
        fast = decoder.fast_step()  # made anew each time, because weights move in training
        if fast is not None and (precision := mixed_precision(hidden.device)) is not None:
            fast = cast(fast, precision)
        self._step = fast or decoder.step
        self._present, self._cross = present, decoder.start(hidden)
        self._past = tuple(x[:, :, :0] for x in self._cross)

    def __call__(self, tokens: Ids, order: Ids, count: int) -> tuple[Floats, Ids]:
        """See `slt.models.search.Step`."""
        rows, device = len(self._present), self._present.device
        place = torch.from_numpy(order).to(device)
        if len(order) != rows:  # clips keep their order, so as many rows as before are of the same clips
            self._present, *cross = (x.index_select(0, place) for x in (self._present, *self._cross))
            self._cross = tuple(cross)
        if len(order) != rows or (order != np.arange(rows)).any():
            self._past = tuple(x.index_select(0, place) for x in self._past)
        last = torch.from_numpy(tokens)[:, None].to(device)
        logits, *past = self._step(last, self._present, *self._cross, *self._past)
        self._past = tuple(past)
        log_probs = logits.float().log_softmax(-1)
        # Of tokens alike, which half precision makes of many, greedy search takes the first, as transformers' does.
        best = log_probs.max(-1, keepdim=True) if count == 1 else log_probs.topk(min(count, logits.shape[1]))
        return best.values.cpu().numpy(), best.indices.cpu().numpy()


def _cache(tensors: tuple[Tensor, ...]) -> DynamicCache:
    """Key and value of each layer in turn as transformers' cache; its own constructor would copy them."""
    cache = DynamicCache()
    for key, value in zip(tensors[::2], tensors[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def _tensors(cache: Any) -> tuple[Tensor, ...]:
    """The inverse of `_cache`."""
    return tuple(x for layer in cache.layers for x in (layer.keys, layer.values))


def _check_model(settings: PretrainedConfig, max_tokens: int) -> None:
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is not None and max_tokens > positions:
        raise ValueError(
            f"decoder.max_tokens={max_tokens}, but {settings.model_type} has {positions} positions; "
            "lower it, or raise config.max_position_embeddings of a model built from scratch"
        )
    if settings.decoder_start_token_id is None:
        raise ValueError(
            f"decoder: this {settings.model_type} does not say what a sentence starts with; "
            "give config.decoder_start_token_id (of an mBART of the first kind, the id of the language)"
        )


def language_id(tokenizer: PreTrainedTokenizerBase, language: str) -> int:
    """Return the token id of a target language; ValueError where the tokenizer does not have it."""
    found: Any = tokenizer.convert_tokens_to_ids(language)
    if found is None or found == tokenizer.unk_token_id:
        codes = [str(token) for token in tokenizer.all_special_tokens]
        same = [code for code in codes if code[:3] == language[:3]]
        hint = near(language, same or codes, most=2) or "; null is for models of no particular language"
        raise ValueError(f"decoder.language={language}: the tokenizer has no such language{hint}")
    return int(found)
