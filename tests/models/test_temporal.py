"""slt/models/temporal.py: frames look at each other, padding is looked at by none, T may become ceil(T / n).

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

import math

import pytest
import torch

from slt.models import TransformerTemporal
from slt.models.temporal import sinusoidal_positions

every_rate = pytest.mark.parametrize("downsample", [1, 2, 3])


def temporal(downsample: int = 1, depth: int = 2) -> TransformerTemporal:
    torch.manual_seed(0)
    return TransformerTemporal(
        embed_dim=8, depth=depth, num_heads=2, mlp_ratio=2.0, dropout=0.1, downsample=downsample
    ).eval()


def lengths(*counts: int) -> torch.Tensor:
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


@every_rate
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7])
def test_a_clip_gives_the_same_alone_and_padded_with_garbage(downsample, frames):
    x = torch.randn(2, 9, 8)
    mask = lengths(9, frames)
    network = temporal(downsample)
    alone, present = network(x[1:, :frames], mask[1:, :frames])
    x[1, frames:] = 1e6
    out, there = network(x, mask)
    assert there.sum(1).tolist() == [-(-9 // downsample), -(-frames // downsample)]
    assert present.all()
    torch.testing.assert_close(out[1][there[1]], alone[0], atol=1e-5, rtol=1e-5)


@every_rate
def test_every_real_frame_matters_everywhere(downsample):
    x, mask = torch.randn(1, 7, 8), lengths(7)
    before, _ = temporal(downsample)(x, mask)
    for t in range(7):
        changed = x.clone()
        changed[0, t] += torch.randn(8)
        assert (temporal(downsample)(changed, mask)[0] != before).any(-1).all()


def test_order_matters():
    x, mask = torch.randn(1, 6, 8), lengths(6)
    turned = temporal()(x.flip(1), mask)[0].flip(1)
    assert not torch.allclose(turned, temporal()(x, mask)[0], atol=1e-3)


def test_layers_do_not_start_as_twins():
    one, other = (layer.linear1.weight for layer in temporal().encoder.layers)
    assert not torch.equal(one, other)


def test_positions_are_the_published_sines_and_cosines():
    table = sinusoidal_positions(50, 8, torch.device("cpu"))
    assert table.shape == (50, 8)
    angle = 7 / 10000 ** (4 / 8)
    expected = torch.tensor([math.sin(angle), math.cos(angle)])
    torch.testing.assert_close(table[7, 4:6], expected)


def test_sizes_that_do_not_fit_are_refused():
    options = {"embed_dim": 9, "depth": 1, "mlp_ratio": 2.0, "dropout": 0.0}
    with pytest.raises(ValueError, match="embed_dim=9 is not divisible by num_heads=2"):
        TransformerTemporal(num_heads=2, downsample=1, **options)
    with pytest.raises(ValueError, match="downsample=0, expected 1"):
        TransformerTemporal(num_heads=3, downsample=0, **options)
