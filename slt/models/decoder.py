"""The decoder: a Hugging Face seq2seq model writes the sentence.

Shape letters: B clips, T' frames after the temporal encoder, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput

from slt.models.adapters import add_lora
from slt.models.backbones.weights import load_published
from slt.models.caches import ATTENTION, CACHE, CachedStep, as_cache, causal_mask, presence_mask, tensors_of, widened
from slt.models.hugging_face import build, drop_encoder
from slt.models.prompt import before, marks_before, prompt_ids
from slt.models.search import Found, Ids, Search, Tokens, search
from slt.models.step import FORMS, FastStep
from slt.text import near


class Through(nn.Module):
    """In the bridge's place: vectors that are as wide as the decoder's model already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_features = self.out_features = width

    def forward(self, x: Tensor) -> Tensor:
        """(B, T', D) -> the same."""
        if x.shape[-1] != self.in_features:
            raise ValueError(
                f"decoder.embed_dim=null takes vectors as wide as its model, {self.in_features}, came {x.shape[-1]}; "
                "set embed_dim to that"
            )
        return x


class TextSeq2SeqDecoder(nn.Module):
    """Any Hugging Face sequence-to-sequence model over a sequence of vectors instead of words.

    With `text_encoder` the vectors take the place of word embeddings before the model's own encoder; without it they
    are handed to the cross-attention as they are, and the model's encoder layers are dropped.

    Args:
        embed_dim: D of what comes in; None = the model's own hidden size, without norm and bridge before it.
        tokenizer: gives the vocabulary and the ids of the special tokens.
        architecture: transformers' `model_type` (t5, mt5, bart, mbart, ...) of a model built from scratch.
        pretrained: a hub name or local folder, weights and size as published; None builds from `config`.
        config: keys of the architecture's transformers configuration. With `pretrained` they override its own. A whole
            one, as `hf_config` gives it, is taken as it stands and says the architecture itself. With
            `tie_word_embeddings: false` the head has weights of its own, which start as the embedding's.
        text_encoder: whether the model's own encoder is used.
        prompt: words that it reads before the frames; None = none.
        language: target language of multilingual models such as mBART (`es_XX`).
        max_tokens: longest sentence, in tokens, that is trained on or written.
    """

    prompt: Tensor | None

    def __init__(
        self,
        *,
        embed_dim: int | None,
        tokenizer: PreTrainedTokenizerBase,
        architecture: str,
        pretrained: str | None,
        config: Mapping[str, Any],
        text_encoder: bool,
        prompt: str | None,
        language: str | None,
        max_tokens: int,
    ) -> None:
        super().__init__()
        self.model: Any = build(architecture, pretrained, config, tokenizer)
        self.model.set_attn_implementation(ATTENTION)
        # How to search is this run's to say: a published generation_config.json (BART's forbids repeated trigrams)
        # would have a hidden say, and be lost when the model is rebuilt from a checkpoint.
        self.model.generation_config = GenerationConfig()
        settings = self.model.config
        _check_model(settings, max_tokens)
        self.positions = getattr(settings, "max_position_embeddings", None) if text_encoder else None
        self.register_buffer("prompt", prompt_ids(tokenizer, prompt, text_encoder=text_encoder), persistent=False)
        if self.positions is not None and self.prompt is not None:
            self.positions -= len(self.prompt)
        self.text_encoder = text_encoder
        self.max_tokens = max_tokens
        self.tokens = Tokens(
            start=int(settings.decoder_start_token_id), eos=int(tokenizer.eos_token_id),  # type: ignore[arg-type]
            pad=int(tokenizer.pad_token_id),  # type: ignore[arg-type]
            forced_bos=None if language is None else language_id(tokenizer, language),
        )  # fmt: skip
        self.norm: nn.Module = nn.Identity() if embed_dim is None else nn.LayerNorm(embed_dim)
        self.bridge: Any = (
            Through(settings.hidden_size) if embed_dim is None else nn.Linear(embed_dim, settings.hidden_size)
        )
        if not text_encoder:
            drop_encoder(self.model)

    @property
    def hf_config(self) -> dict[str, Any]:
        """The model's transformers configuration as plain values: with it a checkpoint needs no hub to be rebuilt."""
        return {key: value for key, value in self.model.config.to_dict().items() if key != "_name_or_path"}

    def forward(self, memory: Tensor, present: Tensor, tokens: Tensor) -> Tensor:
        """(B, T', D), (B, T') bool and target ids (B, L) -> logits (B, L, V), each of the tokens before it."""
        self.check_length(memory)
        return self.follow(self.encode(memory, present), self.marks(present), tokens)

    def follow(self, hidden: Tensor, present: Tensor, tokens: Tensor) -> Tensor:
        """What `encode` and `marks` gave, or anything else to read (B, T', hidden size): `forward` from there on."""
        shifted = torch.cat([tokens.new_full((len(tokens), 1), self.tokens.start), tokens[:, :-1]], dim=1)
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=presence_mask(present),
            decoder_attention_mask=causal_mask(shifted),
            decoder_input_ids=shifted,
            use_cache=False,
        ).logits

    def encode(self, memory: Tensor, present: Tensor) -> Tensor:
        """(B, T', D) and (B, T') bool -> what the cross-attention reads, (B, T', hidden size).

        With a prompt of P tokens it is P longer, the prompt first; `marks` says what of it is there.
        """
        return entered(*self.entrance, memory, present, self.read_first)

    def marks(self, present: Tensor) -> Tensor:
        """(B, T') bool -> which places of what `encode` gives are there, (B, P + T') bool."""
        return marks_before(self.prompt, present)

    @property
    def entrance(self) -> tuple[nn.Module, nn.Module, Any]:
        """The parts of `encode`: norm, bridge, and the text encoder or None."""
        return self.norm, self.bridge, self.model.get_encoder() if self.text_encoder else None

    @property
    def read_first(self) -> Tensor | None:
        """The embeddings of the prompt (P, hidden size), None without one."""
        return None if self.prompt is None else self.model.get_input_embeddings()(self.prompt)

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
        return tensors_of(cache.cross_attention_cache)

    def step(self, tokens: Tensor, present: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Last tokens (N, 1), present (N, T') and a cache -> logits (N, V) and the longer part of the cache.

        The cache is what `start` gave, then the past's key and value (N, H, L, d) of each layer in turn, with L = 0 at
        the first step; what comes back is of length L + 1.
        """
        half = len(cache) // 2
        both = EncoderDecoderCache(as_cache(cache[half:]), as_cache(cache[:half]))
        both.is_updated = dict.fromkeys(range(half // 2), True)
        # Keys and values of the cross-attention are in the cache: of what they are made of only the shape is looked at.
        hidden = torch.empty((*present.shape, self.bridge.out_features), device=tokens.device, dtype=cache[0].dtype)
        return self.write(tokens, hidden, present, both), *tensors_of(both.self_attention_cache)

    def fast_step(self) -> FastStep | None:
        """`step` as a module of its own, with the weights of now, of the families that have a faster form of it."""
        form = FORMS.get(self.model.config.model_type)
        return None if form is None else form(self.model)

    def write(self, tokens: Tensor, hidden: Tensor, present: Tensor | None, cache: EncoderDecoderCache) -> Tensor:
        """Logits (N, V) of what follows tokens (N, 1), by hidden (N, T', hidden size), present (N, T') and a cache."""
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=None if present is None else presence_mask(present),
            decoder_input_ids=tokens, use_cache=True, **{CACHE: cache},
        ).logits[:, -1]  # fmt: skip

    def generate(self, memory: Tensor, present: Tensor, options: Search, first: Ids | None = None) -> list[list[Found]]:
        """The sentences of (B, T', D) encoded frames, of which (B, T') bool are present, each clip's best first.

        `first` is the token (B,) that each sentence must begin with.
        """
        tokens = self.tokens if first is None else replace(self.tokens, forced_bos=first)
        self.check_length(memory)
        with torch.inference_mode(), widened(self.encode(memory, present)) as hidden:
            # The fast form is made anew each time, because weights move in training.
            step = CachedStep(self.fast_step() or self.step, self.marks(present), self.start(hidden))
            return search(step, len(memory), tokens, options)


class AdaptedSeq2SeqDecoder(TextSeq2SeqDecoder):
    """A `TextSeq2SeqDecoder` whose own weights stay as published: low-rank adapters learn beside them, norm and bridge.

    SpaMo (Hwang et al. 2025, `t5_slt.py`) trains a Flan-T5 so, with rank 16 and alpha 32 on every `q` and `v`.

    Args:
        lora: `rank`, `alpha`, `targets` and `dropout` of `slt.models.adapters.add_lora`.
        options: as of `TextSeq2SeqDecoder`.
    """

    def __init__(self, *, lora: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        add_lora(self.model, lora)

    def fast_step(self) -> None:
        """None: the faster forms read the weights of plain products, without what is added to them."""


class MT5Decoder(TextSeq2SeqDecoder):
    """A `TextSeq2SeqDecoder` that may begin as the language model of Uni-Sign (Li et al., ICLR 2025), an mT5.

    Args:
        weights: None, or a local file of the authors', whose mT5's weights are taken in place of those of `pretrained`,
            which says the size.
        options: as of `TextSeq2SeqDecoder`.
    """

    def __init__(self, *, weights: str | None, **options: Any) -> None:
        super().__init__(**options)
        if weights is not None:
            load_published(self.model, weights, of_unisign, WANTED)


def entered(
    norm: nn.Module, bridge: nn.Module, encoder: Any, memory: Tensor, present: Tensor, prompt: Tensor | None = None
) -> Tensor:
    """What `TextSeq2SeqDecoder.encode` computes, by its parts alone."""
    x = before(prompt, bridge(norm(memory)))
    if encoder is None:
        return x
    mask = presence_mask(marks_before(prompt, present))
    return encoder(inputs_embeds=x, attention_mask=mask).last_hidden_state


WANTED = (
    "a checkpoint of Uni-Sign ({'model': weights}) whose mT5 is of the size of decoder.pretrained (google/mt5-base)"
)


def of_unisign(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the language model in a file of Uni-Sign's, by transformers' names."""
    return {key.removeprefix("mt5_model."): x for key, x in published.items() if key.startswith("mt5_model.")}


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
