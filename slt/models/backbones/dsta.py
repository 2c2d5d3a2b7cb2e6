"""Landmarks to features by attention between the points of each part, and by convolutions that shorten the clip.

Shape letters: B clips, T frames, T' frames after the strides, K landmarks, V points of a part, C channels, H heads,
F backbone width.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.backbones.seen import shortened
from slt.models.backbones.weights import load_published
from slt.models.batch_norm import BatchNorm
from slt.models.temporal.transformer import sinusoidal_positions
from slt.streams.skeleton import Points, Skeleton, find_skeleton

log = logging.getLogger(__name__)

SLOPE = 0.1  # of the leaky rectifiers


class KeypointAttention(nn.Module):
    """The keypoint network of MSKA (Guan et al., Pattern Recognition 2025, section 3.1).

    It is the spatial half of DSTA-Net (Shi et al., ACCV 2020) and convolutions over time, once for each part of the
    signer. What describes a position is the mean over a part's points, all parts side by side in the order of `parts`.

    A point that was not seen enters as zeros. A frame that was not seen is as good as none: nothing of it reaches the
    attention, a convolution over time or a batch statistic, as nothing does from behind a clip's end. Their clips are
    lengthened with copies of the last frame instead, which do; of clips without padding the two are the same.

    It gives ceil(T / `stride`) positions, by two strides of 2 as published. The encoder knows: it shortens `seen` and
    the clips' frames alike, and refuses streams of other lengths beside it. So the published arithmetic is as it is.

    Args:
        points: the skeleton of the stream, as its reader has it.
        parts: name -> its points, by their own name or that of a part of the skeleton; null = all. Points of the whole
            skeleton that the stream has not are passed over, and so is a part of which there is none.
        layers: of each the channels in, out and of queries, the frames of its convolution and its stride.
        num_heads: H, attention maps of a layer.
        dropout: of those maps.
        weights: None, or a file of the authors', of which those of this network are taken. It wants skeleton mska, with
            x and y from -1 to 1 over the picture, y upwards.
    """

    def __init__(
        self,
        *,
        points: Points,
        parts: Mapping[str, Sequence[str] | None],
        layers: Sequence[Sequence[int]],
        num_heads: int,
        dropout: float,
        weights: str | None,
    ) -> None:
        super().__init__()
        skeleton = find_skeleton(points)
        self.num_points = len(skeleton)
        self.places = places_of(skeleton, parts)
        self.stride = prod(stride for *_, stride in layers)
        self.widths = dict.fromkeys(self.places, layers[-1][1])  # part -> how many of the F are its own
        self.num_features = sum(self.widths.values())
        self.enter, self.layers = nn.ModuleDict(), nn.ModuleDict()
        for part, places in self.places.items():
            self.register_buffer(f"{part}_points", torch.tensor(places), persistent=False)
            self.enter[part] = Pointwise(3, layers[0][0], 1)
            self.layers[part] = nn.ModuleList(
                AttentionLayer(layer, num_points=len(places), num_heads=num_heads, dropout=dropout) for layer in layers
            )
        if weights is not None:
            load_published(self, weights, renamed, WANTED)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, K, 3) landmarks (x, y, confidence) and (B, T) seen -> (B, T', F), zero where nothing was seen."""
        if x.shape[2] != self.num_points:
            raise ValueError(f"pose has {x.shape[2]} points a frame, the backbone was made for {self.num_points}")
        x = torch.where((x[..., 2:] > 0) & seen[..., None, None], x, 0.0).permute(0, 3, 1, 2)
        features, present = [], seen
        for part in self.places:
            present = seen
            own = x.index_select(3, self.get_buffer(f"{part}_points"))
            own = functional.leaky_relu(self.enter[part](own, present), SLOPE)
            for layer in self.layers[part]:  # type: ignore[attr-defined]
                own, present = layer(own, present)
            features.append(own.mean(3).transpose(1, 2))
        return torch.where(present[..., None], torch.cat(features, dim=2), 0.0)


class Pointwise(nn.Module):
    """A convolution of single points, batch normalisation behind it; with a `stride` one frame in so many is left."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 1, (stride, 1))
        self.norm = BatchNorm(width_out)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, C, T, V) and which of the T' there are, (B, T') bool -> (B, C', T', V)."""
        return self.norm(self.conv(x), present[:, None, :, None])


