"""Self-distillation: views of crops and twins in, a loss out; DINO, iBOT, DINOv2 and SimCLR are settings of it.

Shape letters: V views, N crops, P patches, M masked patches, K prototypes, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slt.pretraining.augmentation import Views
from slt.pretraining.losses import block_masks, contrastive_loss, dino_loss, ibot_loss, koleo_loss, other_moments
from slt.pretraining.networks import Twins
from slt.training import processes


class SelfDistillation:
    """The student's views are to look like the teacher's whole pictures.

    DINO (Caron et al. 2021) compares the pictures' features over views; iBOT (Zhou et al. 2022) also those of patches
    that were hidden from the student; DINOv2 (Oquab et al. 2023) does both, with heads of their own, and spreads the
    features (KoLeo). SimCLR (Chen et al. 2020) needs no prototypes: views are told from those of other crops, or of
    other moments of the same clip.

    Of several processes each has its part of a batch's crops: means are over all of them, as are the statistics that
    balance the teacher. KoLeo looks for nearest neighbours among a process's own crops, as DINOv2's code does;
    SimCLR keeps to them for other crops, a head's batch norm for its statistics. Each draws the hidden patches itself.

    Args:
        dino_weight, ibot_weight, koleo_weight, contrast_weight: of the losses; 0 leaves one out.
        contrast_temperature: of SimCLR's cosines.
        contrast_moments: seconds; a crop is told only from crops of its own clip that lie further off in time (see
            `other_moments`); None = from all crops.
        contrast_head: whether what the head makes of the features is compared (SimCLR), or the features themselves.
        student_temperature: DINO's 0.1.
        teacher_temperature: first and last; between them it grows evenly over `temperature_warmup` updates.
        momentum: of the teacher at first; it grows to 1 along a cosine (DINO, section 3.1).
        mask_share: least and greatest share of the patches that are hidden (iBOT: 0.1 to 0.5).
        mask_probability: that a picture has hidden patches at all (iBOT: 0.5).
        freeze_prototypes: updates in which the student's prototypes do not move (DINO: the first epoch).
        max_steps: of the run, for the momentum's cosine.
    """

    def __init__(
        self,
        *,
        dino_weight: float,
        ibot_weight: float,
        koleo_weight: float,
        contrast_weight: float,
        contrast_temperature: float,
        contrast_moments: float | None,
        contrast_head: bool,
        student_temperature: float,
        teacher_temperature: Sequence[float],
        temperature_warmup: int,
        momentum: float,
        mask_share: Sequence[float],
        mask_probability: float,
        freeze_prototypes: int,
        max_steps: int,
    ) -> None:
        weights = {"dino": dino_weight, "ibot": ibot_weight, "koleo": koleo_weight, "contrast": contrast_weight}
        if min(weights.values()) < 0 or dino_weight + ibot_weight + contrast_weight <= 0:
            raise ValueError(f"objective: weights are at least 0, and dino, ibot or contrast above it; came {weights}")
        if min(student_temperature, contrast_temperature, *teacher_temperature) <= 0 or not 0 <= momentum <= 1:
            raise ValueError(
                "objective: temperatures are above 0 and momentum lies in [0, 1], came "
                f"student {student_temperature}, teacher {list(teacher_temperature)}, "
                f"contrast {contrast_temperature}, momentum {momentum}"
            )
        if not 0 <= mask_share[0] <= mask_share[1] < 1 or not 0 <= mask_probability <= 1:
            raise ValueError(
                "objective: mask_share is two numbers in [0, 1), the smaller first, and mask_probability in [0, 1]; "
                f"came {list(mask_share)} and {mask_probability}"
            )
        self.weights = weights
        self.student_temperature, self.teacher_temperature = student_temperature, tuple(teacher_temperature)
        if contrast_moments is not None and contrast_moments < 0:
            raise ValueError(
                f"objective.loss.contrast_moments: seconds of at least 0, or null; came {contrast_moments}"
            )
        self.contrast_temperature = contrast_temperature
        self.contrast_moments, self.contrast_head = contrast_moments, contrast_head
        self.temperature_warmup, self.momentum, self.max_steps = temperature_warmup, momentum, max_steps
        self.mask_share = (mask_share[0], mask_share[1])
        self.mask_probability, self.freeze_prototypes = mask_probability, freeze_prototypes
        self.step = 0
        self._moved_at = -1
        self._last: dict[str, Tensor] = {}

    def after_step(self, step: int) -> None:
        """Takes note of the updates done."""
        self.step = step

    def temperature_now(self) -> float:
        """The teacher's temperature at this update."""
        first, last = self.teacher_temperature
        return first + (last - first) * min(self.step / max(self.temperature_warmup, 1), 1.0)

    def momentum_now(self) -> float:
        """The teacher's momentum at this update: `momentum` to 1 along a cosine."""
        done = min(self.step / max(self.max_steps, 1), 1.0)
        return 1 - (1 - self.momentum) * (math.cos(math.pi * done) + 1) / 2

    def report(self) -> dict[str, float]:
        """Metrics of the last step, named `train/...`, means over processes."""
        named = {f"train/{name}": processes.mean(value).item() for name, value in self._last.items()}
        return named | {"train/temperature": self.temperature_now(), "train/momentum": self.momentum_now()}

    def __call__(self, model: Twins, batch: Views) -> Tensor:
        """Twins and views of N crops -> the loss in nats, a scalar.

        Raises:
            ValueError: a term is not finite; the message says which.
        """
        if self._moved_at != self.step:  # once an update, however many batches are accumulated
            # Here and not after the update, so that a resumed run takes the very same steps.
            model.move_teacher(self.momentum_now())
            self._moved_at = self.step
        for head in model.heads:
            head.prototypes.requires_grad_(self.step >= self.freeze_prototypes)
        weight = processes.share(torch.tensor(float(len(batch)), device=batch.whole.device))
        terms = {name: term * weight for name, term in self._terms(model, batch).items()}
        for name, term in terms.items():
            if not torch.isfinite(term):
                raise ValueError(
                    f"the loss is {term.item()} at step {self.step + 1}, and its term {name} went first; checkpoints "
                    "are as they were. Lower optimizer.lr, lengthen schedule.warmup_steps, or use precision=fp32"
                )
        self._last |= {f"loss_{name}": term.detach() for name, term in terms.items()}
        total: Any = sum(self.weights[name] * term for name, term in terms.items())
        return total

    def _terms(self, model: Twins, batch: Views) -> dict[str, Tensor]:
        views, count = batch.whole.shape[:2]  # (V, N, 3, R, R)
        pictures, mask = batch.whole.flatten(0, 1), None
        if self.weights["ibot"]:
            mask = self._masks(model, pictures)
        seen, hidden = model.student(pictures, mask)
        self._last = {"feature_std": _spread(seen.detach())}
        shown = seen
        if len(batch.parts) and (self.weights["dino"] or self.weights["contrast"]):
            shown = torch.cat([seen, model.student(batch.parts.flatten(0, 1))[0]])  # ((V + V') N, F)
        terms = {}
        if self.weights["dino"] or mask is not None:
            with torch.no_grad():
                feature, patches = model.teacher(pictures)
                asked = model.picture_balance(model.teacher.picture_head(feature), self.temperature_now())
            self._last["teacher_entropy"] = _entropy(asked)
            if self.weights["dino"]:
                scores = model.student.picture_head(shown).unflatten(0, (-1, count))
                terms["dino"] = dino_loss(scores, asked.unflatten(0, (views, count)), self.student_temperature)
            if mask is not None:
                terms["ibot"] = self._patches(model, patches, hidden, mask)
        if self.weights["contrast"]:
            unlike = model.student.picture_head.perceptron(shown) if self.contrast_head else shown
            others = None
            if self.contrast_moments is not None:
                others = other_moments(batch.clip, batch.time, self.contrast_moments)
            terms["contrast"] = contrastive_loss(unlike.unflatten(0, (-1, count)), self.contrast_temperature, others)
        if self.weights["koleo"]:
            terms["koleo"] = torch.stack([koleo_loss(one) for one in seen.unflatten(0, (views, count))]).mean()
        return terms

    def _patches(self, model: Twins, patches: Tensor | None, hidden: Tensor | None, mask: Tensor) -> Tensor:
        """The loss of hidden patches: (V N, P, F) as the teacher saw them and as the student guesses, mask (V N, P)."""
        assert patches is not None
        assert hidden is not None
        assert model.patch_balance is not None
        assert model.student.patch_head is not None
        assert model.teacher.patch_head is not None
        with torch.no_grad():
            wanted = model.patch_balance(model.teacher.patch_head(patches[mask]), self.temperature_now())
        weights = (1 / mask.sum(dim=1).clamp_min(1) / len(mask))[:, None].expand_as(mask)[mask]
        return ibot_loss(model.student.patch_head(hidden[mask]), wanted, self.student_temperature, weights)

    def _masks(self, model: Twins, pictures: Tensor) -> Tensor:
        """Which patches the student does not see, (V N, P) bool."""
        side = pictures.shape[-1] // model.patch_size
        masks = block_masks(len(pictures), side, share=self.mask_share, probability=self.mask_probability)
        return masks.to(pictures.device)


def _entropy(probabilities: Tensor) -> Tensor:
    """Nats: 0 = the teacher is sure of one prototype, log K = of none; both ends for all pictures are a collapse."""
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(dim=-1).mean()


def _spread(features: Tensor) -> Tensor:
    """Standard deviation over pictures of unit features times the root of F: 1 = spread evenly, 0 = one point."""
    unit = functional.normalize(features.float(), dim=-1)
    return unit.std(dim=0).mean() * features.shape[-1] ** 0.5
