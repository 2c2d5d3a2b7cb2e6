"""The training objective on the tiny translator: B clips, L tokens, V vocabulary, T' frames, G gloss classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slt.config.build import build_translator, stream_shapes
from slt.models.search import Search
from slt.models.temporal import TransformerTemporal
from slt.models.trained import Model
from slt.training.objective import TranslationLoss, gloss_loss, name_too_short, sentence_loss

SEARCH = Search(num_beams=1, length_penalty=1.0, max_tokens=4)


def objective(model: Any, glosses: list[str], **options: Any) -> TranslationLoss:
    """The objective of a model with a head for these glosses."""
    made = TranslationLoss(**options)
    none: Any = SimpleNamespace(ids=[], columns={"gloss": []}, lengths=np.array([]))  # clips that are too short
    made.begin(Model(translator=model, tokenizer=None, search=SEARCH, glosses=tuple(glosses)), none)
    return made


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_even_logits_cost_the_logarithm_of_the_vocabulary(batch: Any, smoothing: float) -> None:
    logits = torch.zeros(*batch.tokens.shape, 200)
    loss = sentence_loss(logits, batch.tokens, batch.tokens_mask, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(math.log(200), rel=1e-5)


def test_certain_and_right_costs_nothing_unless_smoothed(batch: Any) -> None:
    logits = 50.0 * torch.nn.functional.one_hot(batch.tokens, 200).float()
    assert sentence_loss(logits, batch.tokens, batch.tokens_mask, label_smoothing=0.0).item() < 1e-6
    assert sentence_loss(logits, batch.tokens, batch.tokens_mask, label_smoothing=0.1).item() > 1


def test_padding_tokens_do_not_count(batch: Any) -> None:
    logits = torch.randn(*batch.tokens.shape, 200, generator=torch.Generator().manual_seed(0))
    other = torch.where(batch.tokens_mask[..., None], logits, -logits)
    assert not batch.tokens_mask.all()
    losses = [sentence_loss(each, batch.tokens, batch.tokens_mask, label_smoothing=0.1) for each in (logits, other)]
    assert torch.equal(*losses)


@pytest.fixture
def signs(compose: Any, clips: Any, tokenizer: Any, tiny: list[str]) -> tuple[nn.Module, list[str]]:
    """A tiny translator with a gloss head, and the inventory of the tiny corpus."""
    glosses = sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})
    torch.manual_seed(0)
    cfg = compose(*tiny, "stream_weight=0")
    return build_translator(cfg, tokenizer, stream_shapes(clips), labels=glosses), glosses


@pytest.mark.parametrize("flat_start", [0, 5])
def test_every_trainable_part_gets_a_gradient(signs: Any, batch: Any, flat_start: int) -> None:
    model, glosses = signs
    for mask in batch.seen.values():
        mask[:, 0] = False  # so that the embeddings of what was not seen take part
    loss = objective(model, glosses, label_smoothing=0.1, gloss_weight=1.0, flat_start=flat_start)
    loss(model.train(), batch).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert idle == []


def test_without_weight_or_glosses_only_the_sentence_counts(signs: Any, batch: Any, build: Callable[..., Any]) -> None:
    model, glosses = signs[0].eval(), signs[1]
    plain = sentence_loss(model(batch), batch.tokens, batch.tokens_mask, label_smoothing=0.0)
    for known, weight in ((glosses, 0.0), ([], 1.0)):
        made = objective(model, known, label_smoothing=0.0, flat_start=0, gloss_weight=weight)
        assert torch.equal(made(model, batch), plain)


def test_smoothing_and_the_weight_of_glosses_are_those_given(signs: Any, batch: Any) -> None:
    model, glosses = signs[0].eval(), signs[1]

    def loss(smoothing: float, weight: float) -> float:
        made = objective(model, glosses, label_smoothing=smoothing, gloss_weight=weight, flat_start=0)
        return made(model, batch).item()

    sentence = sentence_loss(model(batch), batch.tokens, batch.tokens_mask, label_smoothing=0.3).item()
    assert loss(0.3, 0) == sentence != loss(0.0, 0)
    assert loss(0.3, 2.5) - sentence == pytest.approx(2.5 * (loss(0.3, 1) - sentence), rel=1e-4)


def test_the_signs_alone_are_learned_where_sentences_weigh_nothing(signs: Any, batch: Any) -> None:
    model, glosses = signs[0].eval(), signs[1]
    options = {"label_smoothing": 0.3, "gloss_weight": 2.0, "flat_start": 0}
    both = objective(model, glosses, **options)(model, batch)
    alone = objective(model, glosses, sentence_weight=0.0, **options)(model, batch)
    sentence = sentence_loss(model(batch), batch.tokens, batch.tokens_mask, label_smoothing=0.3)
    assert (both - alone).item() == pytest.approx(sentence.item(), rel=1e-5)
    with pytest.raises(ValueError, match="sentence_weight=0: signs alone need glosses"):
        objective(model, [], sentence_weight=0.0, **options)


def test_streams_learn_the_signs_alone_while_these_are_spread(
    compose: Any, clips: Any, tokenizer: Any, tiny: list[str], batch: Any
) -> None:
    glosses = sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})
    torch.manual_seed(0)
    model = build_translator(
        compose(*tiny, "stream_weight=0.5"), tokenizer, stream_shapes(clips), labels=glosses
    ).eval()
    batch.seen["face"][:] = False
    options = {"label_smoothing": 0.0, "gloss_weight": 1.0, "flat_start": 1}
    plain = objective(model, glosses, **options)(model, batch)
    made = objective(model, glosses, stream_weight=0.5, **options)
    both = made(model, batch)
    features: dict[str, Any] = {}
    model.encoder(batch.streams, batch.seen, batch.frames, features)
    place = {gloss: i for i, gloss in enumerate(glosses, start=1)}
    wanted = 0.0
    for name, x in features.items():
        logs = model.heads[f"alone_{name}"](x).log_softmax(2)
        found = [
            -logs[clip, t, place[text.split()[t * len(text.split()) // length]]].item()
            for clip, (text, length) in enumerate(zip(batch.glosses, batch.lengths, strict=True))
            for t in range(length) if batch.seen[name][clip, t]
        ]  # fmt: skip
        wanted += 0.5 * sum(found) / max(len(found), 1) / len(features)
    assert (both - plain).item() == pytest.approx(wanted, rel=1e-4)
    both.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    made.after_step(1)
    assert made(model, batch) == objective(model, glosses, **options | {"flat_start": 0})(model, batch)


def test_flat_start_ends_after_its_updates(signs: Any, batch: Any) -> None:
    model, glosses = signs[0].eval(), signs[1]
    loss = objective(model, glosses, label_smoothing=0.0, gloss_weight=1.0, flat_start=3)
    flat = loss(model, batch)
    loss.after_step(2)
    assert torch.equal(loss(model, batch), flat)
    loss.after_step(3)
    assert not torch.isclose(loss(model, batch), flat)


def test_flat_start_spreads_the_signs_evenly_and_leaves_padding_out() -> None:
    present = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    scores = torch.zeros(2, 6, 4)
    for clip, frame, gloss in [(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 3), (0, 5, 3), (1, 0, 2), (1, 1, 2)]:
        scores[clip, frame, gloss] = 50
    scores[1, 2, 1] = 50
    scores[1, 3:, 3] = 50
    assert gloss_loss(scores, present, [6, 3], [[1, 2, 3], [2, 1]], flat=True).item() < 1e-6


def test_ctc_costs_nothing_on_the_right_signs_and_much_on_others() -> None:
    present = torch.ones(1, 5, dtype=torch.bool)
    scores = 50.0 * torch.nn.functional.one_hot(torch.tensor([[1, 1, 0, 2, 2]]), 4).float()
    assert gloss_loss(scores, present, [5], [[1, 2]], flat=False).item() < 1e-4
    assert gloss_loss(scores, present, [5], [[2, 1]], flat=False).item() > 10


@pytest.mark.parametrize(("downsample", "named"), [(1, []), (2, ["b", "d"])])
def test_clips_too_short_for_ctc_are_named_once(downsample: int, named: list[str], caplog: Any) -> None:
    temporal = TransformerTemporal(embed_dim=4, depth=1, num_heads=1, mlp_ratio=1, dropout=0, downsample=downsample)
    glosses, lengths = ["A B", "A A", "", "A B C", "A B C"], [3, 4, 1, 4, 5]
    # "A A" needs three frames, as A, blank, A: of four frames two are left, of three two.
    for frames in (3, 4, 5):
        assert -(-frames // downsample) == temporal(torch.zeros(1, frames, 4), torch.ones(1, frames) > 0)[1].sum()
    made = SimpleNamespace(ids=[*"abcde"], columns={"gloss": glosses}, lengths=np.array(lengths), split="train")
    clips: Any = type("Clips", (SimpleNamespace,), {"__len__": lambda self: 5})(**vars(made))
    assert name_too_short(clips, temporal) == named
    assert [record.message for record in caplog.records if "2 of 5" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == bool(named)


def test_a_clip_with_fewer_frames_than_signs_is_no_infinity() -> None:
    present = torch.tensor([[True, True, False], [True, True, True]])
    scores = torch.randn(2, 3, 4, requires_grad=True)
    loss = gloss_loss(scores, present, [2, 3], [[1, 2, 3], [1, 2]], flat=False)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert not scores.grad[0].any()


def test_the_decoder_is_told_the_signs_and_teaches_their_head_nothing(signs: Any, batch: Any) -> None:
    model, glosses = signs[0].eval(), signs[1]
    memory, present = model.encoder(batch.streams, batch.seen, batch.frames)
    likely = model.heads["gloss"](memory).softmax(-1)
    wanted = memory + torch.einsum("btg,dg->btd", likely, model.heads["told"].weight)
    torch.testing.assert_close(model.read(batch.streams, batch.seen, batch.frames)[0], wanted)
    logits = model.decoder(wanted, present, batch.tokens)
    torch.testing.assert_close(model(batch), logits)
    sentence_loss(model(batch), batch.tokens, batch.tokens_mask, label_smoothing=0.0).backward()
    assert model.heads["gloss"].weight.grad is None
    assert model.heads["told"].weight.grad.any()
    untold = objective(model, glosses, label_smoothing=0.0, gloss_weight=1.0, flat_start=0)
    assert "told" not in untold.heads(model, glosses)
