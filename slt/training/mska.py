"""The objective of MSKA: every part of the signer recognises the signs by itself, and learns from what all agree on.

B clips, T' frames after the backbone, G gloss classes and the blank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.heads import JOINED, PartHead, agreed, sign_scores
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training.objective import BLANK, gloss_loss, name_too_short, sentence_loss
from slt.training.processes import share


class MskaLoss:
    """CTC of several heads and their self-distillation (Guan et al., Pattern Recognition 2025, section 3.2).

    The head `gloss` sees the encoder's output, the others the features of some parts of one stream. The mean of the
    probabilities of all is the teacher of each: `agreed`, by which evaluation recognises, too. Sums over a clip's
    frames, means over clips, as the authors' code has them; there copies of the last frame that lengthen a clip are
    distilled too, here none are.

    Args:
        label_smoothing: of the sentence's cross entropy.
        sentence_weight: of that; 0 = recognition alone, their first stage, and the decoder stays as it was.
        gloss_weight, distill_weight: of the heads' CTC and of their divergences from the teacher, sums over heads.
        stream: whose backbone keeps its parts apart (`widths`).
        parts: head -> the parts that it sees; those that the backbone has not are passed over.
        head: makes the temporal encoder of one.
    """

    measures: Sequence[str] = ("gloss_wer", "bleu", "chrf")
    translates = True

    def __init__(
        self,
        *,
        label_smoothing: float,
        sentence_weight: float,
        gloss_weight: float,
        distill_weight: float,
        stream: str,
        parts: Mapping[str, Sequence[str]],
        head: Callable[[], nn.Module],
    ) -> None:
        self.label_smoothing, self.sentence_weight = label_smoothing, sentence_weight
        self.gloss_weight, self.distill_weight = gloss_weight, distill_weight
        self.stream, self.parts, self.head = stream, parts, head
        if sentence_weight:
            self.measures = ("bleu", "chrf", "gloss_wer")
        self.place: dict[str, int] = {}

    def labels(self, clips: Clips) -> list[str]:
        """The glosses of the training clips, sorted."""
        if "gloss" not in clips.columns:
            raise ValueError("objective=mska recognises signs, and the corpus has no column `gloss`; give it one")
        return sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})

    def heads(self, translator: Translator, labels: Sequence[str]) -> dict[str, nn.Module]:
        """`gloss` tells apart the glosses and the blank by the encoder's output, the others by their parts."""
        encoder, classes = translator.encoder, len(labels) + 1
        widths: Any = getattr(dict(encoder.backbones.items()).get(self.stream), "widths", None)
        if widths is None:
            raise ValueError(
                f"objective.stream={self.stream}: it has no backbone that keeps the parts of the signer apart; take "
                f"backbone@streams.{self.stream}=dsta"
            )
        if encoder.temporal.stride != 1:
            raise ValueError(
                "objective=mska: the heads of parts and that of the encoder's output must see the same positions, and "
                "the temporal encoder leaves fewer; take one that shortens nothing, such as temporal=visual_head"
            )
        made: dict[str, nn.Module] = {JOINED: nn.Linear(translator.embed_dim, classes)}
        for name, parts in self.parts.items():
            if found := [part for part in parts if part in widths]:
                made[name] = PartHead(
                    stream=self.stream, widths=widths, parts=found, temporal=self.head(), num_classes=classes
                )
        return made

    def begin(self, model: Model, clips: Clips) -> None:
        self.place = {gloss: i for i, gloss in enumerate(model.glosses, start=BLANK + 1)}
        name_too_short(clips, model.translator.encoder)

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch with glosses and tokens -> the loss in nats a clip, and nats a token where weighed."""
        features: dict[str, Tensor] = {}
        memory, present = model.encoder(batch.streams, batch.seen, batch.frames, features)
        scores = {name: x.float() for name, x in sign_scores(model.heads, memory, present, features).items()}
        targets = [[self.place[gloss] for gloss in text.split()] for text in batch.glosses]
        lengths = [model.encoder.length(frames) for frames in batch.lengths]
        signs = torch.stack([
            gloss_loss(x, present, lengths, targets, flat=False, reduction="sum") for x in scores.values()
        ]).sum()  # fmt: skip
        loss = self.gloss_weight * signs
        if self.distill_weight:
            loss = loss + self.distill_weight * distillation([*scores.values()], present)
        clips = torch.full_like(present.sum(), len(targets))
        loss = loss / len(targets) * share(clips * batch.counts)
        if self.sentence_weight:
            assert batch.tokens is not None
            assert batch.tokens_mask is not None
            logits = model.decoder(memory, present, batch.tokens)
            sentence = sentence_loss(logits, batch.tokens, batch.tokens_mask, label_smoothing=self.label_smoothing)
            loss = loss + self.sentence_weight * sentence * share(batch.tokens_mask.sum() * batch.counts)
        return loss


def distillation(scores: Sequence[Tensor], present: Tensor) -> Tensor:
    """How far each of several heads' scores (B, T', G) is from what they agree on: a sum over heads, clips and frames.

    Kullback-Leibler divergences in nats, of frames that are `present` (B, T'); no gradient goes through the teacher.
    """
    students = torch.stack([x.log_softmax(2) for x in scores])
    teacher = agreed([*students]).log_softmax(2).detach()
    apart = (teacher.exp() * (teacher - students)).sum(3)
    return torch.where(present, apart, 0.0).sum()
