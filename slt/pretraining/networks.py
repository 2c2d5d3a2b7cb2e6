"""The model of self-supervised pretraining: a student, its slowly following teacher, and their heads.

Shape letters: N crops, R crop side, P patches, F backbone width, K prototypes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from timm.layers import DropPath
from timm.layers.format import Format
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from slt.models.backbones import ImageBackbone, form_of


class PrototypeHead(nn.Module):
    """Features to scores of prototypes (DINO, appendix C): a perceptron, a unit bottleneck, unit prototypes.

    Args:
        num_features: F.
        bottleneck: width of what is compared with the prototypes.
        num_prototypes: K.
        depth: layers of the perceptron, the bottleneck's included.
        batch_norm: standardises each layer's results over the batch (Ioffe, Szegedy 2015; DINO's `use_bn_in_head`),
            always by the batch's own statistics. Features that are alike to begin with, as those of convolutions with
            ReLU are, come apart by it; without it they may stay together, and the loss at log K.
    """

    def __init__(
        self, *, num_features: int, hidden: int, bottleneck: int, num_prototypes: int, depth: int, batch_norm: bool
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"head: depth must be at least 1, came {depth}")
        layers: list[nn.Module] = []
        for before, after in pairwise([num_features, *[hidden] * (depth - 1), bottleneck]):
            layers.append(nn.Linear(before, after, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(after, track_running_stats=False))
            layers.append(nn.GELU())
        self.perceptron = nn.Sequential(*layers[:-1])
        for layer in self.perceptron:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) features -> (N, K) cosines with the prototypes."""
        unit = functional.normalize(self.perceptron(x), dim=-1, eps=1e-6)
        return functional.linear(unit, functional.normalize(self.prototypes, dim=-1, eps=1e-6))


class Branch(nn.Module):
    """A backbone with its heads, of the picture's feature and, if asked for, of a ViT's patches: student and teacher.

    `drop_path` is the stochastic depth of a ViT's last block, growing from 0 at the first (Huang et al. 2016).
    """

    def __init__(
        self, backbone: ImageBackbone, picture_head: PrototypeHead, patch_head: PrototypeHead | None, drop_path: float
    ) -> None:
        super().__init__()
        self.backbone, self.picture_head, self.patch_head = backbone, picture_head, patch_head
        network = backbone.network
        self.has_patches = isinstance(network, VisionTransformer)
        if patch_head is not None and not self.has_patches:
            raise ValueError(
                f"{type(network).__name__} has no patch tokens, which the objective masks; take a ViT "
                "(backbone=vit_light, vit_small_patch16, dinov2), or objective=dino"
            )
        self.mask_token = nn.Parameter(torch.zeros(backbone.num_features)) if patch_head is not None else None
        if isinstance(network, VisionTransformer):
            # Pictures of any multiple of the patch, as `dynamic_img_size=True` would have made it.
            network.dynamic_img_size = True  # type: ignore[misc]
            network.patch_embed.strict_img_size = False
            network.patch_embed.flatten, network.patch_embed.output_fmt = False, Format.NHWC
            for place, block in enumerate(network.blocks):
                rate = drop_path * place / max(len(network.blocks) - 1, 1)
                block.drop_path1 = block.drop_path2 = DropPath(rate) if rate else nn.Identity()

    def forward(self, crops: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(N, 3, R, R) uint8 -> features (N, F) and, where the network has them, of patches (N, P, F).

        `mask` is (N, P) bool, True = this patch is hidden; None hides none.
        """
        pictures, network, token = self.backbone.normalise(crops), self.backbone.network, self.mask_token
        if not isinstance(network, VisionTransformer):
            return network(pictures), None

        def hide(module: nn.Module, given: Any, embedded: Tensor) -> Tensor:
            if mask is None or token is None:
                return embedded
            return torch.where(mask.view(*embedded.shape[:-1], 1), token.to(embedded.dtype), embedded)

        with network.patch_embed.register_forward_hook(hide):
            tokens = network.forward_features(pictures)
        return network.forward_head(tokens, pre_logits=True), tokens[:, network.num_prefix_tokens :]


class StudentTeacher(nn.Module):
    """Student and teacher; the teacher takes no gradient and follows by moving average (DINO, section 3.1).

    Args:
        backbone: the student's, on which the teacher is modelled.
        head: (num_features, num_prototypes) -> head of the picture, and of the patches where `patches`.
        tied_heads: one head for picture and patches (iBOT), not two (DINOv2, section 4, "untying head weights").
        balance: num_prototypes -> what turns the teacher's scores into probabilities, one for each kind of head.
    """

    def __init__(
        self,
        backbone: ImageBackbone,
        *,
        head: Callable[..., PrototypeHead],
        patches: bool,
        tied_heads: bool,
        drop_path: float,
        balance: Callable[..., nn.Module],
        num_prototypes: int,
    ) -> None:
        super().__init__()
        sizes = {"num_features": backbone.num_features, "num_prototypes": num_prototypes}
        picture_head = head(**sizes)
        patch_head = (picture_head if tied_heads else head(**sizes)) if patches else None
        self.student = Branch(backbone, picture_head, patch_head, drop_path)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        for module in list(self.teacher.modules()):
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
        self.picture_balance = balance(num_prototypes=num_prototypes)
        self.patch_balance = balance(num_prototypes=num_prototypes) if patches else None
        self.train()

    def train(self, mode: bool = True) -> StudentTeacher:
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Takes the teacher towards the student: teacher + (1 - momentum) (student - teacher), buffers as they are."""
        teacher: list[Tensor] = [*self.teacher.parameters()]
        torch._foreach_lerp_(teacher, [*self.student.parameters()], 1 - momentum)
        for mine, theirs in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            mine.copy_(theirs)

    def exported(self) -> ImageBackbone:
        """The teacher's backbone: the better of the two (DINO, section 5.2), and what is kept in the end."""
        return self.teacher.backbone

    @property
    def heads(self) -> list[PrototypeHead]:
        """The student's heads, each once."""
        heads = (self.student.picture_head, self.student.patch_head)
        return list(dict.fromkeys(head for head in heads if head is not None))

    def check_sizes(self, size: int, part_size: int | None) -> None:
        """Refuses sides of views, in pixels, that the backbone cannot take.

        Those are no multiple of the patch; or, of parts, another side than the whole views' where the backbone is no
        ViT, whose features would have another width.
        """
        patch = self.patch_size
        for key, side in (("size", size), ("part_size", part_size)):
            if side is not None and side % patch:
                raise ValueError(f"augment.{key}={side}: no multiple of the backbone's patch of {patch} pixels")
        if part_size not in (None, size) and not self.student.has_patches:
            name = type(self.student.backbone.network).__name__
            raise ValueError(
                f"augment.part_size={part_size}: {name} takes one size; set augment.part_size={size} (augment.size)"
            )

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels; 1 where the network has none."""
        return int(form_of(self.student.backbone.network).get("patch_size", 1))
