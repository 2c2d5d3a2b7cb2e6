"""The other decoder: a causal language model reads the film as vectors before its words, and writes on.

Shape letters: B clips, T' frames after the temporal encoder, D model width, P tokens of the prompt, C of the longest
context, L tokens, N hypotheses, H heads, d width of a head, V vocabulary, S of a whole sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from slt.models.adapters import add_lora
from slt.models.attention import hiding
from slt.models.caches import ATTENTION, CACHE, CachedStep, as_cache, tensors_of, widened
from slt.models.decoder import entered, language_id
from slt.models.four_bit import as_plain_weights, four_bit_loading
from slt.models.hugging_face import build_causal, quiet
from slt.models.search import Found, Ids, Search, Tokens, search

CONTEXT = "{context}"  # in a prompt: where the sentence before stands
Context = tuple[Tensor, Tensor]  # ids (B, C) and which of them are there, bool (B, C)


class CausalDecoder(nn.Module):
    """Any causal language model of Hugging Face: frames, prompt and sentence are one sequence.

    It is `[frames] [prompt] [start] sentence`, causal throughout as the model was trained: a frame sees those before it
    (the temporal encoder has seen both sides already). Frames enter as vectors where embeddings of words would, through
    a norm and one linear map, and a prompt follows them, as before SpaMo's T5 (Hwang et al. 2025, `t5_slt.py`).
    Sign2GPT (Wong et al. 2024) has each layer of its frozen XGLM read them by attention of its own behind a gate that
    starts at zero, which this does not. Padding is masked and counts in no position, wherever it stands.

    A prompt with `{context}` tells the model the sentence before in the same film, "" of the first, as Sincan et al.
    2023 ("Is context all you need?") tell theirs; they have an encoder for it, here it is words among others. In
    training it is the reference, of which some are left out; in evaluation the model's own translation.

    Args:
        embed_dim: D of what comes in.
        tokenizer: gives the vocabulary and the ids of the special tokens; its sentences end with its end token and
            begin with none (`load_causal_tokenizer`).
        pretrained: a hub name or local folder, weights and size as published; None builds from `config`.
        config: keys of the transformers configuration. With `pretrained` they override its own; without, `model_type`
            (gpt2, llama, qwen2, ...) says what is built. A whole one, as `hf_config` gives it, is taken as it stands.
        lora: None trains the whole model. Else it stays as published and adapters learn: keys of
            `slt.models.adapters.add_lora`, and `four_bit`, whether a published model is held in 4 bits (NF4; Dettmers
            et al. 2023, QLoRA, section 3), which needs CUDA and bitsandbytes.
        prompt: text between film and sentence; "" for none. `{context}` in it, once, takes as much as `max_tokens`.
        language: first token of every sentence, of tokenizers that have one for a language; None for all others.
        max_tokens: longest sentence, in tokens, that is trained on or written.
    """

    prompt: Tensor

    def __init__(
        self,
        *,
        embed_dim: int,
        tokenizer: PreTrainedTokenizerBase,
        pretrained: str | None,
        config: Mapping[str, Any],
        lora: Mapping[str, Any] | None,
        prompt: str,
        language: str | None,
        max_tokens: int,
    ) -> None:
        super().__init__()
        adapters = dict(lora or {})
        four_bit = bool(adapters.pop("four_bit", False)) and pretrained is not None
        loading = four_bit_loading() if four_bit else {}
        self.model: Any = build_causal(pretrained, config, tokenizer, **loading)
        with quiet():  # some families keep the attention of their own, and say so
            self.model.set_attn_implementation(ATTENTION)
        self.model.generation_config = GenerationConfig()  # how to search is this run's to say
        taken = inspect.signature(self.model.forward).parameters
        settings = self.model.config
        if not {"position_ids", "inputs_embeds", CACHE} <= taken.keys() or getattr(settings, "alibi", False):
            raise ValueError(
                f"decoder: {settings.model_type} does not take vectors at given positions and the past's keys and "
                "values; expected a model such as gpt2, llama, qwen2, mistral, gemma or xglm"
            )
        self.keeps = "logits_to_keep" in taken  # computes the logits of the last so many alone
        if lora is not None:
            add_lora(self.model, adapters)
        if four_bit:
            as_plain_weights(self.model)
        self.max_tokens = max_tokens
        # The end token is what a model without a start token was trained to begin texts after.
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self.tokens = Tokens(
            start=int(start), eos=int(tokenizer.eos_token_id), pad=int(tokenizer.pad_token_id),  # type: ignore[arg-type]
            forced_bos=None if language is None else language_id(tokenizer, language),
        )  # fmt: skip
        if prompt.count(CONTEXT) > 1:
            raise ValueError(f"decoder.prompt={prompt!r}: {CONTEXT} once at most, came {prompt.count(CONTEXT)} times")
        self.reads_context, self.tokenizer = CONTEXT in prompt, tokenizer
        before, _, after = prompt.partition(CONTEXT)
        ids, self.place = self._ids(before) + self._ids(after), len(self._ids(before))
        self.register_buffer("prompt", torch.tensor(ids, dtype=torch.int64), persistent=False)
        self.positions = _frames(settings, len(ids) + self.reads_context * max_tokens, max_tokens)
        self.norm = nn.LayerNorm(embed_dim)
        self.bridge = nn.Linear(embed_dim, settings.hidden_size)

    @property
    def hf_config(self) -> dict[str, Any]:
        """The model's transformers configuration as plain values: with it a checkpoint needs no hub to be rebuilt."""
        left_out = ("_name_or_path", "quantization_config")  # a checkpoint has the weights as numbers, see four_bit.py
        return {key: value for key, value in self.model.config.to_dict().items() if key not in left_out}

    def forward(self, memory: Tensor, present: Tensor, tokens: Tensor, context: Context | None = None) -> Tensor:
        """(B, T', D), (B, T') bool and target ids (B, L) -> logits (B, L, V), each of the tokens before it."""
        self.check_length(memory)
        return self.follow(self.encode(memory, present), present, tokens, context)

    def follow(self, hidden: Tensor, present: Tensor, tokens: Tensor, context: Context | None = None) -> Tensor:
        """What `encode` gave, or anything else to read (B, T', hidden size): `forward` from there on."""
        shifted = torch.cat([tokens.new_full((len(tokens), 1), self.tokens.start), tokens[:, :-1]], dim=1)
        begun, there = self.read(hidden, present, context)
        read = torch.cat([begun, self._words(shifted)], dim=1)
        return self._write(read, self._followed(there, tokens.shape[1]), keep=tokens.shape[1])

    def context(self, sentences: Sequence[str]) -> Context:
        """The sentences before B clips as tokens, on the model's device; of a longer one the last `max_tokens`."""
        rows = [self._ids(text)[-self.max_tokens :] for text in sentences]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.tokens.pad] * (longest - len(row)) for row in rows], dtype=torch.int64)
        there = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
        device = self.prompt.device
        return ids.to(device, non_blocking=True), there.to(device, non_blocking=True)

    def read(self, hidden: Tensor, present: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
        """What comes before a sentence: the frames (B, T', hidden size) with the prompt behind them, and what is there.

        (B, T' + P + C, hidden size) and (B, T' + P + C) bool; without a context C is 0.
        """
        ids = self.prompt.expand(len(hidden), -1)
        there = self._followed(present, len(self.prompt))
        if context is not None:
            ids = torch.cat([ids[:, : self.place], context[0], ids[:, self.place :]], dim=1)
            there = torch.cat([self._followed(present, self.place), context[1]], dim=1)
            there = self._followed(there, len(self.prompt) - self.place)
        return torch.cat([hidden, self._words(ids)], dim=1), there

    def encode(self, memory: Tensor, present: Tensor) -> Tensor:
        """(B, T', D) and (B, T') bool -> the frames as the language model reads them, (B, T', hidden size)."""
        return entered(*self.entrance, memory, present)

    def marks(self, present: Tensor) -> Tensor:
        """(B, T') bool -> which places of what `encode` gives are there, the same (B, T') bool."""
        return present

    @property
    def entrance(self) -> tuple[nn.Module, nn.Module, None]:
        """The parts of `encode`: norm, bridge, and no text encoder."""
        return self.norm, self.bridge, None

    def check_length(self, memory: Tensor) -> None:
        """Refuse (B, T', D) of more frames than there are positions beside the prompt and the sentence."""
        if self.positions is not None and memory.shape[1] > self.positions:
            raise ValueError(
                f"a clip of {memory.shape[1]} frames, but beside its prompt and sentence the language model has "
                f"{self.positions} positions; lower dataset.max_frames or decoder.max_tokens, or raise "
                "temporal.downsample"
            )

    def start(self, begun: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        """What `read` gave, (B, S, hidden size) and (B, S) bool -> what every step reads of film and prompt.

        Each layer's key and value in turn, (B, H, S, d), of H heads of width d.
        """
        cache = DynamicCache()
        self._write(begun, there, keep=1, cache=cache)
        return tensors_of(cache)

    def step(self, tokens: Tensor, begun: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Last tokens (N, 1), a bool (N, S) and a cache -> logits (N, V) and the longer part of the cache.

        The bool is what is there of what `start` took. The cache is what that gave, then the past's key and value
        (N, H, L, d) of each layer in turn, with L = 0 at the first step; what comes back is of length L + 1.
        """
        half = len(cache) // 2
        fixed, past = cache[:half], cache[half:]
        whole = as_cache(tuple(torch.cat(pair, dim=2) for pair in zip(fixed, past, strict=True)))
        there = self._followed(begun, past[0].shape[2] + 1)
        logits = self._write(self._words(tokens), there, keep=1, cache=whole)
        return logits[:, -1], *(x[:, :, fixed[0].shape[2] :] for x in tensors_of(whole))

    def generate(
        self, memory: Tensor, present: Tensor, options: Search, first: Ids | None = None,
        context: Context | None = None,
    ) -> list[list[Found]]:  # fmt: skip
        """The sentences of (B, T', D) encoded frames, of which (B, T') bool are present, each clip's best first.

        `first` is the token (B,) that each sentence must begin with; without a `context` nothing was said before.
        """
        tokens = self.tokens if first is None else replace(self.tokens, forced_bos=first)
        self.check_length(memory)
        with torch.inference_mode(), widened(self.encode(memory, present)) as hidden:
            begun, there = self.read(hidden, present, context)
            return search(CachedStep(self.step, there, self.start(begun, there)), len(memory), tokens, options)

    def _words(self, tokens: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(tokens)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    @staticmethod
    def _followed(present: Tensor, count: int) -> Tensor:
        """(B, S) bool -> (B, S + count), of which what follows is there."""
        return torch.cat([present, present.new_ones(len(present), count)], dim=1)

    def _write(self, read: Tensor, there: Tensor, *, keep: int, cache: DynamicCache | None = None) -> Tensor:
        """Logits (B, keep, V) after the last of what is read.

        Args:
            read: vectors (B, L, hidden size), the end of the sequence; what is before them is in the cache.
            there: (B, S) bool of the whole sequence; what is not there is not seen and takes no position.
            keep: of how many the logits are wanted.
            cache: of the S - L before; it grows by L.
        """
        length, whole = read.shape[1], there.shape[1]
        positions = (there.cumsum(1) - 1).clamp(min=0)[:, whole - length :]
        later = torch.ones(length, whole, dtype=torch.bool, device=read.device).triu(whole - length + 1)
        asked: dict[str, Any] = {"logits_to_keep": keep} if self.keeps else {}
        logits = self.model(
            inputs_embeds=read, attention_mask=hiding(later | ~there[:, None, None]), position_ids=positions,
            use_cache=cache is not None, **{CACHE: cache}, **asked,
        ).logits  # fmt: skip
        return logits[:, logits.shape[1] - keep :]


def _frames(settings: PretrainedConfig, prompt: int, max_tokens: int) -> int | None:
    """Return how many frames a model has positions for beside a prompt and the longest sentence; None = any number."""
    limits = [getattr(settings, key, None) for key in ("max_position_embeddings", "sliding_window")]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    # Within its window a layer that looks back only so far is one that sees all.
    frames = min(known) - prompt - max_tokens
    if frames < 1:
        raise ValueError(
            f"decoder.max_tokens={max_tokens} and a prompt of {prompt} tokens, but {settings.model_type} has "
            f"{min(known)} positions for them and the frames; lower it, or shorten decoder.prompt (of "
            f"which {CONTEXT} takes decoder.max_tokens)"
        )
    return frames
