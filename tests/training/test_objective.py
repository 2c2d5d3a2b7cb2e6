"""The training objective on the tiny translator: B clips, L tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from slt.training.objective import translation_loss


class Fixed(nn.Module):
    """A model that answers with the logits (B, L, V) it was given."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, batch: Any) -> torch.Tensor:
        """Any batch -> (B, L, V)."""
        return self.logits


def test_even_logits_cost_the_logarithm_of_the_vocabulary(batch: Any) -> None:
    logits = torch.zeros(*batch.tokens.shape, 50)
    for smoothing in (0.0, 0.1):
        loss = translation_loss(Fixed(logits), replace(batch, tokens=batch.tokens % 50), label_smoothing=smoothing)
        assert loss.item() == pytest.approx(torch.tensor(50.0).log().item(), rel=1e-5)


def test_certain_and_right_costs_nothing_unless_smoothed(batch: Any) -> None:
    logits = 50.0 * torch.nn.functional.one_hot(batch.tokens, 200).float()
    assert translation_loss(Fixed(logits), batch, label_smoothing=0.0).item() < 1e-6
    assert translation_loss(Fixed(logits), batch, label_smoothing=0.1).item() > 1


def test_padding_tokens_do_not_count(batch: Any) -> None:
    logits = torch.randn(*batch.tokens.shape, 200, generator=torch.Generator().manual_seed(0))
    other = torch.where(batch.tokens_mask[..., None], logits, -logits)
    assert not batch.tokens_mask.all()
    losses = [translation_loss(Fixed(each), batch, label_smoothing=0.1) for each in (logits, other)]
    assert torch.equal(*losses)


def test_every_trainable_part_gets_a_gradient(build: Callable[..., nn.Module], batch: Any) -> None:
    model = build().train()
    for mask in batch.seen.values():
        mask[:, 0] = False  # so that the embeddings of what was not seen take part
    translation_loss(model, batch, label_smoothing=0.1).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert idle == []
