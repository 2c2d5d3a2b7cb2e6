"""Translators with torch: an exported folder's TorchScript encoder, and a checkpoint as it was trained.

Shape letters: B clips, T' frames after the temporal encoder, D its width.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt.files import rebuilding
from slt.inference.onnx import Array, Hypothesis, Inputs, Look, OnnxTranslator, SentenceTranslator, feeds
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

    def _memory(self, padded: tuple[dict[str, Array], dict[str, Array], Array]) -> tuple[Array, Array]:
        given = feeds(*padded)
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
        self.fps, self.max_frames, self.confidence = trained.fps, trained.max_frames, trained.confidence
        self.reads_context = self.translator.reads_context

    def _memory(self, padded: tuple[dict[str, Array], dict[str, Array], Array]) -> tuple[Array, Array]:
        memory, present = self._encoded(padded)
        return memory.float().cpu().numpy(), present.cpu().numpy()

    def encode(self, clips: Sequence[Inputs]) -> tuple[Tensor, Tensor, list[Look]]:
        """Run the encoder on B clips -> (B, T', D), the (B, T') bool mask, and how much was seen of each."""
        padded = self.padded(clips)
        return *self._encoded(padded), Look.all(*padded[1:])

    @torch.inference_mode()
    def _encoded(self, padded: tuple[dict[str, Array], dict[str, Array], Array]) -> tuple[Tensor, Tensor]:
        streams, seen, frames = padded
        shown, marks = (
            {name: torch.from_numpy(x).to(self.device) for name, x in each.items()} for each in (streams, seen)
        )
        with self.compute.autocast():
            return self.translator.read(shown, marks, torch.from_numpy(frames).to(self.device))

    def write(
        self,
        encoded: tuple[Tensor, Tensor, list[Look]],
        *,
        contexts: Sequence[str] | None = None,
        **options: Any,
    ) -> list[list[Hypothesis]]:
        """Search the sentences of B clips; of a decoder that reads them, `contexts` are the B sentences before."""
        wanted = self.asked(**options)
        decoder: Any = self.translator.decoder
        told = {"context": decoder.context(contexts or [""] * len(encoded[0]))} if self.reads_context else {}
        with torch.inference_mode(), self.compute.autocast():
            found = decoder.generate(*encoded[:2], replace(wanted, nbest=None), **told)
        texts = [decode(self.trained.tokenizer, [one.ids for one in sentences]) for sentences in found]
        return self.hypotheses(found, texts, encoded[2], wanted)
