"""A trained translator at work: an exported folder, live frames, captions; without torch but for checkpoints.

Names are imported when they are asked for: the configuration knows `settings` alone.
"""

from importlib import import_module
from typing import Any

__all__ = ["Hypothesis", "Inputs", "OnnxTranslator", "SentenceTranslator"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("slt.inference.onnx"), name)
    raise AttributeError(f"module 'slt.inference' has no attribute {name!r}")
