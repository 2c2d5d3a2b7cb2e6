"""Views of crops for self-distillation: cut, turned, recoloured, blurred, covered; a whole batch at once.

Shape letters: N crops, V views of the whole, W smaller views, R side of the source, r side of a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slt.settings import check_values, not_negative, positive, share


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
        return self.whole.shape[1]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Views:
        return Views(*(change(getattr(self, part.name)) for part in fields(self)))

    def to(self, device: torch.device) -> Views:
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Views:
        return self._each(lambda x: x.pin_memory())


class Draws(torch.Generator):
    """A generator for the crops `mine` of a batch of `count`, which get what they would get among all of them."""

    count: int
    mine: slice


def _range() -> Any:
    fits = {"fits": lambda value: 0 < value[0] <= value[1] <= 1, "expected": "two shares in (0, 1], the smaller first"}
    return field(metadata=fits)


@dataclass(frozen=True, kw_only=True)
class CropViews:
    """Draws views of face and hand crops.

    Made for crops that are centred already: no view is so small that the handshape is gone, nothing is mirrored unless
    asked for (a mirrored hand is the other hand, a mirrored face another brow), and colours vary as skin, clothes and
    cameras do rather than over the whole wheel. Shares lie in [0, 1]; ranges are two numbers in (0, 1].

    Attributes:
        views: V, at least 2, of side `size`.
        scale: least and greatest share of the crop's area in a whole view.
        parts: W, may be 0, of side `part_size` and share of the area `part_scale`.
        turn: greatest turn, degrees.
        stretch: greatest change of a view's form.
        flip, grey, invert, blur, cover: probability of a view that is mirrored, without colour, a negative, blurred,
            or covered in part by one colour.
        brightness, contrast, saturation: greatest change.
        tint: greatest change of each channel's gain: skin, light and white balance.
        blur_sigma: in shares of the side.
        cover_share: area that is covered, at most.
    """

    views: int = field(metadata={"fits": lambda value: value >= 2, "expected": "a number of at least 2"})
    size: int = positive()
    scale: Sequence[float] = _range()
    parts: int = not_negative()
    part_size: int = positive()
    part_scale: Sequence[float] = _range()
    turn: float
    stretch: float = share()
    flip: float = share()
    brightness: float = share()
    contrast: float = share()
    saturation: float = share()
    tint: float = share()
    grey: float = share()
    invert: float = share()
    blur: float = share()
    blur_sigma: Sequence[float] = _range()
    cover: float = share()
    cover_share: float = share()

    def __post_init__(self) -> None:
        check_values(self, "augment")

    def __call__(self, crops: Tensor, others: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, R, R) uint8 -> views of the whole and parts, uint8 (V, N, 3, r, r) and (W, N, 3, r', r').

        Every second view is of `others`, the same in other pictures, such as the same hands a moment later.
        """
        pictures = (crops.float(), others.float())
        whole = [self._view(pictures[n % 2], self.size, self.scale, generator) for n in range(self.views)]
        parts = [self._view(pictures[n % 2], self.part_size, self.part_scale, generator) for n in range(self.parts)]
        none = torch.zeros(0, len(crops), 3, self.part_size, self.part_size, dtype=torch.uint8)
        return torch.stack(whole), torch.stack(parts) if parts else none

    def _view(self, crops: Tensor, size: int, scale: Sequence[float], generator: torch.Generator) -> Tensor:
        view = self._colour(self._cut(crops, size, scale, generator), generator)
        return self._cover(self._blur(view, generator), generator).round_().clamp_(0, 255).byte()

    def _cut(self, crops: Tensor, size: int, scale: Sequence[float], generator: torch.Generator) -> Tensor:
        count, source = len(crops), crops.shape[-1]
        share, form, angle, x, y, flip = _draw(6, count, generator)
        side = (scale[0] + (scale[1] - scale[0]) * (share + 1) / 2).sqrt()
        stretch = (1 + self.stretch * form).sqrt()
        wide, high = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
        angle, mirror = angle * math.radians(self.turn), torch.where((flip + 1) / 2 < self.flip, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        # Rows of the map from a view's coordinates to the crop's, both in [-1, 1]; a cut lies within the crop.
        rows = [mirror * wide * cos, -high * sin, x * (1 - wide), mirror * wide * sin, high * cos, y * (1 - high)]
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
        chance, sigma = (_draw(2, len(view), generator) + 1) / 2
        chosen = (chance < self.blur).nonzero().flatten()
        if not len(chosen):
            return view
        size, (least, most) = view.shape[-1], self.blur_sigma
        sigma = size * (least + (most - least) * sigma[chosen])
        reach = min(max(math.ceil(2.5 * size * most), 1), size - 1)
        places = torch.arange(-reach, reach + 1)
        kernel = (-0.5 * (places / sigma[:, None]) ** 2).exp()
        kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)[:, None]  # (3 n, 1, k)
        flat = view[chosen].flatten(0, 1)[None]
        for form, edge in ((kernel[..., None], (0, 0, reach, reach)), (kernel[:, :, None], (reach, reach, 0, 0))):
            flat = functional.conv2d(functional.pad(flat, edge, mode="replicate"), form, groups=len(kernel))
        view = view.clone()
        view[chosen] = flat[0].unflatten(0, (-1, 3))
        return view

    def _cover(self, view: Tensor, generator: torch.Generator) -> Tensor:
        chance, share, form, x, y = (_draw(5, len(view), generator) + 1) / 2
        colour = (_draw(3, len(view), generator).T + 1) / 2 * 255
        area, stretch = self.cover_share * share, 0.5 + 1.5 * form
        wide, high = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
        places = (torch.arange(view.shape[-1]) + 0.5) / view.shape[-1]
        left, top = x * (1 - wide), y * (1 - high)
        across = (places >= left[:, None]) & (places < (left + wide)[:, None])
        down = (places >= top[:, None]) & (places < (top + high)[:, None])
        inside = (down[:, :, None] & across[:, None, :] & (chance < self.cover)[:, None, None])[:, None]
        return torch.where(inside, colour[:, :, None, None], view)


def _draw(kinds: int, count: int, generator: torch.Generator) -> Tensor:
    """Even draws from [-1, 1), (kinds, count)."""
    if isinstance(generator, Draws):
        return torch.rand(kinds, generator.count, generator=generator)[:, generator.mine] * 2 - 1
    return torch.rand(kinds, count, generator=generator) * 2 - 1
