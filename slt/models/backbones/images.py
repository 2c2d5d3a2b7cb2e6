"""Image networks over crops, one picture a frame.

Shape letters: B clips, T frames, R crop side, F backbone width, N = frames seen in the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slt.models.attention import mixed_precision
from slt.models.backbones.fast import quicken
from slt.models.backbones.seen import on_seen
from slt.models.backbones.weights import load_file
from slt.text import near

if TYPE_CHECKING:
    from slt.models.multistream import MultiStreamEncoder


class ImageBackbone(nn.Module):
    """A per-frame image network with its normalisation: (B, T, 3, R, R) uint8 -> (B, T, F).

    Crops stay uint8 until here (a quarter of the memory traffic of float32), and the mean and standard deviation
    belong to the weights, so they live beside them.

    Args:
        network: (N, 3, R, R) float -> (N, F).
        num_features: F.
        mean, std: of the three channels of a picture in [0, 1].
        frozen: no gradient reaches the network, and it stays in evaluation mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, *, num_features: int, mean: Sequence[float], std: Sequence[float], frozen: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.frozen = frozen
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255.0, persistent=False)
        self.together = not frozen and any(isinstance(part, _BatchNorm) for part in network.modules())
        if frozen:
            self.network.requires_grad_(False)
            self.network.eval()

    def train(self, mode: bool = True) -> ImageBackbone:
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, 3, R, R) uint8 crops and (B, T) seen -> (B, T, F)."""
        return on_seen(self._features, x, seen, together=self.together)

    def fast_form(self) -> ImageBackbone:
        """Return a copy that gives the same numbers, faster in onnxruntime if it is a vision transformer."""
        form = copy.deepcopy(self)
        quicken(form.network)
        return form

    def normalise(self, crops: Tensor) -> Tensor:
        """(N, 3, R, R) uint8 crops -> what the network computes with, in its precision."""
        dtype = mixed_precision(crops.device) or self.mean.dtype
        # Arithmetic first, in one precision and channel by channel, then the layout: six times as fast on a CPU.
        pictures = crops.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)
        return pictures.to(dtype).contiguous(memory_format=torch.channels_last)

    def _features(self, crops: Tensor) -> Tensor:
        """(N, 3, R, R) uint8 -> (N, F)."""
        pictures = self.normalise(crops)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.network(pictures)


class ConvSmall(ImageBackbone):
    """A small convolutional network for crops of 32 to 96 pixels, made to train on two CPU cores.

    A stem of patches that do not overlap, then 3x3 convolutions that halve the side, with group normalisation (no
    statistics across frames, so padding and the company in a batch cannot leak). What is left of the picture is
    flattened, not pooled: a crop is centred, so where a finger is tells the handshape. `widths` are channels after the
    stem and after each halving.
    """

    def __init__(
        self,
        *,
        img_size: int,
        widths: Sequence[int],
        patch_size: int,
        dropout: float,
        weights: str | None,
        frozen: bool,
    ) -> None:
        side = img_size // patch_size
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], patch_size, stride=patch_size), nn.ReLU()]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
            side = (side + 1) // 2
        if not 1 <= side <= 6:
            raise ValueError(
                f"ConvSmall: crops of {img_size} pixels leave {side} x {side} places after {len(widths) - 1} halvings; "
                "expected 1 to 6 a side: set the size of the dataset's crops to 32 to 96, or give more widths"
            )
        network = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout))
        load_file(network, weights)
        features = side * side * widths[-1]
        super().__init__(network, num_features=features, mean=(0.5,) * 3, std=(0.25,) * 3, frozen=frozen)


class ViTLight(ImageBackbone):
    """A small ViT (Dosovitskiy et al. 2021) of a form of one's own, for small crops."""

    def __init__(
        self,
        *,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        weights: str | None,
        frozen: bool,
    ) -> None:
        if img_size % patch_size:
            raise ValueError(f"img_size={img_size}: this ViT has patches of {patch_size} pixels; take a multiple")
        network = timm.models.VisionTransformer(
            img_size=img_size, patch_size=patch_size, embed_dim=embed_dim, depth=depth, num_heads=num_heads,
            num_classes=0,
        )  # fmt: skip
        load_file(network, weights)
        super().__init__(network, num_features=embed_dim, mean=(0.5,) * 3, std=(0.25,) * 3, frozen=frozen)


