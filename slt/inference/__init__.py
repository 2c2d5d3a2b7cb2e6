"""A trained translator at work: an exported folder, live frames, captions; without torch but for checkpoints."""

from slt.inference.onnx import Hypothesis, Inputs, OnnxTranslator, SentenceTranslator

__all__ = ["Hypothesis", "Inputs", "OnnxTranslator", "SentenceTranslator"]
