"""Names of the corpus readers as configurations and notebooks know them; each stands in the room that it belongs to."""

from slt.corpora.folder import Augment, LsaTMultiStream
from slt.streams.batch import Batch, Collate, LengthBatches, Sample, collate
from slt.streams.readers import Crops, Features, Landmarks

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
