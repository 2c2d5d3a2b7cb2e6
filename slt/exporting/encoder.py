"""The encoder in exportable form: streams, seen marks and frames by position -> what the decoder reads.

The models themselves skip frames that were not seen by looking how many there are. Here they are gathered by their
indices, of which there is always at least one, and put back: the same numbers, and a graph of any length.

Shape letters: B clips, T frames, T' frames after the temporal encoder, R crop side, K landmarks, F backbone width,
D model width, H the decoder's hidden size, N frames seen in the batch.
"""

from __future__ import annotations

import copy

import timm
import torch
from torch import Tensor, nn

from slt.exporting.attention import SelfAttentionBlock, key_bias
from slt.exporting.chunks import placeholder
from slt.exporting.families import text_encoder
from slt.exporting.vision import quicken
from slt.models.backbones import FeatureBackbone, ImageBackbone, PoseMLP
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.multistream import MultiStreamEncoder
from slt.models.temporal import TransformerTemporal, sinusoidal_positions
from slt.models.translator import Translator


class PictureNetwork(nn.Module):
    """The network of an image backbone with its normalisation.

    Args:
        backbone: whose network it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ImageBackbone) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone.network)
        quicken(self.network)
        self.folded = fold_normalisation(self.network, backbone.mean, backbone.std)
        self.register_buffer("mean", backbone.mean.detach().clone())
        self.register_buffer("std", backbone.std.detach().clone())

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, R, R) uint8 -> (N, F)."""
        pictures = frames.to(self.mean.dtype)
        return self.network(pictures if self.folded else (pictures - self.mean) / self.std)


class Pictures(nn.Module):
    """An image backbone on the frames seen.

    Args:
        backbone: whose network it is.
        name: of its stream.
    """

    def __init__(self, backbone: ImageBackbone, name: str) -> None:
        super().__init__()
        self.network, self.num_features, self.name = PictureNetwork(backbone), backbone.num_features, name
        self.chunked = isinstance(backbone.network, timm.models.VisionTransformer)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, 3, R, R) uint8 and (B, T) bool -> (B, T, F), zero where not seen."""
        flat = seen.flatten()
        # No network takes an empty batch: where nothing was seen at all the first frame is computed and not used.
        first = torch.arange(flat.shape[0], device=flat.device) == 0
        kept = (flat | (first & ~flat.any())).nonzero().squeeze(1)
        if not torch.jit.is_tracing():
            torch._check(kept.shape[0] >= 1)
        frames = x.flatten(0, 1)[kept]
        if self.chunked and torch.onnx.is_in_onnx_export():
            features = placeholder(frames, self.num_features, self.name)
        else:
            features = self.network(frames)
        # Back to its place: the n-th frame seen is the n-th computed. Cheaper than scattering into zeros.
        features = features[(flat.cumsum(0) - 1).clamp(min=0)]
        return torch.where(flat[:, None], features, 0.0).unflatten(0, seen.shape)


@torch.no_grad()
def fold_normalisation(network: nn.Module, mean: Tensor, std: Tensor) -> bool:
    """Puts the normalisation of pictures into a network's first convolution, in place: three passes over them less.

    Args:
        network: (N, 3, R, R) normalised pictures -> (N, F); afterwards it takes them as they are.
        mean: (3, 1, 1) in the pictures' range.
        std: (3, 1, 1) likewise.

    Returns:
        Whether that could be done: a convolution that pads does so with normalised noughts, whose place in a picture
        as it is would be the mean's.
    """
    first = next(iter(network)) if isinstance(network, nn.Sequential) else None
    if isinstance(network, timm.models.VisionTransformer):
        first = getattr(network.patch_embed, "proj", None)
    if not isinstance(first, nn.Conv2d) or any(first.padding) or first.groups != 1:
        return False
    weight = first.weight / std
    shift = -(weight * mean).sum((1, 2, 3))
    first.weight = nn.Parameter(weight)
    first.bias = nn.Parameter(shift if first.bias is None else first.bias + shift)
    return True


class Poses(nn.Module):
    """The pose backbone on every frame: its network is so small that choosing frames costs more than it saves.

    Args:
        backbone: whose network it is.
    """

    def __init__(self, backbone: PoseMLP) -> None:
        super().__init__()
        self.network = backbone.network

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, K, 3) and (B, T) bool -> (B, T, F), zero where not seen."""
        there = (x[..., 2:] > 0) & seen[..., None, None]
        x = torch.where(there, x, 0.0)
        # The first frame is its own predecessor: its speed is zero, and no length is other than the clip's.
        before = (torch.arange(x.shape[1], device=x.device) - 1).clamp(min=0)
        points = x[..., :2]
        speed = (points - points[:, before]) * (there & there[:, before])
        features = self.network(torch.cat([points, speed, x[..., 2:]], dim=-1).flatten(2))
        return torch.where(seen[..., None], features, 0.0)


