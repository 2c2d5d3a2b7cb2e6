"""The reward objective on the tiny translator: its loss is the plain sum, and better sentences become likelier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from slt.config.build import build_translator, stream_shapes
from slt.models.search import Search
from slt.models.trained import Model
from slt.training.reward import RewardLoss

OPTIONS: dict[str, Any] = {"candidates": 2, "sharpness": 0.7, "kl_weight": 0.5, "sentence_weight": 0.0,
                           "label_smoothing": 0.0, "gloss_weight": 0.0}  # fmt: skip


def vowels(hypotheses: Any, references: Any) -> Any:
    return np.array([len([c for c in text if c in "aeiou"]) / max(len(text), 1) for text in hypotheses], np.float32)


@pytest.fixture
def model(compose: Any, clips: Any, tokenizer: Any, tiny: list[str]) -> Model:
    torch.manual_seed(0)
    translator = build_translator(compose(*tiny), tokenizer, stream_shapes(clips)).eval()
    search = Search(num_beams=1, length_penalty=1.0, max_tokens=6)
    return Model(translator=translator, tokenizer=tokenizer, search=search)


def objective(model: Model, clips: Any, **changes: Any) -> RewardLoss:
    made = RewardLoss(reward=vowels, **{**OPTIONS, **changes})
    made.begin(model, clips)
    return made


def test_the_loss_is_the_expected_reward_and_the_distance(
    model: Model, clips: Any, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, translator = objective(model, clips), model.translator
    pad: Any = translator.decoder.tokens.pad
    tokens = torch.randint(5, 60, (2 * len(batch), 4), generator=torch.Generator().manual_seed(0))
    tokens[1::2, 2:] = pad
    rewards = torch.rand(len(batch), 2, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(made, "_candidates", lambda *_: (tokens, tokens != pad, rewards))
    with torch.no_grad():
        for weight in translator.decoder.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        found = made(translator, batch).item()
        wanted, apart, count = 0.0, 0.0, 0
        for clip in range(len(batch)):
            logs, many = [], {name: x[clip : clip + 1] for name, x in batch.streams.items()}
            seen = {name: x[clip : clip + 1] for name, x in batch.seen.items()}
            for row in tokens[2 * clip : 2 * clip + 2]:
                both = []
                for each in (translator, made.before):
                    assert each is not None
                    memory, present = each.encoder(many, seen, batch.frames[clip : clip + 1])
                    both.append(each.decoder(memory, present, row[None])[0].log_softmax(-1))
                real = [place for place in range(4) if row[place] != pad]
                logs.append(sum(both[0][place, row[place]].item() for place in real))
                apart += sum((both[0][n].exp() * (both[0][n] - both[1][n])).sum().item() for n in real)
                count += len(real)
            share = np.exp(0.7 * (np.array(logs) - max(logs)))
            wanted -= float((share / share.sum()) @ rewards[clip].numpy()) / len(batch)
    assert apart > 0
    assert found == pytest.approx(wanted + 0.5 * apart / count, rel=1e-3)


def test_the_better_of_two_sentences_becomes_likelier(model: Model, clips: Any, batch: Any) -> None:
    made, translator = objective(model, clips, kl_weight=0.0), model.translator
    optimizer = torch.optim.SGD(translator.parameters(), lr=0.5)
    loss = made(translator, batch)
    first = made.report()
    assert set(first) == {"train/reward", "train/reward_best"}
    assert 0 <= first["train/reward"] <= first["train/reward_best"] <= 1
    loss.backward()
    tokens, mask, rewards = made._candidates(translator, batch)
    optimizer.step()
    made._candidates = lambda *_: (tokens, mask, rewards)  # type: ignore[method-assign]
    assert made(translator, batch) < loss
    assert not translator.training


def test_at_the_beginning_there_is_no_distance_and_the_own_loss_counts_by_its_weight(
    model: Model, clips: Any, batch: Any
) -> None:
    made = objective(model, clips)
    plain = made(model.translator, batch)
    assert made.report()["train/distance"] == pytest.approx(0, abs=1e-6)
    more = objective(model, clips, sentence_weight=2.0)(model.translator, batch)
    one = objective(model, clips, sentence_weight=1.0)(model.translator, batch)
    assert (more - plain).item() == pytest.approx(2 * (one - plain).item(), rel=1e-3)
    with pytest.raises(ValueError, match="candidates=1: 2 or more"):
        objective(model, clips, candidates=1)
