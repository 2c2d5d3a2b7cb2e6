"""Self-distillation: views of crops and two networks in, a loss out; DINO, iBOT, DINOv2 and SimCLR are settings of it.

Shape letters: V views of the whole, W smaller views, N crops, P patches, M masked patches, K prototypes, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from slt.pretraining.losses import block_masks, contrastive_loss, dino_loss, ibot_loss, koleo_loss, other_moments
from slt.pretraining.networks import StudentTeacher
from slt.pretraining.probe import feature_std
from slt.pretraining.views import Views
from slt.settings import check_values, not_negative, positive, share
from slt.training import processes
from slt.training.finite import FirstBad


@dataclass(kw_only=True, eq=False)
class SelfDistillation:
    """The student's views are to look like the teacher's whole pictures.

    DINO (Caron et al. 2021) compares the pictures' features over views; iBOT (Zhou et al. 2022) also those of patches
    that were hidden from the student; DINOv2 (Oquab et al. 2023) does both, with heads of their own, and spreads the
    features (KoLeo). SimCLR (Chen et al. 2020) needs no prototypes: views are told from those of other crops, or of
    other moments of the same clip.

    Of several processes each has its part of a batch's crops: means are over all of them, as are the statistics that
    balance the teacher. KoLeo looks for nearest neighbours among a process's own crops, as DINOv2's code does;
    SimCLR keeps to them for other crops, a head's batch norm for its statistics. Each draws the hidden patches itself.

    Attributes:
        dino_weight, ibot_weight, koleo_weight, contrast_weight: of the losses; 0 leaves one out.
        contrast_moments: seconds; a crop is told only from crops of its own clip that lie further off in time (see
            `other_moments`); None = from all crops.
        contrast_head: whether what the head makes of the features is compared (SimCLR), or the features themselves.
        teacher_temperature: first and last; between them it grows evenly over `temperature_warmup` updates.
        momentum: of the teacher at first; it grows to 1 along a cosine over `max_steps` (DINO, section 3.1).
        mask_share: least and greatest share of the patches that are hidden (iBOT: 0.1 to 0.5).
        mask_probability: that a picture has hidden patches at all (iBOT: 0.5).
        freeze_prototypes: updates in which the student's prototypes do not move (DINO: the first epoch).
        step: updates done.
    """

    dino_weight: float = not_negative()
    ibot_weight: float = not_negative()
    koleo_weight: float = not_negative()
    contrast_weight: float = not_negative()
    contrast_temperature: float = positive()
    contrast_moments: float | None = not_negative()
    contrast_head: bool
    student_temperature: float = positive()
    teacher_temperature: Sequence[float] = field(
        metadata={"fits": lambda value: min(value) > 0, "expected": "two numbers above 0"}
    )
    temperature_warmup: int
    momentum: float = share()
    mask_share: Sequence[float] = field(
        metadata={"fits": lambda value: 0 <= value[0] <= value[1] < 1, "expected": "two shares, the smaller first"}
    )
    mask_probability: float = share()
    freeze_prototypes: int
    max_steps: int
    step: int = field(default=0, init=False)
    _updated_at: int = field(default=-1, init=False)
    _last: dict[str, Tensor] = field(default_factory=dict, init=False)
    _finite: dict[str, FirstBad] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        check_values(self, "objective.loss")
        if self.dino_weight + self.ibot_weight + self.contrast_weight == 0:
            raise ValueError(f"objective.loss: one of dino, ibot and contrast weighs more than 0, got {self.weights}")

    @property
    def weights(self) -> dict[str, float]:
        """Term -> its weight."""
        return {name: getattr(self, f"{name}_weight") for name in ("dino", "ibot", "koleo", "contrast")}

    def after_step(self, step: int) -> None:
        """Takes note of the updates done."""
        self.step = step

    def temperature_now(self) -> float:
        first, last = self.teacher_temperature
        return first + (last - first) * min(self.step / max(self.temperature_warmup, 1), 1.0)

    def momentum_now(self) -> float:
        done = min(self.step / max(self.max_steps, 1), 1.0)
        return 1 - (1 - self.momentum) * (math.cos(math.pi * done) + 1) / 2

    def report(self) -> dict[str, float]:
        """Metrics of the last step, named `train/...`, means over processes."""
        named = {f"train/{name}": processes.mean(value).item() for name, value in self._last.items()}
        return named | {"train/temperature": self.temperature_now(), "train/momentum": self.momentum_now()}

    def blame(self) -> str:
        """The term that was the first not to be finite, in words for a message."""
        steps = {name: term.step for name, term in self._finite.items() if term.step}
        return f", and its term {min(steps, key=lambda name: steps[name])} went first" if steps else ""

    def __call__(self, model: StudentTeacher, batch: Views) -> Tensor:
        """Two networks and views of N crops -> the loss in nats, a scalar."""
        if self._updated_at != self.step:  # once an update, however many batches are accumulated
            # Here and not after the update, so that a resumed run takes the very same steps.
            model.update_teacher(self.momentum_now())
            self._updated_at = self.step
        for head in model.heads:
            head.prototypes.requires_grad_(self.step >= self.freeze_prototypes)
        weight = processes.share(torch.full((), float(len(batch)), device=batch.whole.device))
        terms = {name: term * weight for name, term in self._terms(model, batch).items()}
        for name, term in terms.items():
            self._finite.setdefault(name, FirstBad()).note(term.detach(), self.step + 1)
        self._last |= {f"loss_{name}": term.detach() for name, term in terms.items()}
        total: Any = sum(self.weights[name] * term for name, term in terms.items())
        return total

    def _terms(self, model: StudentTeacher, batch: Views) -> dict[str, Tensor]:
        student, teacher, count = model.student, model.teacher, len(batch)
        pictures, mask = batch.whole.flatten(0, 1), None  # (V N, 3, R, R)
        if self.ibot_weight:
            side = pictures.shape[-1] // model.patch_size
            mask = block_masks(len(pictures), side, share=self.mask_share, probability=self.mask_probability)
        there = None if mask is None else mask.to(pictures.device, non_blocking=True)
        features, patches = student(pictures, there)  # (V N, F), (V N, P, F)
        self._last = {"feature_std": feature_std(features.detach())}
        every = features
        if len(batch.parts) and (self.dino_weight or self.contrast_weight):
            every = torch.cat([features, student(batch.parts.flatten(0, 1))[0]])  # ((V + W) N, F)
        terms = {}
        if self.dino_weight or mask is not None:
            with torch.no_grad():
                seen, seen_patches = teacher(pictures)
                targets = model.picture_balance(teacher.picture_head(seen), self.temperature_now())  # (V N, K)
            # Nats: 0 = the teacher is sure of one prototype, log K = of none; both ends for all are a collapse.
            self._last["teacher_entropy"] = -(targets * targets.clamp_min(1e-12).log()).sum(dim=-1).mean()
            if self.dino_weight:
                scores = student.picture_head(every).unflatten(0, (-1, count))
                terms["dino"] = dino_loss(scores, targets.unflatten(0, (-1, count)), self.student_temperature)
            if mask is not None:
                terms["ibot"] = self._patch_loss(model, seen_patches, patches, mask)
        if self.contrast_weight:
            compared = student.picture_head.perceptron(every) if self.contrast_head else every
            apart = self.contrast_moments
            others = None if apart is None else other_moments(batch.clip, batch.time, apart)
            terms["contrast"] = contrastive_loss(compared.unflatten(0, (-1, count)), self.contrast_temperature, others)
        if self.koleo_weight:
            terms["koleo"] = torch.stack([koleo_loss(view) for view in features.unflatten(0, (-1, count))]).mean()
        return terms

    def _patch_loss(self, model: StudentTeacher, seen: Any, guessed: Any, mask: Tensor) -> Tensor:
        """The loss of hidden patches: (V N, P, F) as the teacher saw them and as the student guesses, mask (V N, P).

        The mask is the host's, which therefore need not ask a GPU where it hides something.
        """
        assert model.patch_balance is not None
        assert model.student.patch_head is not None
        assert model.teacher.patch_head is not None
        weights = (1 / mask.sum(dim=1).clamp_min(1) / len(mask))[:, None].expand_as(mask)[mask]
        hidden, weights = (x.to(seen.device, non_blocking=True) for x in (mask.flatten().nonzero()[:, 0], weights))
        with torch.no_grad():
            scores = model.teacher.patch_head(seen.flatten(0, 1)[hidden])
            targets = model.patch_balance(scores, self.temperature_now())  # (M, K)
        mine = model.student.patch_head(guessed.flatten(0, 1)[hidden])
        return ibot_loss(mine, targets, self.student_temperature, weights)
