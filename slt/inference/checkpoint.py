"""Translators with torch: an exported folder's TorchScript encoder, and a checkpoint as it was trained.

Both follow `slt.inference.onnx.SentenceTranslator`, so that the demo and the parity tests ask all alike.
Shape letters: B clips, T frames, T' frames after the temporal encoder, L tokens.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt.files import rebuilding
from slt.inference.onnx import Encoded, Hypothesis, Inputs, OnnxTranslator, asked, check_inputs, pad_clips
from slt.models.search import Found
from slt.models.tokenizer import decode
from slt.models.trained import Trained
from slt.training.machine import Compute


def load_torchscript(path: Path, device: torch.device) -> Any:
    """Opens a TorchScript file.

    Raises:
        ValueError: one that is damaged.
    """
    with rebuilding(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit")
        with zipfile.ZipFile(path) as archive:  # of ours only the code is compressed
            if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**26:
                raise ValueError("it unpacks to far more than its own size")
        return torch.jit.load(str(path), map_location=device)


class TorchScriptTranslator(OnnxTranslator):
    """An exported folder whose encoder runs in torch, on a GPU where there is one; its decoder runs in onnxruntime.

    Args:
        folder: as `python -m slt.export` writes it.
        device: of the encoder.
        options: of `OnnxTranslator`, for the decoder.

    Raises:
        FileNotFoundError, ValueError: see `OnnxTranslator`.
    """

    def __init__(self, folder: Path | str, *, device: torch.device | str = "cpu", **options: Any) -> None:
        super().__init__(folder, **options)
        self.device = torch.device(device)
        self.encoder = load_torchscript(self.folder / f"encoder_{self.manifest.name}.ts", self.device)
        self._inputs = [tensor.name for tensor in self.manifest.graphs["encoder"].inputs]
        del self._sessions["encoder"]

    def encode(self, clips: Sequence[Inputs]) -> Encoded:
        """Run the encoder on B clips, and what of the decoder depends on them alone."""
        for clip in clips:
            check_inputs(clip, self.streams, self.max_frames)
        arrays = pad_clips(clips, self.streams)
        with rebuilding(self.folder / f"encoder_{self.manifest.name}.ts"), torch.inference_mode():
            memory, present = self.encoder(*(torch.from_numpy(arrays[name]).to(self.device) for name in self._inputs))
        names = [output.name for output in self.manifest.graphs["cross"].outputs]
        found = self._sessions["cross"].run(names, {"memory": memory.cpu().numpy()})
        return Encoded(dict(zip(names, found, strict=True)), present.cpu().numpy())


class CheckpointTranslator:
    """A run as it was trained and evaluated: the same model, precision and search.

    Args:
        trained: the rebuilt checkpoint; its model is moved to `device`.
        device: of the model.
        precision: fp32, bf16 or fp16; None = as trained.

    Attributes:
        streams, fps, max_frames, extractor: see `SentenceTranslator`.
    """

    def __init__(self, trained: Trained, *, device: torch.device | str = "cpu", precision: str | None = None) -> None:
        self.trained, self.device = trained, torch.device(device)
        self.precision = precision or trained.precision
        self.translator = trained.translator.to(self.device).eval()
        self.streams, self.fps, self.max_frames = trained.streams, trained.fps, trained.max_frames
        self.extractor = trained.extractor

    def translate(self, clip: Inputs, **options: Any) -> list[Hypothesis]:
        """Return the sentences of a clip, best first; options as in `write`."""
        return self.translate_batch([clip], **options)[0]

    def translate_batch(self, clips: Sequence[Inputs], **options: Any) -> list[list[Hypothesis]]:
        """Return the sentences of each of B clips, best first."""
        return self.write(self.encode(clips), **options) if clips else []

    @torch.inference_mode()
    def encode(self, clips: Sequence[Inputs]) -> tuple[Tensor, Tensor]:
        """Run the encoder on B clips -> (B, T', D) and the (B, T') bool mask.

        Raises:
            ValueError: a stream that is missing, not known, or of another shape or type than the encoder reads.
        """
        for clip in clips:
            check_inputs(clip, self.streams, self.max_frames)
        arrays = {name: torch.from_numpy(x).to(self.device) for name, x in pad_clips(clips, self.streams).items()}
        streams = {stream.name: arrays[stream.name] for stream in self.streams}
        seen = {stream.name: arrays[f"seen_{stream.name}"] for stream in self.streams}
        with Compute(self.device, self.precision).autocast():
            memory, present = self.translator.encoder(streams, seen, arrays["frames"])
        return memory, present

    @torch.inference_mode()
    def write(
        self,
        encoded: tuple[Tensor, Tensor],
        *,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Search the sentences of B encoded clips, best first; what is None is as in the evaluation of training.

        Raises:
            ValueError: `nbest` above `num_beams`.
        """
        options = asked(
            self.trained.search, num_beams=num_beams, length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens
        )
        with Compute(self.device, self.precision).autocast():
            found = self.translator.decoder.generate(*encoded, options)
        return [
            [Hypothesis(text, one.score, one.ids) for text, one in zip(self._texts(sentences), sentences, strict=True)]
            for sentences in found
        ]

    def _texts(self, sentences: Sequence[Found]) -> list[str]:
        return decode(self.trained.tokenizer, [one.ids for one in sentences])
