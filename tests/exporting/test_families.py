"""T5 and BART, from scratch and as published: text encoder, cross-attention and the cached step are the model's own.

B clips, T' frames, D model width, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from slt.exporting import families, graphs
from slt.models import TextSeq2SeqDecoder
from slt.text import load_tokenizer, train_tokenizer

SENTENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!"]
T5 = {"d_model": 16, "d_kv": 6, "num_heads": 2, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 3,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}  # fmt: skip
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 24,
        "max_position_embeddings": 64}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", T5),
    "t5, gated": ("t5", {**T5, "feed_forward_proj": "gated-gelu"}),
    "t5, head of its own": ("t5", {**T5, "tie_word_embeddings": False}),
    "mt5": ("mt5", T5),
    "bart": ("bart", BART),
    "bart, scaled": ("bart", {**BART, "scale_embedding": True}),
    "mbart": ("mbart", {**BART, "scale_embedding": True}),
}
LONG = 20  # tokens: beyond T5's last bucket


@pytest.fixture(scope="module")
def words() -> Any:
    return train_tokenizer(SENTENCES, kind="bpe", vocab_size=160)


def scratch(words: Any, kind: str, *, text_encoder: bool) -> TextSeq2SeqDecoder:
    """A decoder of random weights, none of which is nought or alike by its start."""
    torch.manual_seed(0)
    architecture, config = KINDS[kind]
    decoder = TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=words, architecture=architecture, pretrained=None, config=config,
        text_encoder=text_encoder, language=None, max_tokens=40,
    ).eval()  # fmt: skip
    return shaken(decoder)


def shaken(decoder: TextSeq2SeqDecoder) -> TextSeq2SeqDecoder:
    """Norms of one and biases of nought would hide a norm or bias that was left out."""
    with torch.no_grad():
        for tensor in [*decoder.parameters(), *(b for name, b in decoder.named_buffers() if "logits_bias" in name)]:
            tensor.add_(torch.randn_like(tensor) * 0.2)
    return decoder


def asked(decoder: TextSeq2SeqDecoder) -> tuple[Tensor, Tensor, Tensor]:
    """Memory (2, 15, D) of which clip 1 has seven frames, its mask, and tokens (2, LONG)."""
    generator = torch.Generator().manual_seed(1)
    present = torch.arange(15) < torch.tensor([[15], [7]])
    memory = torch.randn(2, 15, decoder.norm.normalized_shape[0], generator=generator)
    return memory, present, torch.randint(3, 40, (2, LONG), generator=generator)


@torch.no_grad()
def stepwise(decoder: TextSeq2SeqDecoder, step: Callable[..., Any], cross: Callable[..., Any]) -> Tensor:
    """Logits (B, L, V) of the exportable form: the text encoder's, then one token after another."""
    memory, present, tokens = asked(decoder)
    x = decoder.bridge(decoder.norm(memory))
    if decoder.text_encoder:
        x = families.text_encoder(decoder.model)(x, present)
    keys = cross(x)
    past = [key.new_zeros(*key.shape[:2], 0, key.shape[3]) for key in keys]
    last, logits = torch.full((2, 1), decoder.start_id), []
    for place in range(LONG):
        now, *past = step(last, present, *keys, *past)
        logits.append(now)
        last = tokens[:, place : place + 1]
    return torch.stack(logits, 1)


def assert_teacher_forced(decoder: TextSeq2SeqDecoder, logits: Tensor) -> None:
    with torch.no_grad():
        wanted = decoder(*asked(decoder))
    assert wanted.std() > 0.1
    np.testing.assert_allclose(logits, wanted, atol=5e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text_encoder", [True, False])
def test_steps_with_a_cache_give_the_teacher_forced_logits(words: Any, kind: str, text_encoder: bool) -> None:
    decoder = scratch(words, kind, text_encoder=text_encoder)
    assert_teacher_forced(decoder, stepwise(decoder, families.step(decoder.model), families.cross(decoder.model)))


@pytest.mark.parametrize("family", ["t5", "mt5", "byt5", "bart", "mbart"])
def test_published_models_have_an_exportable_form(published: Callable[[str], Path], family: str) -> None:
    folder = str(published(family))
    decoder = TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=load_tokenizer(folder), architecture="", pretrained=folder, config={},
        text_encoder=True, language="es_XX" if family == "mbart" else None, max_tokens=40,
    ).eval()  # fmt: skip
    decoder = shaken(decoder)
    assert_teacher_forced(decoder, stepwise(decoder, families.step(decoder.model), families.cross(decoder.model)))


@pytest.mark.parametrize("kind", ["t5, gated", "mbart"])
def test_graphs_give_the_teacher_forced_logits(words: Any, kind: str, tmp_path: Path) -> None:
    decoder = scratch(words, kind, text_encoder=False)
    step, cross = families.step(decoder.model), families.cross(decoder.model)
    vocabulary, hidden = decoder.model.config.vocab_size, decoder.bridge.out_features
    made = {"cross": graphs.cross_graph(cross, hidden, step), "decoder": graphs.decoder_graph(step, vocabulary)}

    def runner(name: str) -> Callable[..., Any]:
        graphs.to_onnx(made[name], tmp_path / f"{name}.onnx")
        session = onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in made[name].spec.inputs]
        assert names == [tensor.name for tensor in session.get_inputs()]
        assert [t.name for t in made[name].spec.outputs] == [tensor.name for tensor in session.get_outputs()]
        return lambda *given: [
            torch.from_numpy(each)
            for each in session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})
        ]

    assert_teacher_forced(decoder, stepwise(decoder, runner("decoder"), runner("cross")))


def test_other_architecture_is_refused_by_name() -> None:
    class Config:
        model_type = "pegasus"

    class Model:
        config = Config()

    with pytest.raises(ValueError, match="'pegasus' has no exportable form; there are t5, mt5, bart, mbart"):
        families.step(Model())
