"""The model: backbones, projectors, fusion, temporal encoder, decoder, translator."""

from slt.models.backbones import (
    ConvSmall,
    FeatureBackbone,
    PoseMLP,
    TimmBackbone,
    ViTLight,
    ViTSmallPatch16,
    load_dinov2_backbone,
    replace_with_dinov2,
)
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.fusion import FuseConcatLinear, FuseGated, FuseMean
from slt.models.multistream import MultiStreamEncoder
from slt.models.projector import StreamProjector
from slt.models.temporal import TransformerTemporal
from slt.models.translator import Translator

__all__ = [
    "ConvSmall",
    "FeatureBackbone",
    "FuseConcatLinear",
    "FuseGated",
    "FuseMean",
    "MultiStreamEncoder",
    "PoseMLP",
    "StreamProjector",
    "TextSeq2SeqDecoder",
    "TimmBackbone",
    "TransformerTemporal",
    "Translator",
    "ViTLight",
    "ViTSmallPatch16",
    "load_dinov2_backbone",
    "replace_with_dinov2",
]
