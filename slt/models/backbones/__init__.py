"""Backbones, the first stage of the model: a stream of frames in, a feature vector a frame out.

A backbone is any module with `num_features` and `forward(x, seen)`, (B, T, ...) and (B, T) -> (B, T, F): B clips,
T frames, F backbone width. One with a `stride` gives ceil(T / stride) positions instead of T; one with `widths` says
how many of the F are each part's own, in their order.
"""

from slt.models.backbones.dsta import KeypointAttention
from slt.models.backbones.features import FeatureBackbone
from slt.models.backbones.images import (
    ConvSmall,
    ImageBackbone,
    TimmBackbone,
    ViTLight,
    ViTSmallPatch16,
    load_dinov2_backbone,
    replace_with_dinov2,
)
from slt.models.backbones.pose import PointBackbone, PoseMLP
from slt.models.backbones.stgcn import SkeletonGraph
from slt.models.backbones.weights import check_stream, form_of, pretrained_about

__all__ = [
    "ConvSmall",
    "FeatureBackbone",
    "ImageBackbone",
    "KeypointAttention",
    "PointBackbone",
    "PoseMLP",
    "SkeletonGraph",
    "TimmBackbone",
    "ViTLight",
    "ViTSmallPatch16",
    "check_stream",
    "form_of",
    "load_dinov2_backbone",
    "pretrained_about",
    "replace_with_dinov2",
]
