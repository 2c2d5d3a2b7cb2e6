"""The decoder: a Hugging Face seq2seq model writes the sentence; the only file that imports transformers models.

Shape letters: B clips, T' frames after the temporal encoder, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    logging,
)
from transformers.generation import GenerateEncoderDecoderOutput
from transformers.modeling_outputs import BaseModelOutput

# What `generate` calls the cache that it is handed: transformers 5.24 renamed it.
_CACHE = "cache" if "cache" in GenerateEncoderDecoderOutput.__dataclass_fields__ else "past_key_values"


@dataclass
class Generated:
    """What beam search gives for B clips: ids (B, nbest, L) int64, and score (B, nbest) float32.

    A score is the log-probability of the tokens over their number to the power of `length_penalty`.
    """

    ids: Tensor
    scores: Tensor


class TextSeq2SeqDecoder(nn.Module):
    """Any Hugging Face sequence-to-sequence model over a sequence of vectors instead of words.

    With `text_encoder` the vectors take the place of word embeddings before the model's own encoder; without it they
    are handed to the cross-attention as they are, and the model's encoder layers are dropped.

    Args:
        embed_dim: D of what comes in.
        tokenizer: gives the vocabulary and the ids of the special tokens.
        architecture: transformers' `model_type` (t5, mt5, bart, mbart, ...) for a model built from scratch;
            not used where `pretrained` is given.
        pretrained: a hub name or local folder, weights and size as published; None builds from `config`.
        config: keys of the architecture's transformers configuration. With `pretrained` they override its own. A whole
            one, as `hf_config` gives it, is taken as it stands and says the architecture itself. With
            `tie_word_embeddings: false` the head has weights of its own, which start as the embedding's.
        text_encoder: whether the model's own encoder is used.
        language: target language of multilingual models such as mBART (`es_XX`); None where there is no such thing.
        max_tokens: longest sentence, in tokens, that is trained on or written.

    Raises:
        ValueError: a configuration key that the architecture does not have, an unknown architecture, a published
            model without some of its weights, or a sentence longer than the model's positions allow.
        FileNotFoundError: `pretrained` is neither a local folder nor a model that the hub gives.
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
        self.model: Any
        if pretrained is None:
            settings = _settings(architecture, config, tokenizer)
            self.model = AutoModelForSeq2SeqLM.from_config(settings)
        else:
            self.model = _published(pretrained, config)
        if config.get("tie_word_embeddings") is False and _is_tied(self.model):
            head = self.model.get_output_embeddings()
            head.weight = nn.Parameter(head.weight.detach().clone())
        # transformers writes True for every T5, and would tie a head of its own when it resizes or rebuilds the model.
        self.model.config.tie_word_embeddings = _is_tied(self.model)
        if pretrained is not None and self.model.config.vocab_size < len(tokenizer):
            with _quiet():
                self.model.resize_token_embeddings(len(tokenizer))
        # How to search is this run's to say: a published generation_config.json (BART's forbids repeated trigrams)
        # would have a hidden say, and be lost when the model is rebuilt from a checkpoint.
        self.model.generation_config = GenerationConfig()
        settings = self.model.config
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
        self.positions = positions if text_encoder else None
        self.text_encoder = text_encoder
        self.max_tokens = max_tokens
        self.pad_id = int(tokenizer.pad_token_id)
        self.eos_id = int(tokenizer.eos_token_id)
        self.start_id = int(settings.decoder_start_token_id)
        self.forced_bos_id = None if language is None else language_id(tokenizer, language)
        self.norm = nn.LayerNorm(embed_dim)
        self.bridge = nn.Linear(embed_dim, settings.hidden_size)
        if not text_encoder:
            _drop_encoder(self.model)

    @property
    def hf_config(self) -> dict[str, Any]:
        """The model's transformers configuration as plain values: with it a checkpoint needs no hub to be rebuilt."""
        return {key: value for key, value in self.model.config.to_dict().items() if key != "_name_or_path"}

    def forward(self, memory: Tensor, present: Tensor, tokens: Tensor) -> Tensor:
        """Teacher-forced logits.

        Args:
            memory: (B, T', D) encoded frames.
            present: (B, T') bool, True on real frames.
            tokens: (B, L) int64 target ids, ending in the end token, padded with the pad id.

        Returns:
            (B, L, V) logits; position i sees the tokens before i.
        """
        shifted = torch.cat([tokens.new_full((len(tokens), 1), self.start_id), tokens[:, :-1]], dim=1)
        return self.model(
            encoder_outputs=self._encode(memory, present),
            attention_mask=present.long(),
            decoder_input_ids=shifted,
            use_cache=False,
        ).logits

    def generate(
        self, memory: Tensor, present: Tensor, *, num_beams: int, length_penalty: float, max_tokens: int, nbest: int
    ) -> Generated:
        """Beam search (greedy with one beam), deterministic.

        Args:
            memory: (B, T', D) encoded frames.
            present: (B, T') bool, True on real frames.
            num_beams: beams; 1 is greedy.
            length_penalty: power of the length that a hypothesis' log-probability is divided by.
            max_tokens: longest sentence, in tokens.
            nbest: sentences a clip, at most `num_beams`.

        Returns:
            ids (B, nbest, L) without the start token, and scores (B, nbest), best first.

        Raises:
            ValueError: `nbest` is above `num_beams`.
        """
        if nbest > num_beams:
            raise ValueError(f"nbest={nbest} is above num_beams={num_beams}: beams bound the n-best")
        out = self.model.generate(
            encoder_outputs=self._encode(memory, present),
            attention_mask=present.long(),
            decoder_start_token_id=self.start_id,
            forced_bos_token_id=self.forced_bos_id,
            pad_token_id=self.pad_id,
            eos_token_id=self.eos_id,
            num_beams=num_beams,
            num_return_sequences=nbest,
            length_penalty=length_penalty,
            max_new_tokens=max_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            # One that grows: transformers' own would have as many layers as the encoder.
            **{_CACHE: EncoderDecoderCache(DynamicCache(), DynamicCache())},
        )
        ids = out.sequences[:, 1:].view(len(memory), nbest, -1)
        if num_beams > 1:
            return Generated(ids, out.sequences_scores.float().view(len(memory), nbest))
        steps = self.model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        written = (ids[:, 0] != self.pad_id).float()
        length = written.sum(dim=1, keepdim=True).clamp(min=1)
        total = torch.where(written.bool(), steps.float(), 0.0).sum(dim=1, keepdim=True)
        return Generated(ids, total / length**length_penalty)

    def _encode(self, memory: Tensor, present: Tensor) -> BaseModelOutput:
        """(B, T', D) -> what the cross-attention reads, (B, T', hidden size)."""
        if self.positions is not None and memory.shape[1] > self.positions:
            raise ValueError(
                f"a clip of {memory.shape[1]} frames, but the decoder's text encoder has {self.positions} positions; "
                "lower dataset.max_frames, raise temporal.downsample, or set decoder.text_encoder=false"
            )
        x = self.bridge(self.norm(memory))
        if self.text_encoder:
            x = self.model.get_encoder()(inputs_embeds=x, attention_mask=present.long()).last_hidden_state
        return BaseModelOutput(last_hidden_state=x)


