"""Hugging Face's sequence-to-sequence and causal language models, from scratch or as published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    logging,
)

from slt.text import near


def build(
    architecture: str, pretrained: str | None, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> Any:
    """Make the model that `TextSeq2SeqDecoder` is asked for, with as many embeddings as the tokenizer has tokens."""
    if pretrained is None:
        model: Any = AutoModelForSeq2SeqLM.from_config(_settings(architecture, config, tokenizer))
    else:
        model = _published(AutoModelForSeq2SeqLM, pretrained, config)
    return _as_asked(model, pretrained, config, tokenizer)


def build_causal(
    pretrained: str | None, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, **loading: Any
) -> Any:
    """Make the model that `CausalDecoder` is asked for; `loading` are more arguments of transformers' loading."""
    if pretrained is None:
        model: Any = AutoModelForCausalLM.from_config(_causal_settings(config, tokenizer))
    else:
        model = _published(AutoModelForCausalLM, pretrained, config, **loading)
    return _as_asked(model, pretrained, config, tokenizer)


def _as_asked(model: Any, pretrained: str | None, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Any:
    """Untie the head where that is asked for, and give the model as many embeddings as the tokenizer has tokens."""
    if config.get("tie_word_embeddings") is False and _is_tied(model):
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
    # transformers writes True for every T5, and would tie a head of its own when it resizes or rebuilds the model.
    model.config.tie_word_embeddings = _is_tied(model)
    if pretrained is not None and model.config.vocab_size < len(tokenizer):
        with quiet():
            model.resize_token_embeddings(len(tokenizer))
    return model


def drop_encoder(model: Any) -> None:
    """Free the layers of an encoder that is not used; what is left of it (norms, shared embeddings) takes no part."""
    encoder = model.get_encoder()
    shared = {id(parameter) for parameter in model.get_decoder().parameters()}
    for name, child in list(encoder.named_children()):
        if isinstance(child, nn.ModuleList):
            setattr(encoder, name, nn.ModuleList())
    for parameter in encoder.parameters():
        if id(parameter) not in shared:
            parameter.requires_grad_(False)


def _settings(architecture: str, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Return the configuration of a model from scratch around our tokenizer, or a checkpoint's whole one."""
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


def _causal_settings(config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Return the configuration of a causal model around our tokenizer; a checkpoint's whole one says all itself."""
    kind = config.get("model_type")
    if kind is None:
        raise ValueError(
            "decoder.config.model_type is missing: without decoder.pretrained it says what is built, as gpt2 or llama"
        )
    try:
        known = AutoConfig.for_model(kind)
        AutoModelForCausalLM._model_mapping[type(known)]
    except (ValueError, KeyError) as error:
        raise ValueError(f"decoder.config.model_type={kind!r} is no causal language model of transformers") from error
    if "transformers_version" not in config:  # a whole one may have keys of its own
        _check_keys(config, known, f"decoder.config.model_type={kind}")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    return AutoConfig.for_model(**{"vocab_size": len(tokenizer), **ids, **config})


def _published(kind: Any, name: str, config: Mapping[str, Any], **loading: Any) -> Any:
    """Load the model of a hub name or local folder, keys of its configuration changed, its head as its weights say."""
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
    with quiet():
        # Some are published in half precision; which one we compute in is autocast's to say.
        model, told = kind.from_pretrained(
            name, config=settings, dtype=torch.float32, output_loading_info=True, **loading
        )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(
            f"decoder.pretrained={name}: {len(missing)} of its weights are not there, {missing[0]} for one; expected "
            f"those that {kind.__name__} has"
        )
    if config.get("tie_word_embeddings") and not _is_tied(model):
        raise ValueError(f"decoder.config.tie_word_embeddings=true: {name} has a head of its own; leave the key out")
    return model


def _is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
            raise ValueError(f"decoder.config.{key}: {what} does not know this key{near(key, known)}")
