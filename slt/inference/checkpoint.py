"""Translators with torch: an exported folder's TorchScript encoder, and a checkpoint as it was trained.

Shape letters: B clips, T' frames after the temporal encoder, D its width.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt.files import rebuilding
from slt.inference.onnx import Array, Hypothesis, Inputs, OnnxTranslator, SentenceTranslator
from slt.models.tokenizer import decode
from slt.models.trained import Trained
from slt.training.machine import Compute


def load_torchscript(path: Path, device: torch.device) -> Any:
    """Open a TorchScript file; ValueError where it is damaged."""
    with rebuilding(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit")
        with zipfile.ZipFile(path) as archive:  # of ours only the code is compressed
            if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**26:
                raise ValueError("it unpacks to far more than its own size")
        return torch.jit.load(str(path), map_location=device)


class TorchScriptTranslator(OnnxTranslator):
    """An exported folder whose encoder runs in torch, on a GPU where there is one; its decoder runs in onnxruntime.

    Args:
        folder, options: of `OnnxTranslator`.
        device: of the encoder.
    """

    def __init__(self, folder: Path | str, *, device: torch.device | str = "cpu", **options: Any) -> None:
        super().__init__(folder, **options)
        self.device = torch.device(device)
        self.encoder = load_torchscript(self.folder / f"encoder_{self.manifest.name}.ts", self.device)
        self._inputs = [tensor.name for tensor in self.manifest.graphs["encoder"].inputs]
        del self._sessions["encoder"]

    def _memory(self, given: Mapping[str, Array]) -> tuple[Array, Array]:
        with rebuilding(self.folder / f"encoder_{self.manifest.name}.ts"), torch.inference_mode():
            memory, present = self.encoder(*(torch.from_numpy(given[name]).to(self.device) for name in self._inputs))
        return memory.cpu().numpy(), present.cpu().numpy()


class CheckpointTranslator(SentenceTranslator):
    """A run as it was trained and evaluated: the same model, precision and search.

    Args:
        trained: the rebuilt checkpoint; its model is moved to `device`.
        device: of the model.
        precision: fp32, tf32, bf16 or fp16; None = as trained.
    """

    def __init__(self, trained: Trained, *, device: torch.device | str = "cpu", precision: str | None = None) -> None:
        self.trained, self.device = trained, torch.device(device)
        self.compute = Compute(self.device, precision or trained.precision)
        self.translator = trained.translator.to(self.device).eval()
        self.streams, self.search, self.extractor = trained.streams, trained.search, trained.extractor
        self.fps, self.max_frames = trained.fps, trained.max_frames
        self.reads_context = self.translator.reads_context

    @torch.inference_mode()
    def encode(self, clips: Sequence[Inputs]) -> tuple[Tensor, Tensor]:
        """Run the encoder on B clips -> (B, T', D) and the (B, T') bool mask."""
        streams, seen, frames = self.padded(clips)
        made = [{name: torch.from_numpy(x).to(self.device) for name, x in each.items()} for each in (streams, seen)]
        with self.compute.autocast():
            memory, present = self.translator.encoder(*made, torch.from_numpy(frames).to(self.device))
        return memory, present

    def write(
        self, encoded: tuple[Tensor, Tensor], *, contexts: Sequence[str] | None = None, **options: Any
    ) -> list[list[Hypothesis]]:
        """Search the sentences of B clips; of a decoder that reads them, `contexts` are the B sentences before."""
        wanted = self.asked(**options)
        decoder: Any = self.translator.decoder
        told = {"context": decoder.context(contexts or [""] * len(encoded[0]))} if self.reads_context else {}
        with torch.inference_mode(), self.compute.autocast():
            found = decoder.generate(*encoded, wanted, **told)
        texts = [decode(self.trained.tokenizer, [one.ids for one in sentences]) for sentences in found]
        return [
            [Hypothesis(text, one.score, one.ids) for text, one in zip(said, sentences, strict=True)]
            for said, sentences in zip(texts, found, strict=True)
        ]
