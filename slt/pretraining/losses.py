"""What is minimised in self-supervised pretraining: DINO, iBOT, KoLeo and SimCLR, each as its paper states it.

Shape letters: N crops of a batch, V views of each, K prototypes, P patches, M masked patches of all crops, F features.
Losses are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.training import processes


class Centring(nn.Module):
    """Teacher probabilities by centring and sharpening (Caron et al. 2021, DINO, section 3.1, eq. 4).

    The centre is a moving mean (of `momentum` in [0, 1); the paper's 0.9) of the teacher's scores, those of all
    processes: subtracting it keeps one prototype from taking all, as sharpening keeps them from becoming equal. It
    belongs to the checkpoint.
    """

    centre: Tensor

    def __init__(self, *, num_prototypes: int, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"centring: momentum must be in [0, 1), got {momentum}")
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(num_prototypes))

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """(N, K) scores of the teacher -> (N, K) probabilities; then the centre moves towards these scores."""
        scores = scores.float()
        probabilities = ((scores - self.centre) / temperature).softmax(dim=-1)
        if processes.world() > 1:
            count = processes.total(torch.tensor(float(len(scores)), device=scores.device))
            middle = processes.total(scores.sum(dim=0)) / count.clamp_min(1)
            self.centre.lerp_(middle, (1 - self.momentum) * (count > 0).float())
        elif len(scores):
            self.centre.lerp_(scores.mean(dim=0), 1 - self.momentum)
        return probabilities


class SinkhornKnopp(nn.Module):
    """Teacher probabilities balanced over the batch (Caron et al. 2020, SwAV, section 3.1; DINOv2, section 4).

    Rows (crops) and columns (prototypes) of the exponentiated scores are normalised in turn (DINOv2: three times), so
    that within a batch, of which each process has its rows, all prototypes are used equally.
    """

    def __init__(self, *, num_prototypes: int, iterations: int) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"Sinkhorn-Knopp: iterations must be at least 1, got {iterations}")
        self.num_prototypes, self.iterations = num_prototypes, iterations

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """(N, K) scores of the teacher -> (N, K) probabilities, each row of sum 1."""
        assert scores.shape[1] == self.num_prototypes
        scaled = scores.float() / temperature
        rows = processes.total(torch.full((), float(len(scores)), device=scores.device))
        shares = (scaled - processes.highest(scaled)).exp()
        for _ in range(self.iterations):
            used = processes.total(shares.sum(dim=0, keepdim=True))
            shares = shares / used.clamp_min(1e-12) / shares.shape[1]
            shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-12) / rows
        return shares * rows


def dino_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross entropy between views (DINO, eq. 3): every view of the student against every global view of the teacher.

    `student` (V, N, K) are scores, of the teacher's views first, and `teacher` (V' <= V, N, K) probabilities; the mean
    is over pairs of different views and over crops. The paper's temperature is 0.1.
    """
    logs = (student.float() / temperature).log_softmax(dim=-1)
    pairs = -torch.einsum("ank,bnk->ab", teacher, logs) / student.shape[1]
    # Sums and not an index, after which the host would wait for a GPU to say how many there are.
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(teacher))


def ibot_loss(student: Tensor, teacher: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """Cross entropy on masked patches (Zhou et al. 2022, iBOT, section 3.1, eq. 2); 0 where nothing is masked.

    `student` (M, K) are scores of patches seen masked, `teacher` (M, K) probabilities of the same seen whole, `weights`
    (M,) one over the masked patches of the patch's picture, times one over the pictures: each picture counts alike.
    """
    logs = (student.float() / temperature).log_softmax(dim=-1)
    return -((teacher * logs).sum(dim=-1) * weights).sum()


def koleo_loss(features: Tensor) -> Tensor:
    """Spreads features evenly (Sablayrolles et al. 2019, eq. 2; DINOv2, section 4): minus log distance to the nearest.

    Features are (N, F), of one view of N different pictures; the loss is 0 for fewer than two.
    """
    if len(features) < 2:
        return features.float().sum() * 0.0
    with torch.autocast(features.device.type, enabled=False):
        unit = functional.normalize(features.float(), dim=-1, eps=1e-8)
        with torch.no_grad():
            nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(dim=1)
        distance = (unit - unit[nearest]).norm(dim=-1)
        return -(distance + 1e-8).log().mean()


def contrastive_loss(features: Tensor, temperature: float, others: Tensor | None = None) -> Tensor:
    """A view is to find the other views of its crop among all views (Chen et al. 2020, SimCLR, eq. 1, NT-Xent).

    `features` are (V, N, F); `others` (N, N) bool says which crops each one is told from, None = all. For more than two
    views the mean over a view's positives is taken (Khosla et al. 2020, eq. 2). log(V N - 1) where all are alike.
    """
    views, count = features.shape[:2]
    with torch.autocast(features.device.type, enabled=False):
        unit = functional.normalize(features.float().flatten(0, 1), dim=-1, eps=1e-6)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        crop = torch.arange(count, device=unit.device).repeat(views)
        same = crop[:, None] == crop
        out = itself if others is None else itself | ~(same | others.repeat(views, views))
        logs = (unit @ unit.T / temperature).masked_fill(out, -torch.inf).log_softmax(dim=-1)
        positive = same & ~itself  # as many in each row
        return -torch.where(positive, logs, 0.0).sum() / (len(unit) * (views - 1))


def other_moments(clip: Tensor, time: Tensor, apart: float) -> Tensor:
    """Which crops are of the same clip, over `apart` seconds off: (N,) clips and (N,) seconds -> (N, N) bool.

    Told from these, features keep what changes while someone signs, and who signs helps no more. Negatives of the same
    video are those of single-view TCN (Sermanet et al. 2018) and of TCLR's local-local loss (Dave et al. 2021).
    """
    return (clip[:, None] == clip) & ((time[:, None] - time).abs() > apart)


def block_masks(
    count: int, side: int, *, share: Sequence[float], probability: float, generator: torch.Generator | None = None
) -> Tensor:
    """Masks of blocks (BEiT, Bao et al. 2022, algorithm 1, as iBOT uses it): (N, P) bool, True = hidden.

    Of `count` pictures of `side` patches a side each is masked with `probability`; then blocks of random size and form
    are laid until a share of the patches drawn from `share` is covered, exactly.
    """
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for mask in masks:
        chance, place = torch.rand(2, generator=generator).tolist()
        if chance < probability:
            _lay_blocks(mask, round((share[0] + (share[1] - share[0]) * place) * side * side), generator)
    return masks.flatten(1)


def _lay_blocks(mask: Tensor, total: int, generator: torch.Generator | None) -> None:
    """Lays blocks over a mask (side, side), in place, until `total` patches are covered."""
    side = len(mask)
    for _ in range(10):
        left = total - int(mask.sum())
        if left <= 0:
            return
        size, form, y, x = torch.rand(4, generator=generator).tolist()
        area = 1 + size * (left - 1)
        stretch = 0.3 ** (1 - 2 * form)  # height over width, from 0.3 to 1 / 0.3, as BEiT has it
        height = min(max(round((area * stretch) ** 0.5), 1), side)
        width = min(max(round((area / stretch) ** 0.5), 1), side)
        top, left_edge = int(y * (side - height + 1)), int(x * (side - width + 1))
        block = mask[top : top + height, left_edge : left_edge + width]
        if int((~block).sum()) <= left:
            block.fill_(True)
    free = (~mask).flatten().nonzero().flatten()
    rest = free[torch.randperm(len(free), generator=generator)[: total - int(mask.sum())]]
    mask.view(-1)[rest] = True
