"""Landmarks to features by graph convolutions over each part of the skeleton, and by convolutions over time.

Shape letters: B clips, T frames, K landmarks, P parts, V points of a part, C channels, F backbone width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models.backbones.weights import load_published
from slt.models.batch_norm import BatchNorm
from slt.streams.skeleton import Points, Skeleton, find_skeleton

HOPS = 2  # a point itself, and those that a bone joins to it, each with weights of their own


class SkeletonGraph(nn.Module):
    """The pose encoder of Uni-Sign (Li et al., ICLR 2025, section 3.2; after CoSign, Jiao et al., ICCV 2023).

    Each part of the skeleton goes through spatial graph convolutions of its own, gets the features of a joint of the
    body added (a hand those of its wrist, without a gradient to the body), and goes through graph convolutions with
    convolutions over time. The mean over a part's points, all parts side by side, is what describes a frame.

    A point that was not seen enters as zeros, as theirs do. A frame that was not seen is as good as none: nothing of it
    reaches a convolution over time or a batch statistic, as nothing does from behind a clip's end.

    Args:
        points: the skeleton of the stream, as its reader has it; the body is its first part.
        widths: C after entering and after each spatial layer.
        depth: layers over time.
        kernel_size: frames that each of them looks at, odd.
        projected: F after the last linear layer; None = none, and F is P times the last of `widths`.
        roots: part -> the point of the body whose features it gets; parts that the skeleton has not are passed over.
        shared: part -> part whose weights it has; nothing is mirrored.
        weights: None, or a file of Uni-Sign's own, of which those of its pose encoder are taken.
    """

    order: Tensor

    def __init__(
        self,
        *,
        points: Points,
        widths: Sequence[int],
        depth: int,
        kernel_size: int,
        projected: int | None,
        roots: Mapping[str, str],
        shared: Mapping[str, str],
        weights: str | None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: expected an odd number of frames, as many before as after")
        skeleton = find_skeleton(points)
        places = places_of(skeleton)
        self.parts = {part: len(own) for part, own in places.items()}
        self.num_points = len(skeleton)
        self.root = _roots(skeleton, places, roots)
        self.owner = _owners(skeleton, places, shared)
        self.register_buffer("order", torch.tensor([place for own in places.values() for place in own]), False)
        self.enter, self.spatial, self.temporal = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for part in dict.fromkeys(self.owner.values()):
            graph = adjacency(skeleton, part, places[part])
            self.enter[part] = nn.Linear(3, widths[0])
            steps = pairwise([widths[0], *widths])
            self.spatial[part] = GraphBlocks(GraphBlock(*step, graph=graph, kernel_size=1) for step in steps)
            over_time = [(widths[-1], widths[-1])] * depth
            self.temporal[part] = GraphBlocks(
                GraphBlock(*step, graph=graph, kernel_size=kernel_size) for step in over_time
            )
        joined = len(self.parts) * widths[-1]
        self.part_bias = nn.Parameter(torch.zeros(joined))
        self.project = nn.Identity() if projected is None else nn.Linear(joined, projected)
        self.num_features = joined if projected is None else projected
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if weights is not None:
            load_published(self, weights, renamed, WANTED)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T, K, 3) landmarks (x, y, confidence) and (B, T) seen -> (B, T, F), zero where not seen."""
        if x.shape[2] != self.num_points:
            raise ValueError(f"pose has {x.shape[2]} points a frame, the backbone was made for {self.num_points}")
        x = torch.where((x[..., 2:] > 0) & seen[..., None, None], x, 0.0)
        present = seen[:, None, :, None]
        parts = x.index_select(2, self.order).split([*self.parts.values()], 2)
        body, features = None, []
        for part, owner, points in zip(self.parts, self.owner.values(), parts, strict=True):
            inner = self.spatial[owner](self.enter[owner](points).permute(0, 3, 1, 2), present)
            if body is None:
                body = inner.detach()
            else:
                root = self.root[part]
                inner = inner + body[..., root : root + 1]
            features.append(self.temporal[owner](inner, present).mean(3).transpose(1, 2))
        joined = torch.cat(features, dim=2) + self.part_bias
        return torch.where(seen[..., None], self.project(joined), 0.0)


