"""Views of crops for self-distillation: cut, turned, recoloured, blurred, covered; a whole batch at once.

Shape letters: N crops, V views of the whole, W smaller views, R side of the source, r side of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Views:
    """A batch.

    Attributes:
        whole: uint8 (V, N, 3, r, r), nearly all of the crop; student and teacher see them.
        parts: uint8 (W, N, 3, r', r'), smaller cuts; the student alone sees them.
        clip: int64 (N,), which clip and stream a crop is of.
        time: float32 (N,), when in its clip, seconds.
    """

    whole: Tensor
    parts: Tensor
    clip: Tensor
    time: Tensor

    def __len__(self) -> int:
        """Crops N."""
        return self.whole.shape[1]

    def to(self, device: torch.device) -> Views:
        """The same on a device."""
        return Views(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def pin_memory(self) -> Views:
        """The same in memory that a GPU can fetch from."""
        return Views(*(getattr(self, field.name).pin_memory() for field in fields(self)))


class Draws(torch.Generator):
    """A generator for some crops of a batch, which get what they would get among all of them.

    Attributes:
        count: crops of the whole batch.
        mine: which of them are drawn for.
    """

    count: int
    mine: slice


class CropViews:
    """Draws views of face and hand crops.

    Made for crops that are centred already: no view is so small that the handshape is gone, nothing is mirrored unless
    asked for (a mirrored hand is the other hand, a mirrored face another brow), and colours vary as skin, clothes and
    cameras do rather than over the whole wheel.

    Args:
        views: V, at least 2; side r.
        size: side r of the whole views, in pixels.
        scale: least and greatest share of the crop's area in a whole view.
        parts: W, may be 0.
        part_size: side r' in pixels.
        part_scale: share of the area in a part.
        turn: greatest turn, degrees.
        stretch: greatest change of a view's form, as a share.
        flip: probability of a mirrored view.
        brightness, contrast, saturation: greatest change, as a share.
        tint: greatest change of each channel's gain, as a share: skin, light and white balance.
        grey: probability of a view without colour.
        invert: probability of a view as a negative: a dark hand before light clothes as a light one before dark.
        blur: probability of a blurred view, and `blur_sigma`, least and greatest, in shares of the side.
        cover: probability that a rectangle of a view is covered by one colour, and `cover_share`, its area at most.
    """

    def __init__(
        self,
        *,
        views: int,
        size: int,
        scale: Sequence[float],
        parts: int,
        part_size: int,
        part_scale: Sequence[float],
        turn: float,
        stretch: float,
        flip: float,
        brightness: float,
        contrast: float,
        saturation: float,
        tint: float,
        grey: float,
        invert: float,
        blur: float,
        blur_sigma: Sequence[float],
        cover: float,
        cover_share: float,
    ) -> None:
        if views < 2 or parts < 0 or min(size, part_size) < 1:
            raise ValueError(
                "augment: views must be at least 2, parts at least 0 and both sizes at least 1, came "
                f"views={views}, parts={parts}, size={size}, part_size={part_size}"
            )
        for name, (least, most) in {"scale": scale, "part_scale": part_scale, "blur_sigma": blur_sigma}.items():
            if not 0 < least <= most <= 1:
                raise ValueError(
                    f"augment.{name}: expected two shares in (0, 1], the smaller first, came {least}, {most}"
                )
        shares = {
            "flip": flip,
            "grey": grey,
            "invert": invert,
            "blur": blur,
            "cover": cover,
            "cover_share": cover_share,
        }
        shares |= {"brightness": brightness, "contrast": contrast, "saturation": saturation, "tint": tint}
        for name, value in (shares | {"stretch": stretch}).items():
            if not 0 <= value <= 1:
                raise ValueError(f"augment.{name}: expected a number in [0, 1], came {value}")
        self.views, self.size, self.scale = views, size, (scale[0], scale[1])
        self.parts, self.part_size, self.part_scale = parts, part_size, (part_scale[0], part_scale[1])
        self.turn, self.stretch, self.flip = math.radians(turn), stretch, flip
        self.brightness, self.contrast, self.saturation, self.tint = brightness, contrast, saturation, tint
        self.grey, self.blur, self.blur_sigma = grey, blur, (blur_sigma[0], blur_sigma[1])
        self.invert, self.cover, self.cover_share = invert, cover, cover_share

    def __call__(self, crops: Tensor, others: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws views; what is drawn comes from `generator` alone.

        Args:
            crops: (N, 3, R, R) uint8.
            others: the same in other pictures, such as the same hands a moment later: every second view is of these.
            generator: of the draws.

        Returns:
            Views of the whole and parts: (V, N, 3, r, r) and (W, N, 3, r', r'), uint8.
        """
        pictures = (crops.float(), others.float())
        whole = [self._view(pictures[n % 2], self.size, self.scale, generator) for n in range(self.views)]
        parts = [self._view(pictures[n % 2], self.part_size, self.part_scale, generator) for n in range(self.parts)]
        none = torch.zeros(0, len(crops), 3, self.part_size, self.part_size, dtype=torch.uint8)
        return torch.stack(whole), torch.stack(parts) if parts else none

    def _view(self, crops: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
        """One view of each crop, (N, 3, size, size) uint8."""
        view = self._cut(crops, size, scale, generator)
        view = self._colour(view, generator)
        view = self._blur(view, generator)
        return self._cover(view, generator).round_().clamp_(0, 255).byte()

    def _cut(self, crops: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
        count, source = len(crops), crops.shape[-1]
        share, form, angle, x, y, flip = _draw(6, count, generator)
        side = (scale[0] + (scale[1] - scale[0]) * (share + 1) / 2).sqrt()
        stretch = (1 + self.stretch * form).sqrt()
        wide, high = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
        angle, turned = angle * self.turn, torch.where((flip + 1) / 2 < self.flip, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        # Rows of the map from a view's coordinates to the crop's, both in [-1, 1]; a cut lies within the crop.
        rows = [turned * wide * cos, -high * sin, x * (1 - wide), turned * wide * sin, high * cos, y * (1 - high)]
        theta = torch.stack(rows, dim=1).view(count, 2, 3)
        # What shrinks is sampled finer and averaged, or thin fingers would vanish between the samples.
        finer = max(round(source * scale[1] ** 0.5 / size), 1)
        grid = functional.affine_grid(theta, [count, 3, size * finer, size * finer], align_corners=False)
        view = functional.grid_sample(crops, grid, padding_mode="border", align_corners=False)
        return functional.avg_pool2d(view, finer) if finer > 1 else view

    def _colour(self, view: Tensor, generator: torch.Generator) -> Tensor:
        """All changes of colour are linear: each view's are one 3 x 3 matrix and an offset, applied in one pass."""
        draws = _draw(8, len(view), generator)[..., None, None]  # (8, N, 1, 1)
        saturation = torch.where((draws[0] + 1) / 2 < self.grey, 0.0, 1 + self.saturation * draws[1])
        matrix = saturation * torch.eye(3) + (1 - saturation) * torch.full((3, 3), 1 / 3)
        matrix = matrix * (1 + self.tint * draws[2:5, :, 0].transpose(0, 1))  # each row's gain
        contrast = 1 + self.contrast * draws[5]
        middle = (matrix @ view.mean(dim=(2, 3))[..., None]).mean(dim=1, keepdim=True)
        offset = (1 - contrast) * middle + 128 * self.brightness * draws[6]
        negative = (draws[7] + 1) / 2 < self.invert
        sign = torch.where(negative, -1.0, 1.0)
        offset = (sign * offset + 255 * negative).expand(-1, 3, -1)
        return torch.baddbmm(offset, sign * contrast * matrix, view.flatten(2)).view_as(view)

    def _blur(self, view: Tensor, generator: torch.Generator) -> Tensor:
        chosen, sigma = (_draw(2, len(view), generator) + 1) / 2
        which = (chosen < self.blur).nonzero().flatten()
        if not len(which):
            return view
        size = view.shape[-1]
        sigma = size * (self.blur_sigma[0] + (self.blur_sigma[1] - self.blur_sigma[0]) * sigma[which])
        reach = min(max(math.ceil(2.5 * size * self.blur_sigma[1]), 1), size - 1)
        places = torch.arange(-reach, reach + 1)
        kernel = (-0.5 * (places / sigma[:, None]) ** 2).exp()
        kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)[:, None]  # (3 n, 1, k)
        flat = view[which].flatten(0, 1)[None]
        for form, edge in (
            (kernel[:, :, :, None], (0, 0, reach, reach)),
            (kernel[:, :, None, :], (reach, reach, 0, 0)),
        ):
            flat = functional.conv2d(functional.pad(flat, edge, mode="replicate"), form, groups=len(kernel))
        view = view.clone()
        view[which] = flat[0].unflatten(0, (-1, 3))
        return view

    def _cover(self, view: Tensor, generator: torch.Generator) -> Tensor:
        chosen, share, form, x, y = (_draw(5, len(view), generator) + 1) / 2
        colour = (_draw(3, len(view), generator).T + 1) / 2 * 255
        area = self.cover_share * share
        wide, high = (area * (0.5 + 1.5 * form)).sqrt().clamp(max=1), (area / (0.5 + 1.5 * form)).sqrt().clamp(max=1)
        places = (torch.arange(view.shape[-1]) + 0.5) / view.shape[-1]
        left, top = x * (1 - wide), y * (1 - high)
        across = (places >= left[:, None]) & (places < (left + wide)[:, None])
        down = (places >= top[:, None]) & (places < (top + high)[:, None])
        inside = (down[:, :, None] & across[:, None, :] & (chosen < self.cover)[:, None, None])[:, None]
        return torch.where(inside, colour[:, :, None, None], view)


def _draw(kinds: int, count: int, generator: torch.Generator) -> Tensor:
    """Even draws from [-1, 1), (kinds, count)."""
    if isinstance(generator, Draws):
        return torch.rand(kinds, generator.count, generator=generator)[:, generator.mine] * 2 - 1
    return torch.rand(kinds, count, generator=generator) * 2 - 1
