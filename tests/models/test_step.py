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
from slt.models.search import Search
from slt.models.step import FastStep, Projections, cast
from slt.models.tokenizer import load_tokenizer, train_tokenizer
from slt.training.checkpoint import load_checkpoint, load_weights, save_checkpoint

SENTENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!"]
T5 = {"d_model": 16, "d_kv": 6, "num_heads": 2, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 2,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}  # fmt: skip
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
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
        text_encoder=text_encoder, prompt=None, language=None, max_tokens=40,
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


def assert_graphs_teacher_forced(decoder: TextSeq2SeqDecoder, wanted: Tensor, folder: Path, *, onnx: bool) -> None:
    """The exportable form of step and cross-attention, and with `onnx` its ONNX, give `wanted`, (B, L, V)."""
    made = graphs.decoder_graphs(decoder)
    for runner in (lambda graph, _: graph.module, onnx_runner)[: 1 + onnx]:
        step, cross = (runner(made[name], folder / f"{name}.graph") for name in ("decoder", "cross"))
        np.testing.assert_allclose(stepwise(decoder, step, cross), wanted, atol=5e-5)


@pytest.mark.parametrize("family", ["t5", "t5_v1_1", "mt5", "byt5", "bart", "mbart"])
def test_a_published_model_is_the_same_before_saving_after_loading_and_in_its_graphs(
    published: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    folder = str(published(family))
    options: dict[str, Any] = {"embed_dim": 6, "tokenizer": load_tokenizer(folder), "architecture": "",
                               "text_encoder": True, "language": "es_XX" if family == "mbart" else None,
                               "prompt": None, "max_tokens": 40}  # fmt: skip
    trained = shaken(TextSeq2SeqDecoder(pretrained=folder, config={}, **options).eval())
    save_checkpoint(tmp_path / "best.pt", {"model": trained.state_dict(), "hf_config": json.dumps(trained.hf_config)})
    payload = load_checkpoint(tmp_path / "best.pt")
    again = TextSeq2SeqDecoder(pretrained=None, config=json.loads(payload["hf_config"]), **options).eval()
    load_weights(again, payload["model"], source=tmp_path)
    with torch.no_grad():
        wanted = trained(*asked(trained))
        assert torch.equal(again(*asked(again)), wanted)
    # The graphs of mT5 and ByT5 have the nodes of T5 1.1's.
    assert_graphs_teacher_forced(again, wanted, tmp_path, onnx=family not in ("mt5", "byt5"))


def test_another_architecture_exports_by_its_own_code(words: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = shaken(TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=words, architecture="pegasus", pretrained=None, config=BART, text_encoder=True,
        prompt=None, language=None, max_tokens=40,
    ).eval())  # fmt: skip
    assert decoder.fast_step() is None
    with torch.no_grad():
        assert_graphs_teacher_forced(decoder, decoder(*asked(decoder)), tmp_path, onnx=True)


@pytest.mark.parametrize("kind", ["t5, gated", "bart, scaled", "mbart"])
def test_weights_are_cast_once_and_the_model_s_own_stay(words: Any, kind: str) -> None:
    decoder = scratch(words, kind, text_encoder=False)
    before = {name: weight.clone() for name, weight in decoder.model.state_dict().items()}
    fast = decoder.fast_step()
    assert fast is not None
    half = cast(fast, torch.bfloat16)
    products = [part for part in half.modules() if isinstance(part, torch.nn.Linear | Projections)]
    assert len(products) >= 3 * len(fast.layers)
    assert {part.weight.dtype for part in products} == {torch.bfloat16}
    assert all(torch.equal(weight, before[name]) for name, weight in decoder.model.state_dict().items())
    exact = stepwise(decoder, fast, decoder.start)
    with torch.autocast("cpu", torch.bfloat16):
        by_autocast, found = (stepwise(decoder, step, decoder.start) for step in (fast, half))
    assert torch.equal(found, by_autocast)
    assert 0 < (found.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("precision", [torch.bfloat16, None])
def test_a_narrow_model_searches_in_float32_and_a_wide_one_as_it_was_told(
    words: Any, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype | None
) -> None:
    decoder = scratch(words, "bart", text_encoder=False)
    memory, present, _ = asked(decoder)
    options = Search(num_beams=2, length_penalty=1.0, max_tokens=6)
    seen: list[torch.dtype] = []
    start = decoder.start
    monkeypatch.setattr(decoder, "start", lambda hidden: [seen.append(hidden.dtype), start(hidden)][1])
    for narrow in (512, 1):
        monkeypatch.setattr("slt.models.caches.NARROW", narrow)
        with torch.autocast("cpu", precision, enabled=precision is not None):
            found = decoder.generate(memory, present, options)
        assert [len(one) for one in found] == [2, 2]
    assert seen == [torch.float32, precision or torch.float32]
