"""The encoder: backbones, projectors, fusion and temporal encoder in order: streams -> (B, T', D).

Shape letters: B clips, T frames, T' frames after downsampling, F backbone width, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from slt.models.backbones.seen import shortened


class MultiStreamEncoder(nn.Module):
    """Turns the streams of a batch of clips into one sequence of vectors a clip.

    Args:
        backbones: stream name -> module with `num_features` and forward(x, seen) -> (B, T, F). One with a `stride`
            gives ceil(T / stride) positions; then all must, for a fusion is of streams at one rate.
        projector, fusion: make a projector of `num_features`, and the fusion of the stream names.
        temporal: the temporal encoder.
        tied: stream -> stream whose backbone and projector it shares, its crops mirrored on the way in: a right hand
            seen in a mirror is a left hand, so both teach one network.
    """

    def __init__(
        self,
        *,
        backbones: Mapping[str, nn.Module],
        projector: Callable[..., nn.Module],
        fusion: Callable[..., nn.Module],
        temporal: nn.Module,
        tied: Mapping[str, str],
    ) -> None:
        super().__init__()
        for name, owner in tied.items():
            if owner not in backbones or owner in tied:
                raise ValueError(
                    f"tied.{name}={owner}: {owner!r} has no backbone of its own (streams: {', '.join(backbones)}); "
                    f"tie it to another, or give it its own with tied.{name}=null"
                )
        rates = {name: getattr(backbone, "stride", 1) for name, backbone in backbones.items()}
        if len({*rates.values()}) > 1:
            kept = ", ".join(f"{name} one in {rate}" for name, rate in rates.items())
            raise ValueError(f"streams are fused at one rate, but of their frames backbones keep {kept}; drop some")
        self.shortening = max(rates.values(), default=1)
        self.streams = tuple(backbones)
        self.owner = {name: tied.get(name, name) for name in backbones}
        own = {name: module for name, module in backbones.items() if name not in tied}
        self.backbones = nn.ModuleDict(own)
        self.make_projector = projector
        self.projectors = nn.ModuleDict({name: projector(num_features=own[name].num_features) for name in own})
        self.fusion = fusion(streams=self.streams)
        self.temporal = temporal

    @property
    def stride(self) -> int:
        """Of how many frames one position is left."""
        temporal: Any = self.temporal
        return self.shortening * int(temporal.stride)

    def length(self, frames: int) -> int:
        """Return how many positions are left of a clip of so many frames."""
        temporal: Any = self.temporal
        return int(temporal.length(-(-frames // self.shortening)))

    def width(self, name: str) -> int:
        """F, of what a stream's backbone gives."""
        backbone: Any = self.backbones[self.owner[name]]
        return int(backbone.num_features)

    def shortened(self, mask: Tensor, length: int) -> Tensor:
        """(B, T) bool -> (B, length) of what the backbones leave of T frames."""
        return mask if self.shortening == 1 else shortened(mask, length, self.shortening)

    def replace_backbone(self, name: str, backbone: nn.Module) -> None:
        """Give a stream another backbone, and a new projector of its width."""
        self.backbones[name] = backbone
        self.projectors[name] = self.make_projector(num_features=backbone.num_features)

    def forward(
        self,
        streams: Mapping[str, Tensor],
        seen: Mapping[str, Tensor],
        frames: Tensor,
        features: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Name -> (B, T, ...), name -> (B, T) bool and (B, T) bool frames -> (B, T', D) and its (B, T') bool mask.

        A dict that is given for `features` gets what the backbones gave, name -> (B, ceil(T / stride), F).
        """
        seen = {name: seen[name] & frames for name in self.streams}
        given = {}
        for name in self.streams:
            owner = self.owner[name]
            x = streams[name] if owner == name else streams[name].flip(-1)
            given[name] = self.backbones[owner](x, seen[name])
        if features is not None:
            features |= given
        projected = {name: self.projectors[self.owner[name]](x) for name, x in given.items()}
        length = given[self.streams[0]].shape[1]
        seen = {name: self.shortened(mask, length) for name, mask in seen.items()}
        frames = self.shortened(frames, length)
        return self.temporal(self.fusion(projected, seen), frames)
