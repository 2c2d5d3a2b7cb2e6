"""Names that parts of the suite had before: recipes and checkpoints that say them keep working."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any

MOVED = {
    "slt.data.landmarks.MediaPipeLandmarker": "slt.extraction.landmarks.MediaPipeLandmarker",
    "slt.data.lsa_t.LsaTMultiStream": "slt.data.LsaTMultiStream",
    "slt.data.rois.Extractor": "slt.extraction.regions.Extractor",
    "slt.data.streams.Crops": "slt.data.Crops",
    "slt.data.streams.Features": "slt.data.Features",
    "slt.data.streams.Landmarks": "slt.data.Landmarks",
    "slt.text.load_tokenizer": "slt.models.tokenizer.load_tokenizer",
    "slt.text.train_tokenizer": "slt.models.tokenizer.train_tokenizer",
}


def rename_targets(cfg: Any) -> None:
    """Puts today's name in place of each `_target_` of before, at any depth; `???` and interpolations stay."""
    for node in _mappings(cfg):
        name = node.get("_target_")
        if name in MOVED:
            node["_target_"] = MOVED[name]


def _mappings(node: Any) -> Iterator[MutableMapping[Any, Any]]:
    if isinstance(node, MutableMapping):
        yield node
        for key in [*node]:
            yield from _mappings(_child(node, key))
    elif isinstance(node, MutableSequence):
        for place in range(len(node)):
            yield from _mappings(_child(node, place))


def _child(node: Any, key: Any) -> Any:
    """A value as it is written, unresolved: only containers are looked into."""
    look = getattr(node, "_get_node", node.__getitem__)
    return look(key)
