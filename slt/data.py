"""Names of the corpus readers as configurations and notebooks know them; each stands in the room that it belongs to."""

from slt.corpora.clips import Augment, Clips
from slt.corpora.folder import LsaTMultiStream
from slt.corpora.mixture import Mixture
from slt.streams.batch import Batch, Collate, LengthBatches, collate
from slt.streams.crops import Crops
from slt.streams.features import Features
from slt.streams.pictures import Pictures
from slt.streams.pose import Landmarks
from slt.streams.sample import Sample

__all__ = [
    "Augment",
    "Batch",
    "Clips",
    "Collate",
    "Crops",
    "Features",
    "Landmarks",
    "LengthBatches",
    "LsaTMultiStream",
    "Mixture",
    "Pictures",
    "Sample",
    "collate",
]
