"""Corpora on disk -> `Sample` -> `Batch` of padded tensors and masks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slt.data.batch import Batch, Collate, LengthBatches, Sample, collate
    from slt.data.lsa_t import Augment, LsaTMultiStream
    from slt.data.streams import Crops, Features, Landmarks

__all__ = [
    "Augment",
    "Batch",
    "Collate",
    "Crops",
    "Features",
    "Landmarks",
    "LengthBatches",
    "LsaTMultiStream",
    "Sample",
    "collate",
]

_MODULES = {
    "slt.data.batch": ("Batch", "Collate", "LengthBatches", "Sample", "collate"),
    "slt.data.lsa_t": ("Augment", "LsaTMultiStream"),
    "slt.data.streams": ("Crops", "Features", "Landmarks"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: these need torch, and each process that extracts films does without its 400 MB."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'slt.data' has no attribute {name!r}")
