"""slt/models/temporal: frames look at each other, padding is looked at by none, T may become ceil(T / n).

Shape letters: B clips, T frames, T' frames after downsampling, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from slt.models import BiGRUTemporal, BiLSTMTemporal, ConformerTemporal, ConvTemporal, TransformerTemporal
from slt.models.temporal import sinusoidal_positions

ATTENTION: dict[str, Any] = {"embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "dropout": 0.1}
RECURRENT: dict[str, Any] = {"embed_dim": 8, "hidden": 5, "depth": 2, "dropout": 0.1}
PUBLISHED = ["K5", "P2", "K5", "P2"]
KINDS: dict[str, Callable[[], nn.Module]] = {
    "transformer": lambda: TransformerTemporal(**ATTENTION, downsample=1),
    "transformer_by_2": lambda: TransformerTemporal(**ATTENTION, downsample=2),
    "transformer_by_3": lambda: TransformerTemporal(**ATTENTION, downsample=3),
    "bigru": lambda: BiGRUTemporal(**RECURRENT, downsample=1),
    "bigru_by_2": lambda: BiGRUTemporal(**RECURRENT, downsample=2),
    "bilstm": lambda: BiLSTMTemporal(**RECURRENT, downsample=1),
    "conformer": lambda: ConformerTemporal(**ATTENTION, kernel_size=3, downsample=1),
    "conformer_by_2": lambda: ConformerTemporal(**ATTENTION, kernel_size=5, downsample=2),
    "conv_valid": lambda: ConvTemporal(embed_dim=8, layers=PUBLISHED, padding="valid", dropout=0.1),
    "conv_same": lambda: ConvTemporal(embed_dim=8, layers=PUBLISHED, padding="same", dropout=0.1),
    "conv_odd": lambda: ConvTemporal(embed_dim=8, layers=["P3", "K4"], padding="same", dropout=0.1),
}
# All but convolutions and pools, of which each position looks at some frames alone.
FAR = [kind for kind in KINDS if not kind.startswith("conv")]
every_kind = pytest.mark.parametrize("kind", KINDS)


def temporal(kind: str = "transformer") -> Any:
    torch.manual_seed(0)
    network = KINDS[kind]().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d):  # as after training, and not zeros and ones
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return network


def lengths(*counts: int) -> torch.Tensor:
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


@every_kind
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 19, 20])
def test_a_clip_gives_the_same_alone_and_padded_with_garbage(kind, frames):
    x = torch.randn(2, 23, 8)
    mask = lengths(23, frames)
    network = temporal(kind)
    alone, present = network(x[1:, :frames], mask[1:, :frames])
    x[1, frames:] = 1e6
    out, there = network(x, mask)
    assert out.shape[:2] == there.shape == (2, -(-23 // network.stride))
    assert there.sum(1).tolist() == [network.length(23), network.length(frames)]
    assert out.isfinite().all()
    torch.testing.assert_close(out[1][there[1]], alone[0][present[0]], atol=1e-5, rtol=1e-5)


@every_kind
def test_a_clip_has_the_first_positions_and_as_many_as_it_is_said_to(kind):
    network, frames = temporal(kind), torch.arange(1, 40)
    _, there = network(torch.zeros(39, 39, 8), lengths(*frames.tolist()))
    counts = [network.length(count) for count in frames.tolist()]
    assert network.length(frames).tolist() == counts
    assert torch.equal(there, torch.arange(there.shape[1]) < torch.tensor(counts)[:, None])
    assert min(counts) == 1
    assert all(count <= -(-n // network.stride) for n, count in enumerate(counts, start=1))


@pytest.mark.parametrize("kind", FAR)
def test_every_real_frame_matters_everywhere(kind):
    x, mask = torch.randn(1, 7, 8), lengths(7)
    before, _ = temporal(kind)(x, mask)
    for t in range(7):
        changed = x.clone()
        changed[0, t] += torch.randn(8)
        assert (temporal(kind)(changed, mask)[0] != before).any(-1).all()


@every_kind
def test_every_weight_that_trains_gets_a_gradient(kind):
    network = temporal(kind).train()
    out, there = network(torch.randn(2, 24, 8), lengths(24, 17))
    (out * there[..., None] * torch.randn(8)).sum().backward()
    grads = {name: weight.grad for name, weight in network.named_parameters()}
    # A bias before batch normalisation has a gradient of zero.
    assert [name for name, grad in grads.items() if grad is None or (grad.dim() > 1 and not grad.any())] == []


@every_kind
def test_an_update_waits_for_no_number(kind):
    network = temporal(kind).train().to("meta")  # whose tensors have no values: who asks for one is refused
    network(torch.zeros(2, 3, 8, device="meta"), lengths(3, 2).to("meta"))[0].sum().backward()


@every_kind
def test_order_matters(kind):
    x, mask = torch.randn(1, 24, 8), lengths(24)
    turned = temporal(kind)(x.flip(1), mask)[0].flip(1)
    assert not torch.allclose(turned, temporal(kind)(x, mask)[0], atol=1e-3)


@every_kind
def test_half_precision_gives_numbers_near_the_full_ones(kind):
    x, mask = torch.randn(2, 24, 8), lengths(24, 5)
    full, there = temporal(kind)(x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = temporal(kind)(x, mask)
    torch.testing.assert_close(half.float()[there], full[there], atol=0.1, rtol=0.1)


def test_layers_do_not_start_as_twins():
    one, other = (layer.linear1.weight for layer in temporal().encoder.layers)
    assert not torch.equal(one, other)


def test_positions_are_the_published_sines_and_cosines():
    table = sinusoidal_positions(50, 8, torch.device("cpu"))
    assert table.shape == (50, 8)
    angle = 7 / 10000 ** (4 / 8)
    expected = torch.tensor([math.sin(angle), math.cos(angle)])
    torch.testing.assert_close(table[7, 4:6], expected)


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        (TransformerTemporal, {"embed_dim": 9}, "embed_dim=9 is not divisible by num_heads=2"),
        (TransformerTemporal, {"downsample": 0}, "downsample=0, expected 1"),
        (ConformerTemporal, {"kernel_size": 4}, "kernel_size=4, expected an odd"),
        (ConformerTemporal, {"kernel_size": 3, "num_heads": 3}, "embed_dim=8 is not divisible by num_heads=3"),
        (ConvTemporal, {"layers": ["K5", "Q2"]}, "layers has 'Q2'; expected K"),
        (ConvTemporal, {"padding": "some"}, "padding=some, expected valid"),
        (BiGRUTemporal, {"depth": 0}, "depth=0, expected 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(made, given, message):
    usual = {
        ConvTemporal: {"embed_dim": 8, "layers": PUBLISHED, "padding": "same", "dropout": 0.0},
        BiGRUTemporal: {**RECURRENT, "downsample": 1},
    }.get(made, {**ATTENTION, "downsample": 1})
    with pytest.raises(ValueError, match=f"temporal: {message}"):
        made(**{**usual, **given})
