"""The model: backbones, projectors, fusion, temporal encoder, decoder, translator.

Names are imported when they are asked for: an exported folder runs on `search` and `signature`, without torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "backbones": (
        "ConvSmall", "FeatureBackbone", "KeypointAttention", "PointBackbone", "PoseMLP", "SkeletonGraph",
        "TimmBackbone", "ViTLight", "ViTSmallPatch16", "load_dinov2_backbone", "replace_with_dinov2",
    ),
    "causal": ("CausalDecoder",),
    "decoder": ("AdaptedSeq2SeqDecoder", "MT5Decoder", "TextSeq2SeqDecoder"),
    "fusion": ("FuseConcatLinear", "FuseCrossAttention", "FuseGated", "FuseMean", "FuseSingle"),
    "multistream": ("MultiStreamEncoder",),
    "projector": ("LinearGelu", "LinearProjector", "StreamProjector"),
    "temporal": (
        "BiGRUTemporal", "BiLSTMTemporal", "ConformerTemporal", "ConvTemporal", "NoTemporal", "TransformerTemporal",
        "VisualHeadTemporal",
    ),
    "translator": ("Translator",),
}  # fmt: skip
__all__ = [name for names in _MODULES.values() for name in names]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"slt.models.{module}"), name)
    raise AttributeError(f"module 'slt.models' has no attribute {name!r}")
