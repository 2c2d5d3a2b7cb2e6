"""What is minimised: a batch and a model in, a loss out; an objective is one class and one file in `conf/objective`.

B clips, L tokens, V vocabulary, T' frames after downsampling, G gloss classes and the blank.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.heads import JOINED, TOLD, Telling, told
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training.machine import Compute
from slt.training.processes import share

log = logging.getLogger(__name__)

BLANK = 0  # class of CTC's blank; the glosses follow it
IGNORED = -100


class Objective(Protocol):
    """What a training minimises, built of its own keys alone; it may have `after_step` and `report`, see `Trainer`."""

    measures: Sequence[str]  # what `select` may be, the default first
    translates: bool  # whether what it trains writes sentences: else the run ends without scoring any

    def labels(self, clips: Clips) -> list[str]:
        """What its heads tell apart, by the training clips; kept in checkpoints."""

    def heads(self, translator: Translator, labels: Sequence[str]) -> Mapping[str, nn.Module]:
        """Modules to be `translator.heads`, trained and saved with it."""

    def begin(self, model: Model, clips: Clips) -> None:
        """Take what it needs of the model, whose `glosses` are the labels, and of the training clips."""

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """The loss, a scalar, over the items of all processes (`processes.share`)."""

    def validate(self, model: Model, batches: Iterable[Batch], compute: Compute) -> dict[str, float]:
        """Metrics named `val/...`; one that translates is scored by its sentences instead, and needs none."""


class TranslationLoss:
    """Cross entropy of the sentence and, where a corpus has glosses, recognition of the signs beside it.

    The two are trained jointly as by Camgoz et al. 2020 (Sign Language Transformers, section 3.2), with CTC over the
    encoder's output. From random weights CTC stays on its plateau of blanks for hundreds of updates, so the first
    `flat_start` of them take the signs as evenly spread over the clip, as hidden-Markov recognisers are started.
    In these updates each stream's backbone may learn them by itself too, with `stream_weight`: or one that tells few
    signs apart, as the mouth does, is left unused by others that tell many. Labels are smoothed as by Szegedy et al.
    2016 (section 7). Without `sentence_weight` the signs alone are learned. With `tell_glosses` the decoder reads the
    signs that are recognised beside the encoder's output, see `slt.models.heads.told`.
    """

    measures: ClassVar[Sequence[str]] = ("bleu", "chrf", "gloss_wer")
    translates: ClassVar[bool] = True

    def __init__(
        self,
        *,
        label_smoothing: float,
        gloss_weight: float,
        flat_start: int,
        stream_weight: float = 0.0,
        sentence_weight: float = 1.0,
        tell_glosses: bool = False,
    ) -> None:
        self.label_smoothing, self.gloss_weight, self.flat_start = label_smoothing, gloss_weight, flat_start
        self.stream_weight, self.sentence_weight = stream_weight, sentence_weight
        self.tell_glosses = tell_glosses
        self.place: dict[str, int] = {}
        self.step = 0

    def labels(self, clips: Clips) -> list[str]:
        """The glosses of the training clips, sorted; none where the corpus has no such column or they weigh nothing."""
        if not self.gloss_weight or "gloss" not in clips.columns:
            log.info("training is gloss-free%s", ": the corpus has no column `gloss`" if self.gloss_weight else "")
            return []
        return sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})

    def heads(self, translator: Translator, labels: Sequence[str]) -> dict[str, nn.Module]:
        """`gloss` tells apart the glosses and the blank, `alone_NAME` by one stream's backbone; `told` tells them."""
        if not labels:
            return {}
        encoder, classes = translator.encoder, len(labels) + 1
        widths = {name: encoder.width(name) for name in encoder.streams if self.stream_weight}
        alone = {f"alone_{name}": nn.Linear(width, classes) for name, width in widths.items()}
        tell = {TOLD: Telling(classes, translator.embed_dim)} if self.tell_glosses and self.sentence_weight else {}
        return {JOINED: nn.Linear(translator.embed_dim, classes), **tell, **alone}

    def begin(self, model: Model, clips: Clips) -> None:
        self.place = {gloss: i for i, gloss in enumerate(model.glosses, start=BLANK + 1)}
        if not (self.place and self.gloss_weight) and not self.sentence_weight:
            raise ValueError("objective.sentence_weight=0: signs alone need glosses with a gloss_weight above 0")
        if self.place:
            name_too_short(clips, model.translator.encoder)

    def after_step(self, step: int) -> None:
        self.step = step

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch with tokens (B, L) -> the loss in nats, a scalar: the mean over tokens, then glosses."""
        assert batch.tokens is not None
        assert batch.tokens_mask is not None
        features: dict[str, Tensor] = {}
        memory, present = model.encoder(batch.streams, batch.seen, batch.frames, features)
        loss: Any = 0.0
        if self.sentence_weight:
            logits = model.decoder(told(model.heads, memory), present, batch.tokens, **model.context(batch))
            loss = sentence_loss(logits, batch.tokens, batch.tokens_mask, label_smoothing=self.label_smoothing)
            loss = self.sentence_weight * loss * share(batch.tokens_mask.sum() * batch.counts)
        if self.gloss_weight and self.place:
            targets = [[self.place[gloss] for gloss in text.split()] for text in batch.glosses]
            flat = self.step < self.flat_start
            lengths = [model.encoder.length(frames) for frames in batch.lengths]
            signs = gloss_loss(model.heads[JOINED](memory).float(), present, lengths, targets, flat=flat)
            items = present.sum() if flat else torch.full_like(present.sum(), len(targets))
            loss = loss + self.gloss_weight * signs * share(items * batch.counts)
            if flat and self.stream_weight:
                loss = loss + self.stream_weight * self._alone(model, batch, features, targets)
        return loss

    def _alone(
        self, model: Translator, batch: Batch, features: dict[str, Tensor], targets: Sequence[Sequence[int]]
    ) -> Tensor:
        """The loss of the signs by each stream's own features (B, T, F) where it was seen, the mean over streams."""
        lengths = [-(-frames // model.encoder.shortening) for frames in batch.lengths]
        losses = []
        for name, x in features.items():
            seen = model.encoder.shortened(batch.seen[name] & batch.frames, x.shape[1])
            scores = model.heads[f"alone_{name}"](x).float()
            signs = masked_cross_entropy(scores, spread(lengths, targets, x), seen, reduction="sum")
            # A mean, and nothing where nobody shows the stream.
            losses.append(signs / seen.sum().clamp(min=1) * share(seen.sum() * batch.counts))
        return torch.stack(losses).mean()


def sentence_loss(logits: Tensor, tokens: Tensor, tokens_mask: Tensor, *, label_smoothing: float) -> Tensor:
    """Cross entropy of (B, L, V) logits and (B, L) tokens, the mean over those of `tokens_mask` (B, L)."""
    return masked_cross_entropy(logits.float(), tokens, tokens_mask, label_smoothing=label_smoothing)


def masked_cross_entropy(scores: Tensor, classes: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Cross entropy of (B, L, V) and (B, L), the mean over `mask`, without asking a GPU how many those are.

    `options` are of torch's function, such as `label_smoothing`.
    """
    wanted = classes.masked_fill(~mask, IGNORED).flatten()
    return functional.cross_entropy(scores.flatten(0, 1), wanted, ignore_index=IGNORED, **options)


def spread(lengths: Sequence[int], targets: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """The classes of clips of these lengths, each spread evenly over its clip: int64 (B, T), as `like` (B, T, ...)."""
    even = torch.zeros(like.shape[:2], dtype=torch.int64)
    for clip, (classes, length) in enumerate(zip(targets, lengths, strict=True)):
        if classes:
            even[clip, :length] = torch.tensor(classes)[torch.arange(length) * len(classes) // length]
    return even.to(like.device, non_blocking=True)


def gloss_loss(
    scores: Tensor,
    present: Tensor,
    lengths: Sequence[int],
    targets: Sequence[Sequence[int]],
    *,
    flat: bool,
    reduction: str = "mean",
) -> Tensor:
    """Recognition loss of scores (B, T', G), present (B, T') of these `lengths`, and the gloss classes in signed order.

    Nats a gloss (CTC; Graves et al. 2006) or, where `flat`, a frame: cross entropy with the signs spread evenly. A clip
    with fewer frames than CTC needs for its glosses (one each, and a blank between equal neighbours) adds nothing
    instead of infinity. With `reduction` sum CTC's is that of the clips' nats, whatever their glosses.
    """
    device = scores.device
    if flat:
        return masked_cross_entropy(scores, spread(lengths, targets, scores), present)
    flattened = torch.tensor([c for classes in targets for c in classes], dtype=torch.int64)
    if torch.are_deterministic_algorithms_enabled():
        device = torch.device("cpu")  # CTC's gradient on a GPU is not the same each time
    # Plain numbers, which torch takes and does not say so: lengths on a GPU would have the host wait for them.
    frames: Any = [*lengths]
    glosses: Any = [len(classes) for classes in targets]
    loss = functional.ctc_loss(
        scores.log_softmax(dim=2).transpose(0, 1).to(device), flattened.to(device, non_blocking=True), frames, glosses,
        blank=BLANK, zero_infinity=True, reduction=reduction,
    )  # fmt: skip
    return loss.to(scores.device)


def name_too_short(clips: Clips, encoder: nn.Module) -> list[str]:
    """Warns, once for the split, of clips with glosses that CTC cannot teach from, and returns their ids."""
    length: Any = encoder.length
    short = []
    for name, gloss, frames in zip(clips.ids, clips.columns["gloss"], clips.lengths.tolist(), strict=True):
        signs = gloss.split()
        needed = len(signs) + sum(one == two for one, two in pairwise(signs))  # a blank between equal ones
        if needed > length(frames):
            short.append(name)
    if short:
        log.warning(
            "%d of %d clips of %s have fewer frames than CTC needs for their glosses, and teach it nothing: %s%s; "
            "lower temporal.downsample, raise dataset.fps, or look whether their times and glosses are right",
            len(short), len(clips), clips.split, ", ".join(short[:10]), ", ..." if len(short) > 10 else "",
        )  # fmt: skip
    return short