def _settings(architecture: str, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The transformers configuration of a model from scratch around our tokenizer, or a checkpoint's whole one."""
    if "model_type" in config:
        return AutoConfig.for_model(**config)
    try:
        known = AutoConfig.for_model(architecture)
    except ValueError as error:
        raise ValueError(f"decoder.architecture={architecture!r} is not a transformers model_type") from error
    _check_keys(config, known, f"decoder.architecture={architecture}")
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.pad_token_id
    start = {"bos_token_id": bos, "decoder_start_token_id": bos, "forced_eos_token_id": None}
    return AutoConfig.for_model(architecture, **{"vocab_size": len(tokenizer), **ids, **start, **config})


def _published(name: str, config: Mapping[str, Any]) -> Any:
    """The model of a hub name or local folder, with keys of its configuration changed; its head as its weights say.

    Raises:
        FileNotFoundError, ValueError: see `TextSeq2SeqDecoder`.
    """
    try:
        settings = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise FileNotFoundError(
            f"decoder.pretrained={name}: expected a local folder or a Hugging Face hub name; {error}"
        ) from error
    _check_keys(config, settings, f"decoder.pretrained={name}")
    settings = AutoConfig.from_pretrained(
        name, **{key: value for key, value in config.items() if key != "tie_word_embeddings"}
    )
    # Tied is what the files hold once, or twice alike. False would start anew whatever embedding a file leaves out.
    settings.tie_word_embeddings = True
    with _quiet():
        # Some are published in half precision; which one we compute in is autocast's to say.
        model, told = AutoModelForSeq2SeqLM.from_pretrained(
            name, config=settings, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(
            f"decoder.pretrained={name}: {len(missing)} of its weights are not there, {missing[0]} for one; expected "
            "those of a whole sequence-to-sequence model"
        )
    if config.get("tie_word_embeddings") and not _is_tied(model):
        raise ValueError(f"decoder.config.tie_word_embeddings=true: {name} has a head of its own; leave the key out")
    return model


def _is_tied(model: Any) -> bool:
    """Whether the head is the embedding."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers warns of heads that are not tied and of rows that are drawn anew, both of which we want."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_keys(config: Mapping[str, Any], settings: PretrainedConfig, what: str) -> None:
    known = {*settings.to_dict(), *settings.attribute_map, "decoder_start_token_id"}
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"decoder.config.{key}: {what} does not know this key{hint}")


def language_id(tokenizer: PreTrainedTokenizerBase, language: str) -> int:
    """The token id of a target language.

    Raises:
        ValueError: the tokenizer does not have it.
    """
    found: Any = tokenizer.convert_tokens_to_ids(language)
    if found is None or found == tokenizer.unk_token_id:
        codes = [str(token) for token in tokenizer.all_special_tokens]
        near = [code for code in codes if code[:3] == language[:3]] or difflib.get_close_matches(language, codes, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "null is for models of no particular language"
        raise ValueError(f"decoder.language={language}: the tokenizer has no such language; {hint}")
    return int(found)


def _drop_encoder(model: Any) -> None:
    """Frees the layers of an encoder that is not used; what is left of it (norms, shared embeddings) takes no part."""
    encoder = model.get_encoder()
    shared = {id(parameter) for parameter in model.get_decoder().parameters()}
    for name, child in list(encoder.named_children()):
        if isinstance(child, nn.ModuleList):
            setattr(encoder, name, nn.ModuleList())
    for parameter in encoder.parameters():
        if id(parameter) not in shared:
            parameter.requires_grad_(False)
