"""slt/models/temporal: the published encoders against plain forms of what their authors compute, with the same weights.

Shape letters: B clips, T frames, D model width, H hidden size.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from slt.models import BiGRUTemporal, BiLSTMTemporal, ConformerTemporal, ConvTemporal
from slt.models.batch_norm import BatchNorm
from slt.models.temporal import sinusoidal_positions


def conv(width: int, padding: str = "valid") -> ConvTemporal:
    torch.manual_seed(0)
    return ConvTemporal(embed_dim=width, layers=["K5", "P2", "K5", "P2"], padding=padding, dropout=0.0)


def plain_conv(width: int) -> nn.Sequential:
    """SpaMo's TemporalConv of its usual kind: torch's own layers one after the other, on (B, D, T)."""
    first, second = ([nn.Conv1d(width, width, 5), nn.BatchNorm1d(width), nn.ReLU()] for _ in range(2))
    return nn.Sequential(*first, nn.MaxPool1d(2), *second, nn.MaxPool1d(2))


def whole(clips: int, frames: int) -> torch.Tensor:
    return torch.ones(clips, frames, dtype=torch.bool)


def test_the_published_convolutions_leave_the_published_lengths():
    assert [conv(4).length(frames) for frames in (16, 33, 64)] == [1, 5, 13]
    assert [plain_conv(4)(torch.zeros(2, 4, frames)).shape[2] for frames in (16, 33, 64)] == [1, 5, 13]
    assert [conv(4).length(frames) for frames in (1, 5, 15, 19, 20)] == [1, 1, 1, 1, 2]
    assert [conv(4, "same").length(frames) for frames in (1, 4, 5, 16, 33, 64)] == [1, 1, 2, 4, 9, 16]


def test_the_published_convolutions_of_width_768_have_5_902_848_weights():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in conv(768).parameters()) == 5_902_848


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("frames", [16, 33, 64])
def test_convolutions_compute_what_is_published_from_weights_of_the_published_names(train, frames):
    network, published = conv(6), plain_conv(6)
    for layer in published:
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    network.temporal_conv.load_state_dict(published.state_dict())
    x = torch.randn(3, frames, 6)
    out, there = network.train(train)(x, whole(3, frames))
    wanted = published.train(train)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(out[there].unflatten(0, (3, -1)), wanted)
    assert not out[~there].any()
    for name, weight in published.state_dict().items():  # running statistics too
        torch.testing.assert_close(network.temporal_conv.state_dict()[name], weight)


def test_same_padding_is_a_convolution_s_own_and_the_last_pool_may_be_short():
    network = conv(6, "same").eval()
    x = torch.randn(1, 7, 6)
    wanted = x.transpose(1, 2)
    for layer in range(0, 8, 4):
        first, normal = network.temporal_conv[layer], network.temporal_conv[layer + 1]
        wanted = functional.conv1d(wanted, first.weight, first.bias, padding=2)
        wanted = functional.batch_norm(wanted, normal.running_mean, normal.running_var, normal.weight, normal.bias)
        wanted = functional.max_pool1d(wanted.relu(), 2, ceil_mode=True)
    torch.testing.assert_close(network(x, whole(1, 7))[0], wanted.transpose(1, 2))


def test_a_short_clip_is_one_of_the_least_length_that_ends_in_zeros():
    network, x = conv(6).eval(), torch.randn(1, 5, 6)
    lengthened = functional.pad(x, (0, 0, 0, 11))
    short, long = network(x, whole(1, 5)), network(lengthened, whole(1, 16))
    assert short[1].sum() == long[1].sum() == 1
    torch.testing.assert_close(short[0][0, 0], long[0][0, 0])


def test_batch_normalisation_has_the_statistics_of_real_frames_alone():
    torch.manual_seed(0)
    counts = (7, 3)
    mask = torch.arange(7) < torch.tensor(counts)[:, None]
    x = torch.randn(2, 6, 7)
    x[1, :, 3:] = 1e3
    network, plain = BatchNorm(6), nn.BatchNorm1d(6)
    for norm in (network, plain):
        nn.init.uniform_(norm.weight)
    plain.load_state_dict(network.state_dict())
    real = torch.cat([x[clip, :, :count] for clip, count in enumerate(counts)], dim=1)[None]
    out, wanted = network(x, mask[:, None]), plain(real)
    torch.testing.assert_close(out.transpose(1, 2)[mask], wanted[0].T)
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight)


@pytest.mark.parametrize(("made", "published"), [(BiGRUTemporal, nn.GRU), (BiLSTMTemporal, nn.LSTM)])
def test_recurrence_is_torch_s_own_over_packed_sequences(made, published):
    torch.manual_seed(0)
    network = made(embed_dim=8, hidden=5, depth=2, dropout=0.0, downsample=1).eval()
    network.norm_in, network.linear = nn.Identity(), nn.Identity()
    theirs = published(8, 5, num_layers=2, batch_first=True, bidirectional=True)
    for layer, ours in enumerate(network.layers):
        for part, end in ((ours.forth, ""), (ours.back, "_reverse")):
            weights = {name: getattr(theirs, f"{name[:-1]}{layer}{end}") for name in part.state_dict()}
            part.load_state_dict(weights)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in theirs.parameters())
    x, counts = torch.randn(3, 9, 8), (9, 4, 1)
    mask = torch.arange(9) < torch.tensor(counts)[:, None]
    packed = pack_padded_sequence(x, torch.tensor(counts), batch_first=True)
    wanted, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(network(x, mask)[0][mask], wanted[mask])


def swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + (-x).exp())


def plain_layer(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """One conformer block on one clip (T, D), equation 1 of Gulati et al. 2020, frame by frame and head by head."""

    def perceptron(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return part.linear2(swish(part.linear1(part.norm(x))))

    x = x + perceptron(layer.before, x) / 2
    attention, normed = layer.self_attn, layer.norm_attn(x)
    query, key, value = (normed @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
    heads = []
    for q, k, v in zip(*(each.chunk(2, dim=1) for each in (query, key, value)), strict=True):
        heads.append((q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v)
    x = x + attention.out_proj(torch.cat(heads, dim=1))
    part = layer.convolution
    values, gates = part.gated(part.norm(x)).chunk(2, dim=1)
    inner = values * gates.sigmoid()
    reach, near = part.depthwise.kernel_size[0] // 2, []
    for t in range(len(x)):
        total = part.depthwise.bias.clone()
        for offset in range(-reach, reach + 1):
            if 0 <= t + offset < len(x):
                total = total + part.depthwise.weight[:, 0, offset + reach] * inner[t + offset]
        near.append(total)
    norm = part.batch_norm
    inner = (torch.stack(near) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    x = x + part.linear(swish(inner))
    return layer.norm(x + perceptron(layer.behind, x) / 2)


def test_a_conformer_computes_the_paper_s_equations():
    torch.manual_seed(0)
    network = ConformerTemporal(
        embed_dim=8, depth=2, num_heads=2, mlp_ratio=4.0, kernel_size=5, dropout=0.1, downsample=1
    ).eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:  # norms and biases too are no ones and zeros
            nn.init.normal_(parameter)
    for layer in network.layers:
        layer.convolution.batch_norm.running_mean.normal_()
        layer.convolution.batch_norm.running_var.uniform_(0.5, 2)
    x, counts = torch.randn(2, 7, 8), (7, 4)
    mask = torch.arange(7) < torch.tensor(counts)[:, None]
    out, _ = network(x, mask)
    for clip, count in enumerate(counts):
        wanted = network.norm_in(x[clip, :count]) + sinusoidal_positions(count, 8, x.device)
        for layer in network.layers:
            wanted = plain_layer(layer, wanted)
        torch.testing.assert_close(out[clip, :count], wanted, atol=1e-5, rtol=1e-5)


def test_a_conformer_layer_has_the_paper_s_weights():
    width, kernel = 144, 31  # of the paper's smallest; its kernel of 32 frames is no frame and its neighbours
    with torch.device("meta"):
        network = ConformerTemporal(
            embed_dim=width, depth=1, num_heads=4, mlp_ratio=4.0, kernel_size=kernel, dropout=0.1, downsample=1
        )
    perceptron = 2 * width * 4 * width + 4 * width + width
    attention = 4 * width * width + 4 * width
    convolution = 3 * width * width + 3 * width + (kernel + 1) * width
    norms = 2 * width * (5 + 1)  # of the four parts, the block and the batch
    layer = 2 * perceptron + attention + convolution + norms
    assert sum(weight.numel() for weight in network.layers.parameters()) == layer
