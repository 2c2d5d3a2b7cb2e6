"""slt/models/projector.py: every stream comes out as wide as the model, whatever its scale was."""

from __future__ import annotations

import torch

from slt.models import StreamProjector


def projector(dropout: float = 0.0) -> StreamProjector:
    torch.manual_seed(0)
    return StreamProjector(num_features=6, embed_dim=4, dropout=dropout)


def test_every_frame_becomes_as_wide_as_the_model():
    assert projector()(torch.randn(2, 5, 6)).shape == (2, 5, 4)


def test_the_scale_of_a_backbone_does_not_matter():
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(projector()(x), projector()(1000 * x + 7), atol=1e-4, rtol=1e-4)


def test_frames_do_not_look_at_each_other():
    x = torch.randn(1, 5, 6)
    changed = x.clone()
    changed[0, 2] += torch.randn(6)
    assert (projector()(changed) != projector()(x)).any(-1).nonzero().tolist() == [[0, 2]]


def test_dropout_is_on_in_training_only():
    network, x = projector(dropout=0.5), torch.randn(2, 5, 6)
    assert (network.train()(x) == 0).any()
    assert not (network.eval()(x) == 0).any()
