"""Decoders from scratch and as published: cross-attention and the cached step give the model's own numbers.

B clips, T' frames, D model width, L tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from slt.exporting import graphs
from slt.exporting.graphs import Start, Step
from slt.models import TextSeq2SeqDecoder
from slt.models.step import FastStep
from slt.models.tokenizer import load_tokenizer, train_tokenizer
from slt.training.checkpoint import load_checkpoint, load_weights, save_checkpoint

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
    assert (decoder.model.lm_head.weight is decoder.model.get_decoder().embed_tokens.weight) == ("own" not in kind)
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
    keys = cross(decoder.encode(memory, present))
    past = [key.new_zeros(*key.shape[:2], 0, key.shape[3]) for key in keys]
    last, logits = torch.full((2, 1), decoder.tokens.start), []
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
    fast = decoder.fast_step()
    assert isinstance(fast, FastStep)
    for step in (fast, Step(decoder)):
        assert_teacher_forced(decoder, stepwise(decoder, step, Start(decoder)))


def onnx_runner(graph: graphs.Exportable, path: Path) -> Callable[..., list[Tensor]]:
    """An exported graph as a function of tensors, whose names it takes and gives in their order."""
    graphs.to_onnx(graph, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.spec.inputs]
    assert names == [tensor.name for tensor in session.get_inputs()]
    assert [t.name for t in graph.spec.outputs] == [tensor.name for tensor in session.get_outputs()]
    return lambda *given: [
        torch.from_numpy(each) for each in session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})
    ]


def assert_graphs_teacher_forced(decoder: TextSeq2SeqDecoder, wanted: Tensor, folder: Path) -> None:
    """The exportable form of step and cross-attention, and its ONNX and TorchScript, give `wanted`, (B, L, V)."""
    made = graphs.decoder_graphs(decoder)
    for runner in (lambda graph, _: graph.module, onnx_runner):
        step, cross = (runner(made[name], folder / f"{name}.graph") for name in ("decoder", "cross"))
        np.testing.assert_allclose(stepwise(decoder, step, cross), wanted, atol=5e-5)


@pytest.mark.parametrize("family", ["t5", "t5_v1_1", "mt5", "byt5", "bart", "mbart"])
def test_a_published_model_is_the_same_before_saving_after_loading_and_in_its_graphs(
    published: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    folder = str(published(family))
    options: dict[str, Any] = {"embed_dim": 6, "tokenizer": load_tokenizer(folder), "architecture": "",
                               "text_encoder": True, "language": "es_XX" if family == "mbart" else None,
                               "max_tokens": 40}  # fmt: skip
    trained = shaken(TextSeq2SeqDecoder(pretrained=folder, config={}, **options).eval())
    save_checkpoint(tmp_path / "best.pt", {"model": trained.state_dict(), "hf_config": json.dumps(trained.hf_config)})
    payload = load_checkpoint(tmp_path / "best.pt")
    again = TextSeq2SeqDecoder(pretrained=None, config=json.loads(payload["hf_config"]), **options).eval()
    load_weights(again, payload["model"], source=tmp_path)
    with torch.no_grad():
        wanted = trained(*asked(trained))
        assert torch.equal(again(*asked(again)), wanted)
    assert_graphs_teacher_forced(again, wanted, tmp_path)


def test_another_architecture_exports_by_its_own_code(words: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = shaken(TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=words, architecture="pegasus", pretrained=None, config=BART, text_encoder=True,
        language=None, max_tokens=40,
    ).eval())  # fmt: skip
    assert decoder.fast_step() is None
    with torch.no_grad():
        assert_graphs_teacher_forced(decoder, decoder(*asked(decoder)), tmp_path)
