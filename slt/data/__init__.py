"""Corpora on disk -> `Sample` -> `Batch` of padded tensors and masks."""

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
