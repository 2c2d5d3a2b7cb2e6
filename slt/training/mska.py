"""The objective of MSKA: every part of the signer recognises the signs by itself, and learns from what all agree on.

B clips, T' frames after the backbone, G gloss classes and the blank.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slt.corpora.clips import Clips
from slt.corpora.pickles import read_pickle
from slt.models import LinearProjector, Translator, VisualHeadTemporal
from slt.models.backbones.weights import load_published
from slt.models.heads import JOINED, PartHead, agreed, sign_scores
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training.objective import BLANK, gloss_loss, name_too_short, sentence_loss
from slt.training.processes import share

log = logging.getLogger(__name__)

UNKNOWN = "<unk>"  # MSKA's class of every gloss that has none of its own
SILENCE = ("<si>", "<s>")  # how its files call CTC's blank


@dataclass(frozen=True, kw_only=True)
class Published:
    """Local files of the authors', each None where it is not taken.

    Args:
        weights: a checkpoint, of which all four heads are taken as training begins, over those of a `start`. Which
            class is which in their last layers only `classes` tells: without it these start anew.
        classes: their `gloss2ids.pkl`, whose classes are told apart, in its order; glosses that are none of them count
            as `<unk>`. None = the glosses of the training clips, sorted.
    """

    weights: str | None
    classes: str | None


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
        published: what of the authors' files is taken.
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
        published: Published,
    ) -> None:
        self.label_smoothing, self.sentence_weight = label_smoothing, sentence_weight
        self.gloss_weight, self.distill_weight = gloss_weight, distill_weight
        self.stream, self.parts, self.head = stream, parts, head
        self.published = published
        if sentence_weight:
            self.measures = ("bleu", "chrf", "gloss_wer")
        self.place: dict[str, int] = {}

    def labels(self, clips: Clips) -> list[str]:
        """The glosses of the training clips, sorted, or those of `classes`."""
        if "gloss" not in clips.columns:
            raise ValueError("objective=mska recognises signs, and the corpus has no column `gloss`; give it one")
        signed = signed_in(clips)
        return signed if self.published.classes is None else named_classes(Path(self.published.classes), signed)

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
        classes, weights = self.published.classes, self.published.weights
        if classes is not None:
            self._place_others(signed_in(clips))
        name_too_short(clips, model.translator.encoder)
        if weights is not None:
            load_heads(model.translator, self.stream, weights, ordered=classes is not None)

    def _place_others(self, signed: Sequence[str]) -> None:
        """Have glosses that are no class count as the one of other letter case or, where there is none, as unknown."""
        other_case = {gloss.lower(): i for gloss, i in self.place.items()}
        found = {gloss: other_case.get(gloss.lower()) for gloss in signed if gloss not in self.place}
        strange = [gloss for gloss, i in found.items() if i is None]
        if strange and UNKNOWN not in self.place:
            file = self.published.classes
            raise ValueError(f"objective.published.classes={file} has neither {strange[0]} nor {UNKNOWN}; give it one")
        if strange:
            log.warning("%d glosses are no class of published.classes: %s", len(strange), ", ".join(strange[:10]))
        self.place |= {gloss: self.place[UNKNOWN] if i is None else i for gloss, i in found.items()}

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


def signed_in(clips: Clips) -> list[str]:
    """The glosses of some clips, sorted."""
    return sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})


def named_classes(path: Path, signed: Sequence[str]) -> list[str]:
    """The glosses of MSKA's `gloss2ids.pkl` in its order, without the blank, spelt as the corpus's `signed` are."""
    held = read_pickle(path)
    if (
        not isinstance(held, dict)
        or sorted(held.values(), key=str) != sorted(range(len(held)), key=str)
        or not any(held.get(name) == BLANK for name in SILENCE)
    ):
        raise ValueError(
            f"objective.published.classes={path}: expected gloss2ids.pkl of MSKA: glosses, {SILENCE[0]} as 0"
        )
    spelt = {gloss.lower(): gloss for gloss in reversed(signed)} | {gloss: gloss for gloss in signed}
    names = sorted(held, key=held.__getitem__)[1:]
    return [spelt.get(name, spelt.get(name.lower(), name)) for name in names]


# Names of weights within a head of theirs, and within ours.
PLACES = {
    "fc1": "enter", "bn1.norm": "temporal.norm_in", "feedforward.layer_norm": "temporal.norm",
    "feedforward.pwff_layer.0": "temporal.conv1", "feedforward.pwff_layer.3": "temporal.conv2",
    "layer_norm": "temporal.norm_out", "gloss_output_layer": "leave",
}  # fmt: skip


def load_heads(translator: Translator, stream: str, weights: str, *, ordered: bool) -> None:
    """Load the heads of MSKA's file by name; that of everything is the projector, temporal encoder and head `gloss`.

    Args:
        translator: with the heads of a `MskaLoss`.
        stream: whose parts they see.
        weights: a local file.
        ordered: whether the classes are those of the file; else the last layers stay as they are.

    Raises:
        ValueError: a file, or an encoder, of another form, and another number of classes.
    """
    encoder, heads = translator.encoder, translator.heads
    projector, temporal = encoder.projectors[encoder.owner[stream]], encoder.temporal
    if not isinstance(projector, LinearProjector) or not isinstance(temporal, VisualHeadTemporal):
        raise ValueError(
            "objective.published.weights: the head of everything is the projector and the temporal encoder; take "
            "projector._target_=slt.models.LinearProjector and temporal=visual_head, as experiments=mska does"
        )
    found = {
        name: [head.enter, head.temporal, head.leave] for name, head in heads.items() if isinstance(head, PartHead)
    }
    found["fuse"] = [projector.linear, temporal, heads[JOINED]]
    names = ("enter", "temporal", "leave")[: 3 if ordered else 2]
    network = nn.ModuleDict({
        name: nn.ModuleDict(dict(zip(names, parts, strict=False))) for name, parts in found.items()
    })  # fmt: skip
    classes = int(heads[JOINED].out_features)  # type: ignore[arg-type]

    def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
        theirs = len(published["recognition_network.fuse_visual_head.gloss_output_layer.bias"])
        if ordered and theirs != classes:
            raise ValueError(f"it has {theirs} classes and published.classes {classes}; give the file that is its own")
        if not ordered:
            log.warning(
                "published.weights has %d classes in an order that published.classes=gloss2ids.pkl would tell, the "
                "model %d: the last layer of each head starts anew", theirs, classes,
            )  # fmt: skip
        own = {name: x for key, x in published.items() if (name := _named(key))}
        return {name: x for name, x in own.items() if name.split(".")[0] in found and name.split(".")[1] in names}

    load_published(network, weights, renamed, "a checkpoint of MSKA, with the sizes of experiments=mska")
    log.info("loaded %d tensors of %d heads from %s", len(network.state_dict()), len(found), weights)


def _named(key: str) -> str | None:
    """`HEAD.PLACE.NAME` for a weight of a head of theirs, None for anything else, as positions that are computed."""
    if not (found := re.fullmatch(r"recognition_network\.(\w+)_visual_head\.(.+)\.(\w+)", key)):
        return None
    place = PLACES.get(found[2])
    return None if place is None else f"{found[1]}.{place}.{found[3]}"