class OverTime(nn.Module):
    """A convolution of each point over time and batch normalisation; frames that are not there are zeros to it."""

    def __init__(self, width: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, (kernel_size, 1), (stride, 1), (kernel_size // 2, 0))
        self.norm = BatchNorm(width)
        self.stride = stride

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T, V) and which frames there are, (B, T) bool -> (B, C, T', V) and (B, T')."""
        x = self.conv(torch.where(present[:, None, :, None], x, 0.0))
        present = shortened(present, x.shape[2], self.stride)
        return self.norm(x, present[:, None, :, None]), present


class AttentionLayer(nn.Module):
    """Points of a clip look at each other, by maps that are one for all of its frames; then a convolution over time.

    A map is the agreement of two points' queries and keys over the clip, and a part that is learned and the same for
    all clips. It is not normalised, and may be negative.
    """

    def __init__(self, layer: Sequence[int], *, num_points: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        width_in, width, inner, kernel_size, stride = layer
        if kernel_size % 2 == 0:
            raise ValueError(f"layers has a kernel of {kernel_size}; expected an odd number of frames")
        self.num_heads, self.inner = num_heads, inner
        self.pair = nn.Conv2d(width_in, 2 * num_heads * inner, 1)  # queries and keys
        self.scale = nn.Parameter(torch.ones(1, num_heads, 1, 1))
        self.always = nn.Parameter(torch.full((1, num_heads, num_points, num_points), 1 / num_points))
        self.drop = nn.Dropout(dropout)
        self.join = Pointwise(width_in * num_heads, width, 1)
        self.feed = Pointwise(width, width, 1)
        self.over_time = OverTime(width, kernel_size, stride)
        changes = width_in != width or stride != 1
        self.around = nn.ModuleList(Pointwise(width_in, width, 1) for _ in range(2 * changes))
        self.along = Pointwise(width, width, stride) if changes else None
        names = sinusoidal_positions(num_points, width_in, torch.device("cpu"))
        self.register_buffer("names", names.T.contiguous()[None, :, None], persistent=False)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T, V) and which frames there are, (B, T) bool -> (B, C', T', V) and (B, T')."""
        maps = self.drop(self.attention(x, present))
        # All channels and frames as rows of one product: each head's map would be copied for every channel else.
        y = (x.flatten(1, 2)[:, None] @ maps).unflatten(2, x.shape[1:3]).flatten(1, 2)
        y = functional.leaky_relu(self._around(0, x, present) + self.join(y, present), SLOPE)
        y = functional.leaky_relu(self._around(1, x, present) + self.feed(y, present), SLOPE)
        z, left = self.over_time(y, present)
        along = y if self.along is None else self.along(y, left)
        return functional.leaky_relu(along + z, SLOPE), left

    def attention(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, C, T, V) and (B, T) bool -> the maps (B, H, V, V), from the points of a row to those of a column."""
        pair = self.pair(x + self.get_buffer("names")).unflatten(1, (2, self.num_heads, self.inner))
        query, key = pair[:, 0], pair[:, 1]  # (B, H, C, T, V)
        query = torch.where(present[:, None, None, :, None], query, 0.0)
        agreed = query.flatten(2, 3).transpose(2, 3) @ key.flatten(2, 3)
        count = present.sum(1).clamp(min=1)[:, None, None, None]
        return torch.tanh(agreed / (self.inner * count)) * self.scale + self.always

    def _around(self, which: int, x: Tensor, present: Tensor) -> Tensor:
        return self.around[which](x, present) if len(self.around) else x


def places_of(skeleton: Skeleton, parts: Mapping[str, Sequence[str] | None]) -> dict[str, list[int]]:
    """Part -> places of its points in the stream, for the parts of which there are any; the log names the others."""
    place = {name: n for n, name in enumerate(skeleton.points)}
    whole = skeleton.whole
    known = {name: [name] for name in whole.points}
    known |= {part: [whole.points[n] for n in own] for part, own in whole.parts.items()}
    found = {}
    for part, names in parts.items():
        strange = [name for name in names or () if name not in known]
        if strange and len(strange) < len(names or ()):
            raise ValueError(f"parts.{part}: skeleton {whole.name!r} has no point or part {strange[0]!r}")
        named = [point for name in names or () for point in known.get(name, ())]
        found[part] = [*place.values()] if names is None else [place[point] for point in named if point in place]
    if lacking := [part for part, places in found.items() if not places]:
        log.info("skeleton %s has no point of %s", skeleton.name, ", ".join(lacking))
    if len(lacking) == len(found):
        raise ValueError(f"parts: skeleton {skeleton.name!r} has no point of any: {', '.join(parts)}")
    return {part: places for part, places in found.items() if places}


PUBLISHED = "recognition_network.visual_backbone_keypoint."
# Their names within a layer, and ours; `.0` of a pair is the convolution, `.1` the norm.
INNER = {
    "in_nets": "pair", "alphas": "scale", "attention0s": "always", "out_nets": "join", "ff_nets": "feed",
    "out_nett": "over_time", "downs1": "around.0", "downs2": "around.1", "downt2": "along",
}  # fmt: skip


WANTED = (
    "a checkpoint of MSKA ({'model': weights}), whose points are those of skeleton mska, with the sizes of "
    "conf/backbone/dsta.yaml"
)


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The keypoint network's weights of MSKA's by our names; its heads are left out."""
    own = {key.removeprefix(PUBLISHED): x for key, x in published.items() if key.startswith(PUBLISHED)}
    # Two buffers that are computed: maps of zeros, and the encoding of the points.
    return {_named(key): x for key, x in own.items() if not key.endswith((".atts", ".pes.pe"))}


def _named(key: str) -> str:
    """What we call a weight of theirs."""
    key = re.sub(r"^(\w+)_input_map\.", r"enter.\1.", key)
    key = re.sub(r"^(\w+)_graph_layers\.", r"layers.\1.", key)
    for theirs, ours in INNER.items():
        key = key.replace(f".{theirs}", f".{ours}")
    key = re.sub(r"\.0\.(weight|bias)$", r".conv.\1", key)
    return re.sub(r"\.1\.(weight|bias|running_\w+|num_\w+)$", r".norm.\1", key)