class ViTSmallPatch16(ImageBackbone):
    """ViT-S/16 (Dosovitskiy et al. 2021; width 384, depth 12, 6 heads, as DeiT-S)."""

    def __init__(self, *, img_size: int, weights: str | None, frozen: bool) -> None:
        if img_size % 16:
            raise ValueError(f"img_size={img_size}: ViT-S/16 has patches of 16 pixels; take crops of a multiple")
        network: Any = timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=0, img_size=img_size)
        load_file(network, weights)
        super().__init__(network, num_features=network.num_features, **_normalisation(network), frozen=frozen)


class TimmBackbone(ImageBackbone):
    """Any timm model by name, pooled to one vector per frame.

    Args:
        model_name: timm's name, for example `resnet18` or `vit_small_patch14_dinov2.lvd142m`.
        weights: None for random weights, `timm` for the published ones (timm downloads them), or a local file.
        options: further keyword arguments of `timm.create_model`, for example `{img_size: 96}`.
    """

    def __init__(self, *, model_name: str, weights: str | None, options: Mapping[str, Any], frozen: bool) -> None:
        if not timm.is_model(model_name):
            hint = near(model_name.split(".")[0], timm.list_models(), most=3)
            raise ValueError(f"model_name={model_name!r} is not a timm model{hint}")
        try:
            network: Any = timm.create_model(model_name, pretrained=weights == "timm", num_classes=0, **options)
        except (TypeError, RuntimeError) as error:  # an option that it does not take, a tag that there is not
            raise ValueError(f"model_name={model_name!r}, options={dict(options)}: {error}") from error
        load_file(network, None if weights == "timm" else weights)
        super().__init__(network, num_features=network.num_features, **_normalisation(network), frozen=frozen)

    def _features(self, crops: Tensor) -> Tensor:
        try:
            return super()._features(crops)
        except AssertionError as error:  # timm's way of refusing a picture's size
            raise ValueError(
                f"{type(self.network).__name__} cannot take crops of {crops.shape[-1]} pixels ({error}); "
                "set the stream's size, or options={img_size: ...} of the backbone"
            ) from error


def load_dinov2_backbone(*, model_name: str, img_size: int, weights: str | None, frozen: bool) -> TimmBackbone:
    """Make a DINOv2 ViT (Oquab et al. 2023) for crops of `img_size` pixels; position embeddings are interpolated to it.

    `weights` are as in `TimmBackbone`; a local file may have timm's names or those of the DINOv2 release.
    """
    if img_size % 14:
        raise ValueError(f"img_size={img_size}: a DINOv2 ViT has patches of 14 pixels; take a multiple, such as 224")
    return TimmBackbone(
        model_name=model_name, weights=weights, options={"img_size": img_size, "dynamic_img_size": True}, frozen=frozen
    )


def replace_with_dinov2(
    encoder: MultiStreamEncoder,
    *,
    streams: Sequence[str],
    model_name: str,
    img_size: int,
    weights: str | None,
    frozen: bool,
) -> None:
    """Give streams of an encoder DINOv2 backbones and new projectors, in place; all other weights stay."""
    for name in streams:
        if name not in encoder.backbones:
            raise ValueError(f"stream {name!r} is not in the encoder; it has {', '.join(encoder.backbones)}")
        backbone = load_dinov2_backbone(model_name=model_name, img_size=img_size, weights=weights, frozen=frozen)
        encoder.replace_backbone(name, backbone)


def _normalisation(network: nn.Module) -> dict[str, tuple[float, ...]]:
    config = timm.data.resolve_data_config({}, model=network)
    return {"mean": config["mean"], "std": config["std"]}
