"""slt/models/fusion.py: the streams seen become one vector; one not seen leaves its embedding and has no weight.

Shape letters: B clips, T frames, S streams, D model width.
"""

from __future__ import annotations

import pytest
import torch

from slt.models import FuseConcatLinear, FuseGated, FuseMean

STREAMS = ("face", "left_hand", "pose")
FUSIONS = {"concat": FuseConcatLinear, "gated": FuseGated, "mean": FuseMean}


def fusion(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {} if name == "mean" else {"dropout": 0.1}
    network = FUSIONS[name](streams=STREAMS, embed_dim=8, **options).eval()
    torch.nn.init.normal_(network.missing.embedding)
    return network


def inputs() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Projected streams (2, 4, 8); clip 0 sees everything, clip 1 lacks the pose, and in frame 3 all of it."""
    torch.manual_seed(1)
    seen = {name: torch.ones(2, 4, dtype=torch.bool) for name in STREAMS}
    seen["pose"][1] = False
    for name in STREAMS:
        seen[name][1, 3] = False
    return {name: torch.randn(2, 4, 8) for name in STREAMS}, seen


every_fusion = pytest.mark.parametrize("name", FUSIONS)


@every_fusion
def test_what_was_not_seen_changes_nothing_even_where_it_is_garbage(name):
    projected, seen = inputs()
    out = fusion(name)(projected, seen)
    for stream, x in projected.items():
        x[~seen[stream]] = torch.nan
    assert out.shape == (2, 4, 8)
    assert torch.equal(fusion(name)(projected, seen), out)


@every_fusion
def test_what_was_not_seen_gets_no_gradient_and_its_embedding_does(name):
    projected, seen = inputs()
    network = fusion(name)
    for x in projected.values():
        x.requires_grad_()
    network(projected, seen).square().sum().backward()
    assert (projected["pose"].grad[1] == 0).all()
    assert (projected["pose"].grad[0] != 0).any()
    assert (network.missing.embedding.grad != 0).any(-1).all()


@every_fusion
def test_the_embedding_of_a_stream_matters_only_where_it_was_not_seen(name):
    projected, seen = inputs()
    network = fusion(name)
    before = network(projected, seen)
    with torch.no_grad():
        network.missing.embedding[STREAMS.index("pose")] += 1
    changed = (network(projected, seen) != before).any(-1)
    assert changed.tolist() == [[False] * 4, [True] * 4]


@every_fusion
@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_that_was_seen_counts(name, stream):
    projected, seen = inputs()
    before = fusion(name)(projected, seen)
    projected[stream] = projected[stream] + 1
    changed = (fusion(name)(projected, seen) != before).any(-1)
    assert torch.equal(changed, seen[stream])


@every_fusion
def test_the_order_of_the_mapping_does_not_matter(name):
    projected, seen = inputs()
    turned = {stream: projected[stream] for stream in reversed(STREAMS)}
    assert torch.equal(fusion(name)(turned, seen), fusion(name)(projected, seen))


def test_the_mean_is_over_the_streams_seen_alone():
    projected, seen = inputs()
    network = fusion("mean")
    out = network(projected, seen)
    torch.testing.assert_close(out[0], sum(projected.values())[0] / 3)
    both = (projected["face"] + projected["left_hand"])[1, :3] / 2
    torch.testing.assert_close(out[1, :3], both + network.missing.embedding[2])
    torch.testing.assert_close(out[1, 3], network.missing.embedding.sum(0))


def test_the_gates_of_the_streams_seen_sum_to_one():
    projected, seen = inputs()
    network = fusion("gated")
    same = torch.randn(8)
    for layer in network.mix:  # whatever a stream says, it says the same: what comes out is the sum of the weights
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = same
    torch.testing.assert_close(network(projected, seen)[0], same.expand(4, 8))
    torch.testing.assert_close(network(projected, seen)[1, 0], same + network.missing.embedding[2])
