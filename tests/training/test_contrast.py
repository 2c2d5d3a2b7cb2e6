"""Contrast of films and sentences, beside its authors' form: A, B clips, T' frames, L tokens, H width."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from slt.models.causal import CausalDecoder
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.search import Search
from slt.models.text_encoder import DecoderText, TextTransformer
from slt.models.trained import Model
from slt.training.contrast import FilmHead, FineGrained, Pooled, alike, contrast
from slt.training.machine import Compute

CPU = Compute(torch.device("cpu"), "fp32")
SIZES = SimpleNamespace(vocab_size=150)


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum()) / math.sqrt(float((a * a).sum()) * float((b * b).sum()))


def divergence(logits: list[list[float]], scale: float | None) -> float:
    """From the wanted shares of each row to its softmax, the mean over rows, by the definition."""
    total = 0.0
    for i, row in enumerate(logits):
        shares = [math.exp(x) / sum(math.exp(y) for y in row) for x in row]
        whole = math.exp(scale or 0) + len(row) - 1
        for j, share in enumerate(shares):
            wanted = float(i == j) if scale is None else (math.exp(scale) if i == j else 1) / whole
            total += wanted * math.log(wanted / share) if wanted else 0.0
    return total / len(logits)


def turned(rows: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    """Films (4, 6, 5) and sentences (4, 3, 5)."""
    draws = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, 5, generator=draws), torch.randn(4, 3, 5, generator=draws)


def everything(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("scale", [10.0, None])  # GFSLT-VLP; CLIP and SpaMo
def test_the_contrast_of_vectors_is_that_of_the_authors(pairs: tuple[Tensor, Tensor], scale: float | None) -> None:
    film, text = (x[:, :1] for x in pairs)
    logits = [[14.3 * cosine(one, other) for other in text[:, 0]] for one in film[:, 0]]
    by_frames, by_words = Pooled()(film, everything(film), text, everything(text))
    found = contrast(14.3 * by_frames, 14.3 * by_words, torch.eye(4) > 0, scale)
    assert found.item() == pytest.approx((divergence(logits, scale) + divergence(turned(logits), scale)) / 2, rel=1e-5)


def test_the_contrast_of_frames_and_words_is_that_of_cico(pairs: tuple[Tensor, Tensor]) -> None:
    film, text = pairs

    def weighed(values: list[float]) -> float:
        weights = [math.exp(value / 0.07) for value in values]
        return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)

    fit = [[[[cosine(frame, word) for word in b] for frame in a] for b in text] for a in film]
    frames = [[20 * sum(map(weighed, grid)) / 6 for grid in row] for row in fit]
    words = [[20 * sum(map(weighed, turned(grid))) / 3 for grid in row] for row in fit]
    plain = sum(divergence(each, None) for each in (frames, turned(frames), words, turned(words))) / 4
    both = FineGrained(temperature=0.07)(film, everything(film), text, everything(text))
    found = contrast(20 * both[0], 20 * both[1], torch.eye(4) > 0, None)
    assert found.item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("similarity", [Pooled(), FineGrained(temperature=0.07)])
def test_padding_changes_no_likeness(pairs: tuple[Tensor, Tensor], similarity: Any) -> None:
    film, text = pairs
    alone = similarity(film, everything(film), text, everything(text))
    longer = [torch.cat([x, 9 * torch.ones(4, 2, 5)], dim=1) for x in pairs]
    masks = [torch.arange(x.shape[1]).expand(4, -1) < x.shape[1] - 2 for x in longer]
    torch.testing.assert_close(similarity(longer[0], masks[0], longer[1], masks[1]), alone)


def test_clips_of_one_sentence_are_each_other_s() -> None:
    same = alike(["a", "b", "a"])
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    logits = 30.0 * same
    assert contrast(logits, logits, same, None).item() < 1e-6


@pytest.fixture
def stage(compose: Any, build: Any, tiny: list[str]) -> Any:
    """The objective of conf/ with these overrides, and the tiny translator."""

    def make(*overrides: str) -> tuple[Any, Any]:
        overrides = ("objective=clip", "objective.text.depth=1", *overrides)
        return instantiate(compose(*tiny, *overrides).objective, _convert_="all"), build(*overrides)

    return make


def idle(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}


def test_masked_text_trains_what_writes_and_the_contrast_all_else(stage: Any, batch: Any) -> None:
    for mask in batch.seen.values():
        mask[:, 0] = False  # so that the embeddings of what was not seen take part
    objective, model = stage()
    film, present, text = objective.read(model.train(), batch)
    contrast(*objective.compare(model, film, present, text, batch.tokens_mask), torch.eye(3) > 0, 10.0).backward()
    rest = {name for name, p in model.named_parameters() if name.startswith("decoder.model.") and p.requires_grad}
    assert idle(model) == rest
    model.zero_grad()
    objective.write(model, batch.tokens, batch.tokens_mask).backward()
    assert idle(model).isdisjoint(rest)
    assert not any(
        name.startswith(("encoder.", "heads.")) for name, p in model.named_parameters() if p.grad is not None
    )
    assert objective(model, batch).isfinite()


def test_what_is_hidden_of_a_sentence_is_not_read(batch: Any) -> None:
    decoder: Any = SimpleNamespace(bridge=SimpleNamespace(out_features=8), model=SimpleNamespace(config=SIZES))
    text = TextTransformer(decoder=decoder, depth=1, num_heads=2, mlp_ratio=2.0, dropout=0.0)
    read, other = batch.tokens_mask.clone(), batch.tokens.clone()
    read[:, 1], other[:, 1] = False, 7
    found = [text(decoder, x, read)[read] for x in (batch.tokens, other)]
    torch.testing.assert_close(*found)


def test_the_decoder_s_own_encoder_reads_where_there_is_one(stage: Any, batch: Any) -> None:
    own = ("~objective.text", "+objective.text={_target_:slt.models.text_encoder.DecoderText,_partial_:true}")
    bart = ("decoder.text_encoder=true", "decoder.config.encoder_layers=1", "+decoder.config.encoder_attention_heads=2")
    objective, model = stage(*own, *bart)
    objective(model.train(), batch).backward()
    assert idle(model) <= {"encoder.fusion.missing.embedding"}
    with pytest.raises(ValueError, match="decoder.text_encoder=false"):
        DecoderText(decoder=SimpleNamespace(entrance=(None, None, None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["prompt", "causal"])
def test_a_prompt_is_no_film_and_a_language_model_learns_as_well(
    stage: Any, batch: Any, tokenizer: Any, kind: str
) -> None:
    objective, model = stage()
    options: dict[str, Any] = {
        "embed_dim": 16, "tokenizer": tokenizer, "pretrained": None, "prompt": "la casa", "language": None,
        "max_tokens": 64,
    }  # fmt: skip
    if kind == "causal":
        sizes = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
        model.decoder = CausalDecoder(**options, config=sizes, lora=None)
    else:
        sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1}
        model.decoder = TextSeq2SeqDecoder(**options, config=sizes, architecture="t5", text_encoder=True)
    film, present, _ = objective.read(model.eval(), batch)
    assert film.shape[:2] == present.shape
    assert present.sum() == batch.frames.sum() + (0 if kind == "causal" else 3 * len(model.decoder.prompt))
    objective(model, batch).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.decoder.model.parameters())


def test_a_sentence_is_found_among_all_of_the_split_and_its_copies_count(compose: Any, monkeypatch: Any) -> None:
    objective = instantiate(compose("objective=clip").objective, _convert_="all")
    model: Any = SimpleNamespace(heads={"film": FilmHead(width=4, temperature=0.07)})
    first, second, third, fourth = torch.eye(4)
    films = {"p": (first, second), "q": (first, 0.9 * second + 0.1 * third)}
    texts = {"p": (first, second), "q": (third, fourth)}
    mask = torch.ones(2, 1, dtype=torch.bool)

    def read(_: Any, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        film, text = (torch.stack(rows[batch.ids[0][0]])[:, None] for rows in (films, texts))
        return film, mask, text

    def part(name: str, *said: str) -> Any:
        made = SimpleNamespace(ids=[f"{name}{i}" for i in range(2)], texts=[*said], tokens_mask=mask)
        made.to = lambda device: made
        return made

    monkeypatch.setattr(objective, "read", read)
    trained = Model(translator=model, tokenizer=None, search=Search(num_beams=1, length_penalty=1.0, max_tokens=4))
    found = objective.validate(trained, [part("q", "a", "c"), part("p", "a", "b")], CPU)
    # The third film finds the first one's sentence, which is its own; the fourth finds the second one's.
    assert (found["val/r_at_1"], found["val/text_r_at_1"]) == (75, 50)
