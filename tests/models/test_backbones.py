"""slt/models/backbones.py: one vector for each frame seen, zeros elsewhere, and weights of the right architecture only.

Shape letters: B clips, T frames, R crop side, K landmarks, F backbone width.
"""

from __future__ import annotations

import os
import re

import pytest
import timm
import torch

from slt.models import (
    ConvSmall,
    FeatureBackbone,
    PoseMLP,
    TimmBackbone,
    ViTSmallPatch16,
    load_dinov2_backbone,
    replace_with_dinov2,
)

# timm's own toy models: the real code paths in a thousandth of the size.
TOYS = {"test_vit": {"img_size": 32}, "test_resnet": {}, "test_convnext": {}}


def conv(frozen: bool = False) -> ConvSmall:
    return ConvSmall(img_size=32, widths=[8, 8], patch_size=4, dropout=0.1, weights=None, frozen=frozen)


def toy(name: str = "test_vit", weights: str | None = None, frozen: bool = False, **options: object) -> TimmBackbone:
    return TimmBackbone(model_name=name, weights=weights, options=TOYS.get(name, {}) | options, frozen=frozen)


def backbone(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A backbone in evaluation mode and frames (2, 5, ...) for it."""
    torch.manual_seed(0)
    crops = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    if name == "pose":
        return PoseMLP(num_points=4, num_features=8, dropout=0.1).eval(), torch.rand(2, 5, 4, 3) + 0.1
    if name == "features":
        return FeatureBackbone(num_features=6).eval(), torch.randn(2, 5, 6)
    if name == "vit_small_patch16":
        return ViTSmallPatch16(img_size=32, weights=None, frozen=True).eval(), crops
    return (conv() if name == "conv" else toy(name)).eval(), crops


NAMES = ["conv", "pose", "features", "vit_small_patch16", *TOYS]


@pytest.fixture
def seen() -> torch.Tensor:
    return torch.tensor([[1, 1, 0, 1, 1], [0, 1, 1, 0, 0]]).bool()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_seen_changes_nothing_and_comes_out_as_zeros(name, seen):
    network, x = backbone(name)
    garbage = x.clone()
    garbage[~seen] = 255 if x.dtype == torch.uint8 else torch.nan
    features = network(x, seen)
    assert features.shape == (2, 5, network.num_features)
    assert torch.equal(network(garbage, seen), features)
    assert (features[~seen] == 0).all()
    assert (features[seen].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_seen_changes_its_own_frame(name, seen):
    network, x = backbone(name)
    before = network(x, seen)
    x[1, 2] = 255 - x[1, 2] if x.dtype == torch.uint8 else x[1, 2] + torch.rand_like(x[1, 2])
    changed = (network(x, seen) != before).any(-1)
    assert changed.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_gives_the_same_features_alone_and_in_a_batch(name, seen):
    network, x = backbone(name)
    torch.testing.assert_close(network(x[1:, :3], seen[1:, :3])[0], network(x, seen)[1, :3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_which_nothing_was_seen_is_all_zeros(name):
    network, x = backbone(name)
    out = network(x, torch.zeros(2, 5, dtype=torch.bool))
    assert out.shape == (2, 5, network.num_features)
    assert (out == 0).all()


@pytest.mark.parametrize("make", [conv, toy])
def test_a_frozen_backbone_gets_no_gradient_and_stays_in_evaluation_mode(make, seen):
    x = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    free, frozen = make().train(), make(frozen=True).train()
    assert free.network.training
    assert not any(module.training for module in frozen.network.modules())
    assert free(x, seen).requires_grad
    assert not frozen(x, seen).requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_crops_are_normalised_as_the_network_was_trained(seen):
    network = toy("test_resnet")
    heard = []
    network.network.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    network.eval()(torch.full((2, 5, 3, 32, 32), 128, dtype=torch.uint8), seen)
    mean, std = (torch.tensor(network.network.pretrained_cfg[key]) for key in ("mean", "std"))
    torch.testing.assert_close(heard[0][0, :, 0, 0], (128 / 255 - mean) / std)


def test_the_speed_of_a_point_is_zero_where_either_frame_lacks_it():
    network = PoseMLP(num_points=1, num_features=4, dropout=0.0)
    heard = []
    network.network.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    x = torch.tensor([[1.0, 2.0, 1.0], [3.0, 5.0, 1.0], [9.0, 9.0, 0.0], [4.0, 4.0, 1.0]]).view(1, 4, 1, 3)
    network(x, torch.ones(1, 4, dtype=torch.bool))
    assert heard[0].tolist() == [[1, 2, 0, 0, 1], [3, 5, 2, 3, 1], [0, 0, 0, 0, 0], [4, 4, 0, 0, 1]]


def test_another_number_of_points_or_features_is_refused(seen):
    with pytest.raises(ValueError, match="pose has 7 points a frame, the backbone was made for 4"):
        backbone("pose")[0](torch.zeros(2, 5, 7, 3), seen)
    with pytest.raises(ValueError, match=r"features are 9 wide.*says 6"):
        backbone("features")[0](torch.zeros(2, 5, 9), seen)


def test_a_misspelt_timm_name_names_the_near_one():
    with pytest.raises(ValueError, match=r"'resnt18' is not a timm model.*resnet18"):
        toy("resnt18")
    with pytest.raises(ValueError, match=r"vit_smal_patch16_224.*vit_small_patch16_224"):
        toy("vit_smal_patch16_224")


def test_options_that_timm_does_not_take_are_refused_with_the_model_s_name():
    with pytest.raises(ValueError, match=r"test_vit.*'depht'"):
        toy(depht=3)
    with pytest.raises(ValueError, match=r"no_such_tag"):
        toy("vit_small_patch14_dinov2.no_such_tag")


def test_crops_of_a_side_that_the_network_cannot_take_are_refused(seen):
    with pytest.raises(ValueError, match=r"crops of 24 pixels.*img_size"):
        toy()(torch.zeros(2, 5, 3, 24, 24, dtype=torch.uint8), seen)
    with pytest.raises(ValueError, match=r"img_size=40.*16"):
        ViTSmallPatch16(img_size=40, weights=None, frozen=False)
    with pytest.raises(ValueError, match=r"img_size=40.*14"):
        load_dinov2_backbone(model_name="vit_small_patch14_dinov2", img_size=40, weights=None, frozen=False)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_weights_file_of_the_same_architecture_is_loaded_whole(ending, tmp_path, seen):
    import safetensors.torch

    network, x = backbone("test_vit")
    path = str(tmp_path / f"weights.{ending}")
    save = torch.save if ending == "pth" else safetensors.torch.save_file
    save(network.network.state_dict(), path)
    assert torch.equal(toy(weights=path).eval()(x, seen), network(x, seen))


def test_a_published_checkpoint_with_its_classifier_loads_too(tmp_path, seen):
    whole = timm.create_model("test_resnet", num_classes=10)
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "whole.pth")
    loaded = toy("test_resnet", weights=str(tmp_path / "whole.pth"))
    assert torch.equal(loaded.network.state_dict()["conv1.0.weight"], whole.state_dict()["conv1.0.weight"])


@pytest.mark.parametrize("other", ["test_resnet", "test_vit2"])
def test_weights_of_another_architecture_are_refused_by_name(other, tmp_path):
    torch.save(timm.create_model(other, num_classes=0).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "other.pth"))):
        toy(weights=str(tmp_path / "other.pth"))


def test_a_missing_or_broken_weights_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: no such file; give a local file, `timm` or null"):
        toy(weights="nowhere.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"cut\.pth do not fit"):
        toy(weights="cut.pth")


def test_a_malicious_weights_file_is_never_executed(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"state_dict": Malice()}, tmp_path / "malice.pth")
    with pytest.raises(ValueError, match=r"malice\.pth"):
        toy(weights=str(tmp_path / "malice.pth"))
    assert not (tmp_path / "executed").exists()


@pytest.fixture(scope="module")
def dinov2_file(tmp_path_factory):
    """A DINOv2 ViT-S/14 for 28 pixels (2 x 2 patches and the class token) with random weights, as a file."""
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=28)
    torch.nn.init.normal_(network.pos_embed)
    path = tmp_path_factory.mktemp("dinov2") / "dinov2.pth"
    torch.save({**network.state_dict(), "mask_token": torch.zeros(1, 384)}, path)
    return path


def test_dinov2_weights_from_a_file_interpolate_their_positions_to_the_crops(dinov2_file):
    published = torch.load(dinov2_file, weights_only=True)
    network = load_dinov2_backbone(
        model_name="vit_small_patch14_dinov2", img_size=56, weights=str(dinov2_file), frozen=True
    ).eval()
    expected = timm.layers.resample_abs_pos_embed(published["pos_embed"], new_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(network.network.pos_embed.data, expected)
    assert torch.equal(network.network.blocks[11].mlp.fc1.weight, published["blocks.11.mlp.fc1.weight"])
    assert network(torch.zeros(1, 1, 3, 56, 56, dtype=torch.uint8), torch.ones(1, 1, dtype=torch.bool)).shape == (
        1,
        1,
        384,
    )


def test_replace_with_dinov2_changes_the_named_streams_and_nothing_else(dinov2_file, build, clips):
    encoder = build("dataset.streams.face.size=28").encoder
    before = {name: x.clone() for name, x in encoder.state_dict().items()}
    replace_with_dinov2(
        encoder, streams=["face"], model_name="vit_small_patch14_dinov2", img_size=28, weights=str(dinov2_file),
        frozen=True,
    )  # fmt: skip
    after = encoder.state_dict()
    changed = {name.split(".")[1] for name in {*before, *after} if name not in before or name not in after}
    assert changed == {"face"}
    assert encoder.projectors["face"].linear.in_features == 384
    assert all(torch.equal(after[name], x) for name, x in before.items() if ".face." not in name)


def test_replace_with_dinov2_refuses_a_stream_that_there_is_not(build):
    with pytest.raises(ValueError, match=r"'mouth' is not in the encoder; it has face, left_hand"):
        replace_with_dinov2(
            build().encoder, streams=["mouth"], model_name="vit_small_patch14_dinov2", img_size=28, weights=None,
            frozen=True,
        )  # fmt: skip