class GraphBlocks(nn.ModuleList):
    """One `GraphBlock` after the other."""

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, C, T, V) and which frames there are, (B, 1, T, 1) bool -> (B, C', T, V)."""
        for block in self:
            x = block(x, present)
        return x


class GraphBlock(nn.Module):
    """A graph convolution, for a `kernel_size` above 1 a convolution over time, and a shortcut around both.

    `graph` is where the weights between points start from (HOPS, V, V); they are learned.
    """

    def __init__(self, width_in: int, width_out: int, *, graph: Tensor, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out * HOPS, 1)
        self.graph = nn.Parameter(graph.clone())
        self.norm = BatchNorm(width_out)
        self.over_time, self.norm_time = None, None
        if kernel_size > 1:
            self.over_time = nn.Conv2d(width_out, width_out, (kernel_size, 1), padding=(kernel_size // 2, 0))
            self.norm_time = BatchNorm(width_out)
        self.shortcut, self.norm_shortcut = None, None
        if width_in != width_out:
            self.shortcut, self.norm_shortcut = nn.Conv2d(width_in, width_out, 1), BatchNorm(width_out)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, C, T, V) and which frames there are, (B, 1, T, 1) bool -> (B, C', T, V)."""
        around = x
        if self.shortcut is not None and self.norm_shortcut is not None:
            around = self.norm_shortcut(self.shortcut(x), present)
        hops = self.conv(x).unflatten(1, (HOPS, -1))
        x = functional.relu(self.norm(torch.einsum("bkctv,kvw->bctw", hops, self.graph), present))
        if self.over_time is not None and self.norm_time is not None:
            x = self.norm_time(self.over_time(torch.where(present, x, 0.0)), present)
        return functional.relu(x + around)


def places_of(skeleton: Skeleton) -> dict[str, list[int]]:
    """Part -> places of its points, parts and points in the order of the arrays and not in that of the whole."""
    return dict(sorted(((part, sorted(own)) for part, own in skeleton.parts.items() if own), key=lambda item: item[1]))


def adjacency(skeleton: Skeleton, part: str, places: Sequence[int]) -> Tensor:
    """The graph of a part, (HOPS, V, V): what each point has of itself and of its neighbours, columns that sum to 1.

    It is the partition by distance of ST-GCN (Yan et al., AAAI 2018, section 3.3).
    """
    own = {place: n for n, place in enumerate(places)}
    alone = torch.eye(len(own))
    near = alone.clone()
    for a, b in (pair for group, pairs in skeleton.edges.items() if group.split(".")[0] == part for pair in pairs):
        near[own[a], own[b]] = near[own[b], own[a]] = 1
    near = near / near.sum(0)
    return torch.stack([near * alone, near * (1 - alone)])


def _roots(skeleton: Skeleton, places: Mapping[str, Sequence[int]], roots: Mapping[str, str]) -> dict[str, int]:
    """Part -> place among the body's points of the joint whose features it gets."""
    body, *others = places
    joints = [skeleton.points[place] for place in places[body]]
    for part in others:
        if roots.get(part) not in joints:
            raise ValueError(
                f"roots.{part}={roots.get(part)}: expected a point of {body}, the first part of skeleton "
                f"{skeleton.name!r}: {', '.join(joints)}"
            )
    return {part: joints.index(roots[part]) for part in others}


def _owners(skeleton: Skeleton, places: Mapping[str, Sequence[int]], shared: Mapping[str, str]) -> dict[str, str]:
    """Part -> the part whose weights it has, itself where it has its own."""
    owners = {part: shared.get(part, part) for part in places}
    for part, owner in owners.items():
        if owners.get(owner) != owner or len(places[part]) != len(places[owner]):
            raise ValueError(
                f"shared.{part}={owner}: expected a part of skeleton {skeleton.name!r} that has weights of its own and "
                f"as many points; its parts: {', '.join(places)}"
            )
    return owners


# Uni-Sign's names, and ours. Of the hands, which share theirs, its files hold two copies.
PUBLISHED = {
    "proj_linear": "enter", "gcn_modules": "spatial", "fusion_gcn_modules": "temporal",
    "part_para": "part_bias", "pose_proj": "project",
    "right": "right_hand", "face_all": "face",
    "A": "graph", "bn": "norm",
}  # fmt: skip
INNER = {
    "gcn.": "", "tcn.0": "over_time", "tcn.1": "norm_time", "residual.0": "shortcut", "residual.1": "norm_shortcut",
}  # fmt: skip


WANTED = (
    "a pose-only checkpoint of Uni-Sign ({'model': weights}), whose points are those of skeleton unisign, with the "
    "sizes of conf/backbone/stgcn.yaml"
)


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pose encoder's weights of Uni-Sign's by our names; what is of its language model is left out."""
    return {_named(key): x for key, x in published.items() if not _passed_over(key)}


def _passed_over(key: str) -> bool:
    return key.startswith("mt5_model.") or ".left." in key


def _named(key: str) -> str:
    """What we call a weight of Uni-Sign's."""
    for theirs, ours in INNER.items():
        key = key.replace(theirs, ours)
    # A chain of theirs has layers of several widths, or several layers of one width.
    key = re.sub(r"layer(\d+)_(\d+)", lambda found: str(int(found[1]) + int(found[2])), key)
    return ".".join(PUBLISHED.get(word, word) for word in key.split("."))
