"""The encoder: backbones, projectors, fusion and temporal encoder in order: streams -> (B, T', D).

Shape letters: B clips, T frames, T' frames after downsampling, F backbone width, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn


class MultiStreamEncoder(nn.Module):
    """Turns the streams of a batch of clips into one sequence of vectors a clip.

    Args:
        backbones: stream name -> module with `num_features` and forward(x, seen) -> (B, T, F).
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
        self.streams = tuple(backbones)
        self.owner = {name: tied.get(name, name) for name in backbones}
        own = {name: module for name, module in backbones.items() if name not in tied}
        self.backbones = nn.ModuleDict(own)
        self.make_projector = projector
        self.projectors = nn.ModuleDict({name: projector(num_features=own[name].num_features) for name in own})
        self.fusion = fusion(streams=self.streams)
        self.temporal = temporal

    def replace_backbone(self, name: str, backbone: nn.Module) -> None:
        """Give a stream another backbone, and a new projector of its width."""
        self.backbones[name] = backbone
        self.projectors[name] = self.make_projector(num_features=backbone.num_features)

    def forward(
        self, streams: Mapping[str, Tensor], seen: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Name -> (B, T, ...), name -> (B, T) bool and (B, T) bool frames -> (B, T', D) and its (B, T') bool mask."""
        seen = {name: seen[name] & frames for name in self.streams}
        projected = {}
        for name in self.streams:
            owner = self.owner[name]
            x = streams[name] if owner == name else streams[name].flip(-1)
            projected[name] = self.projectors[owner](self.backbones[owner](x, seen[name]))
        return self.temporal(self.fusion(projected, seen), frames)
