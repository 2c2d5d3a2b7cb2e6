"""What is minimised: a batch and a model in, a loss out.

Shape letters: B clips, L tokens, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from slt.data.batch import Batch


def translation_loss(model: nn.Module, batch: Batch, *, label_smoothing: float) -> Tensor:
    """Token-level cross entropy of the target sentences, averaged over the tokens that are there.

    Args:
        model: batch -> (B, L, V) logits.
        batch: with tokens (B, L) int64 and tokens_mask (B, L) bool, True = present.
        label_smoothing: Szegedy et al. 2016, section 7.

    Returns:
        The mean loss in nats, a scalar.
    """
    assert batch.tokens is not None
    logits = model(batch)
    return functional.cross_entropy(
        logits[batch.tokens_mask].float(), batch.tokens[batch.tokens_mask], label_smoothing=label_smoothing
    )
