"""slt/models/fusion.py: the streams seen become one vector; one not seen leaves its embedding and has no weight.

Shape letters: B clips, T frames, S streams, D model width.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from slt.models import FuseConcatLinear, FuseCrossAttention, FuseGated, FuseMean

STREAMS = ("face", "left_hand", "pose")
ALIKE = {"num_heads": 2, "window": 0, "dropout": 0.1}  # a frame is looked at alone
FUSIONS = {
    "concat": partial(FuseConcatLinear, dropout=0.1),
    "gated": partial(FuseGated, dropout=0.1),
    "mean": FuseMean,
    "cross": partial(FuseCrossAttention, **ALIKE, guide=None),
    "guided": partial(FuseCrossAttention, **ALIKE, guide="pose"),
}


def fusion(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = FUSIONS[name](streams=STREAMS, embed_dim=8).eval()
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


def cross(guide: str | None, window: int = 2, streams: tuple[str, ...] = STREAMS) -> FuseCrossAttention:
    torch.manual_seed(2)
    network = FuseCrossAttention(streams=streams, embed_dim=8, num_heads=2, window=window, guide=guide, dropout=0.1)
    for weights in (network.missing.embedding, network.place):
        torch.nn.init.normal_(weights)
    return network.eval()


every_guide = pytest.mark.parametrize("guide", ["pose", "left_hand", None])


def some_seen() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Streams (2, 9, 8), of which two thirds were seen; of clip 1 nothing from frame 4 on."""
    torch.manual_seed(3)
    seen = {name: torch.rand(2, 9) < 0.66 for name in STREAMS}
    for there in seen.values():
        there[1, 4:] = False
    return {name: torch.randn(2, 9, 8) for name in STREAMS}, seen


@every_guide
def test_cross_attention_is_what_a_loop_over_clips_frames_and_streams_gives(guide):
    projected, seen = some_seen()
    network = cross(guide)
    out = network(projected, seen)
    embedding = dict(zip(STREAMS, network.missing.embedding, strict=True))
    for b in range(2):
        for t in range(9):
            said = {s: projected[s][b, t] if seen[s][b, t] else embedding[s] for s in STREAMS}
            there = [s for s in STREAMS if seen[s][b, t]]
            if guide is None:
                wanted = sum((said[s] / len(there) for s in there), torch.zeros(8))
            else:
                wanted = said[guide] if guide in there else torch.zeros(8)
            wanted = wanted + sum(embedding[s] for s in STREAMS if s not in there)
            asking = STREAMS if guide is None else [guide]
            for one in asking:
                near = [(u, i, s) for u in range(max(t - 2, 0), min(t + 3, 9)) for i, s in enumerate(STREAMS)
                        if s != one and seen[s][b, u]]  # fmt: skip
                if not near:
                    continue
                query = network.query(said[one])
                keys = [network.key(projected[s][b, u]) + network.place[u - t + 2, i] for u, i, s in near]
                values = [network.value(projected[s][b, u]) for u, _, s in near]
                heads = []
                for head in (slice(0, 4), slice(4, 8)):
                    scores = torch.stack([query[head] @ key[head] / 2 for key in keys]).softmax(0)
                    heads.append(sum(w * value[head] for w, value in zip(scores, values, strict=True)))
                wanted = wanted + network.out(torch.cat(heads)) / len(asking)
            torch.testing.assert_close(out[b, t], wanted, atol=1e-5, rtol=1e-5)


@every_guide
def test_where_nothing_was_seen_within_the_window_the_embeddings_remain(guide):
    projected, seen = some_seen()
    network = cross(guide)
    out = network(projected, seen)
    torch.testing.assert_close(out[1, 6:], network.missing.embedding.sum(0).expand(3, 8))


@every_guide
def test_cross_attention_gives_a_clip_the_same_alone_and_in_a_padded_batch(guide):
    projected, seen = some_seen()
    network = cross(guide)
    out = network(projected, seen)
    alone = network({s: x[1:, :4] for s, x in projected.items()}, {s: x[1:, :4] for s, x in seen.items()})
    torch.testing.assert_close(out[1:, :4], alone)


def test_with_one_stream_nobody_answers():
    projected, seen = some_seen()
    network = cross(None, streams=("pose",))
    wanted = torch.where(seen["pose"][..., None], projected["pose"], network.missing.embedding[0])
    torch.testing.assert_close(network(projected, seen), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guide": "mouth"}, r"guide=mouth is none of the streams \(face, left_hand, pose\)"),
        ({"num_heads": 3}, "embed_dim=8 is not divisible by num_heads=3"),
        ({"window": -1}, "window=-1, expected"),
    ],
)
def test_cross_attention_refuses_what_does_not_fit(options, message):
    given = {"num_heads": 2, "window": 1, "guide": None, "dropout": 0.0, **options}
    with pytest.raises(ValueError, match=f"fusion: {message}"):
        FuseCrossAttention(streams=STREAMS, embed_dim=8, **given)
