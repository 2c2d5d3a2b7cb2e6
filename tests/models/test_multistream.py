"""slt/models/multistream.py: backbones, projectors, fusion and temporal encoder in order, over any streams there are.

Shape letters: B clips, T frames, T' frames after downsampling, K landmarks, D model width.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from slt.models import (
    ConvSmall,
    FeatureBackbone,
    FuseConcatLinear,
    MultiStreamEncoder,
    PoseMLP,
    StreamProjector,
    TransformerTemporal,
)

TIED = {"right_hand": "left_hand"}


def conv(frozen: bool = False) -> ConvSmall:
    return ConvSmall(img_size=16, widths=[8, 8], patch_size=4, dropout=0.0, weights=None, frozen=frozen)


def encoder(tied: dict[str, str] = TIED, downsample: int = 1, **extra: torch.nn.Module) -> MultiStreamEncoder:
    torch.manual_seed(0)
    backbones = {"face": conv(frozen=True), "left_hand": conv(), "right_hand": conv()}
    backbones |= {"pose": PoseMLP(num_points=4, num_features=8, dropout=0.0), **extra}
    return MultiStreamEncoder(
        backbones=backbones,
        projector=partial(StreamProjector, embed_dim=8, dropout=0.0),
        fusion=partial(FuseConcatLinear, embed_dim=8, dropout=0.0),
        temporal=TransformerTemporal(
            embed_dim=8, depth=1, num_heads=2, mlp_ratio=2.0, dropout=0.0, downsample=downsample
        ),
        tied=tied,
    ).eval()


def inputs() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    """Streams of two clips of five and three frames, what was seen of them, and which frames there are."""
    torch.manual_seed(1)
    frames = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    streams = {name: torch.randint(0, 256, (2, 5, 3, 16, 16)).byte() for name in ("face", "left_hand", "right_hand")}
    streams["pose"] = torch.rand(2, 5, 4, 3)
    return streams, {name: frames.clone() for name in streams}, frames


@pytest.mark.parametrize("downsample", [1, 2])
def test_streams_become_one_sequence_and_its_mask(downsample):
    memory, present = encoder(downsample=downsample)(*inputs())
    assert memory.shape == (2, -(-5 // downsample), 8)
    assert present.sum(1).tolist() == [-(-5 // downsample), -(-3 // downsample)]


def test_padding_that_claims_to_be_seen_changes_nothing():
    streams, seen, frames = inputs()
    network = encoder(flow=FeatureBackbone(num_features=3))
    streams["flow"], seen["flow"] = torch.randn(2, 5, 3), frames.clone()
    before = network(streams, seen, frames)[0][frames]
    for name, x in streams.items():
        x[1, 3:] = 7 if x.dtype == torch.uint8 else torch.nan
        seen[name][1, 3:] = True
    assert torch.equal(network(streams, seen, frames)[0][frames], before)


@pytest.mark.parametrize("name", ["face", "left_hand", "right_hand", "pose"])
def test_each_stream_matters_where_seen_and_only_there(name):
    streams, seen, frames = inputs()
    seen[name][0, 1] = False
    network = encoder()
    before = network(streams, seen, frames)[0]
    streams[name][0, 1] = 9
    assert torch.equal(network(streams, seen, frames)[0], before)
    streams[name][0, 2] = 9
    assert not torch.equal(network(streams, seen, frames)[0], before)


def test_tied_hands_share_backbone_and_projector():
    tied, single = encoder(), encoder(tied={})
    assert [*tied.backbones] == [*tied.projectors] == ["face", "left_hand", "pose"]
    assert [*single.backbones] == ["face", "left_hand", "right_hand", "pose"]
    streams, seen, frames = inputs()
    seen["left_hand"][:] = False
    tied(streams, seen, frames)[0].sum().backward()
    assert all(x.grad is not None for x in tied.backbones["left_hand"].parameters())


def test_a_tied_stream_is_seen_in_a_mirror():
    streams, seen, frames = inputs()
    heard = []
    network = encoder()
    network.projectors["left_hand"].register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    streams["right_hand"] = streams["left_hand"].flip(-1)
    network(streams, seen, frames)
    assert torch.equal(heard[0], heard[1])


def test_a_hand_tied_to_a_stream_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"tied.right_hand=paw: 'paw' has no backbone.*face, left_hand.*=null"):
        encoder(tied={"right_hand": "paw"})
    with pytest.raises(ValueError, match="'left_hand' has no backbone of its own"):
        encoder(tied={"right_hand": "left_hand", "left_hand": "face"})


def test_a_fifth_stream_is_one_more_entry():
    streams, seen, frames = inputs()
    network = encoder(flow=FeatureBackbone(num_features=3))
    streams["flow"], seen["flow"] = torch.randn(2, 5, 3), frames
    assert network(streams, seen, frames)[0].shape == (2, 5, 8)
    assert network.streams[-1] == "flow"


def test_a_frozen_backbone_in_an_encoder_in_training_gets_no_gradient():
    network = encoder().train()
    network(*inputs())[0].square().sum().backward()
    assert all(x.grad is None for x in network.backbones["face"].parameters())
    assert all((x.grad != 0).any() for x in network.projectors["face"].parameters())
    assert all(x.grad is not None for x in network.backbones["pose"].parameters())


def test_a_replaced_backbone_brings_a_projector_of_its_width():
    network = encoder()
    network.replace_backbone(
        "face", ConvSmall(img_size=16, widths=[4, 6], patch_size=4, dropout=0.0, weights=None, frozen=False)
    )
    assert network.projectors["face"].linear.in_features == network.backbones["face"].num_features == 24
    assert network(*inputs())[0].shape == (2, 5, 8)