def exportable_backbone(backbone: nn.Module, name: str) -> nn.Module:
    """The form of a backbone that computes the same without looking at values.

    Args:
        backbone: of a trained encoder.
        name: of its stream, for the message.

    Raises:
        ValueError: a backbone that is none of the suite's.
    """
    if isinstance(backbone, ImageBackbone):
        return Pictures(backbone, name)
    if isinstance(backbone, PoseMLP):
        return Poses(backbone)
    if isinstance(backbone, FeatureBackbone):
        return backbone
    raise ValueError(
        f"stream {name!r}: {type(backbone).__name__} has no exportable form; add one to slt/exporting/encoder.py "
        "(there are forms of every ImageBackbone, PoseMLP and FeatureBackbone)"
    )


class Temporal(nn.Module):
    """The temporal encoder.

    Args:
        temporal: whose layers these are.
    """

    def __init__(self, temporal: TransformerTemporal) -> None:
        super().__init__()
        self.embed_dim, self.norm_in, self.downsample = temporal.embed_dim, temporal.norm_in, temporal.downsample
        self.layers = nn.ModuleList(SelfAttentionBlock(layer) for layer in temporal.encoder.layers)  # type: ignore[arg-type]
        self.norm = temporal.encoder.norm

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, T) bool -> (B, T', D) and (B, T') bool."""
        x = self.norm_in(x)
        if self.downsample is not None:
            x, frames = self.downsample(x, frames)
        x = x + sinusoidal_positions(x.shape[1], self.embed_dim, x.device).to(x.dtype)
        bias = key_bias(frames)
        for layer in self.layers:
            x = layer(x, bias)
        assert self.norm is not None
        return self.norm(x), frames


class ExportedEncoder(nn.Module):
    """Everything of a translator up to what the decoder's cross-attention reads.

    Args:
        translator: trained.

    Raises:
        ValueError: a backbone, temporal encoder or decoder that has no exportable form.
    """

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        encoder: MultiStreamEncoder = translator.encoder
        decoder: TextSeq2SeqDecoder = translator.decoder
        if not isinstance(encoder.temporal, TransformerTemporal):
            raise ValueError(f"temporal: {type(encoder.temporal).__name__} has no exportable form in slt/exporting")
        self.streams, self.owner = encoder.streams, encoder.owner
        self.backbones = nn.ModuleDict(
            {name: exportable_backbone(module, name) for name, module in encoder.backbones.items()}
        )
        self.projectors, self.fusion = encoder.projectors, encoder.fusion
        self.temporal = Temporal(encoder.temporal)
        self.norm, self.bridge = decoder.norm, decoder.bridge
        self.text_encoder = text_encoder(decoder.model) if decoder.text_encoder else None

    @property
    def input_names(self) -> list[str]:
        """Of the inputs of `forward`, in order."""
        return [*self.streams, *(f"seen_{name}" for name in self.streams), "frames"]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a batch.

        Args:
            inputs: each stream (B, T, ...), then each stream's seen marks (B, T) bool, then frames (B, T) bool.

        Returns:
            (B, T', H) for the cross-attention, and its (B, T') bool mask, True = present.
        """
        count = len(self.streams)
        streams, frames = dict(zip(self.streams, inputs[:count], strict=True)), inputs[-1]
        seen = {name: mask & frames for name, mask in zip(self.streams, inputs[count:-1], strict=True)}
        projected: dict[str, Tensor] = {}
        for owner in self.backbones:
            sharing = [name for name in self.streams if self.owner[name] == owner]
            # Hands that share a backbone go through it together, the other one seen in a mirror.
            x = torch.cat([streams[name] if name == owner else streams[name].flip(-1) for name in sharing])
            found = self.projectors[owner](self.backbones[owner](x, torch.cat([seen[name] for name in sharing])))
            projected |= dict(zip(sharing, found.unflatten(0, (len(sharing), frames.shape[0])), strict=True))
        x, present = self.temporal(self.fusion(projected, seen), frames)
        x = self.bridge(self.norm(x))
        if self.text_encoder is not None:
            x = self.text_encoder(x, present)
        return x, present.clone()  # a graph's output must not be its input
