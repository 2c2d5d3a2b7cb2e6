"""A stage before translation: the encoder learns to tell which sentence a film says, and the decoder to write it.

A, B clips, T' frames after downsampling, L tokens, H width of the decoder's model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.attention import hiding
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training import processes
from slt.training.machine import Compute
from slt.training.objective import sentence_loss
from slt.training.processes import share

FILMS_AT_ONCE = 16  # whose similarity to all sentences is computed together in validation
MOST = 100.0  # of the learned factor (CLIP, Radford et al. 2021, section 2.5)


class Pooled(nn.Module):
    """Cosine of a film's mean vector and a sentence's, as of any two pictures of CLIP."""

    def forward(self, film: Tensor, present: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(A, T', H) and present (A, T'), (B, L, H) and mask (B, L) -> twice the same (A, B)."""
        scores = functional.normalize(averaged(film, present)) @ functional.normalize(averaged(text, mask)).T
        return scores, scores


class FineGrained(nn.Module):
    """Each frame beside the words that fit it, each word beside its frames (CiCo, Cheng et al. 2023, section 3).

    The authors let padding take part in the weighing of words and frames; here it has no weight.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, film: Tensor, present: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(A, T', H) and present (A, T'), (B, L, H) and mask (B, L) -> by frames (A, B), and by words (A, B)."""
        fit = torch.einsum("ath,blh->abtl", functional.normalize(film, dim=2), functional.normalize(text, dim=2))
        hidden = (hiding(~mask)[None, :, None], hiding(~present)[:, None, :, None])
        frames, words = (
            (fit * (fit / self.temperature + absent).softmax(dim=axis)).sum(dim=axis)
            for axis, absent in zip((3, 2), hidden, strict=True)
        )
        by_frames = (frames * present[:, None]).sum(2) / present.sum(1)[:, None]
        return by_frames, (words * mask).sum(2) / mask.sum(1)


class FilmHead(nn.Module):
    """Films to where sentences are, and the factor of their likeness, which is learned from 1 / `temperature` on."""

    def __init__(self, *, width: int, temperature: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.log_scale = nn.Parameter(torch.full((1,), -math.log(temperature)))  # FSDP2 takes no scalar

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=MOST)


class FilmTextContrast:
    """Visual-language pretraining (GFSLT-VLP, Zhou et al. 2023, section 3): contrast with the text, and masked text.

    A film is what the decoder would read of it, so that all parts of a translator but those which write are trained by
    the contrast; those learn to write a sentence from the text encoder's reading of it, some tokens hidden. As with
    the authors the text encoder learns nothing by that. Each process contrasts the clips of its own, as theirs do.

    Other than theirs: a film is the mean over its frames, not a token before them, and a sentence the mean over its
    tokens, not its end; any token may be hidden, not the last ones only, and is then left out, not another token; the
    decoder learns at every update, not at each fifth; and clips of one sentence are each other's, where theirs tell
    them apart.
    """

    measures: ClassVar[Sequence[str]] = ("r_at_1", "text_r_at_1")
    translates: ClassVar[bool] = False

    def __init__(
        self,
        *,
        similarity: nn.Module,
        text: Callable[..., nn.Module],
        temperature: float,
        target_scale: float | None,
        masked_weight: float,
        mask_share: float,
        label_smoothing: float,
    ) -> None:
        if not temperature > 0 or not 0 <= mask_share < 1:
            raise ValueError(
                f"objective.temperature={temperature}, objective.mask_share={mask_share}: expected a temperature above "
                "0, and a share from 0 to below 1"
            )
        self.similarity, self.text, self.temperature, self.target_scale = similarity, text, temperature, target_scale
        self.masked_weight, self.mask_share, self.label_smoothing = masked_weight, mask_share, label_smoothing

    def labels(self, clips: Clips) -> list[str]:
        return []

    def heads(self, translator: Translator, labels: Sequence[str]) -> Mapping[str, nn.Module]:
        """`text` reads sentences, `film` compares."""
        decoder = translator.decoder
        return {
            "text": self.text(decoder=decoder),
            "film": FilmHead(width=decoder.bridge.out_features, temperature=self.temperature),
        }

    def begin(self, model: Model, clips: Clips) -> None:
        pass

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch with tokens (B, L) -> the loss in nats, a scalar."""
        assert batch.tokens is not None
        assert batch.tokens_mask is not None
        film, present, text = self.read(model, batch)
        both = self.compare(model, film, present, text, batch.tokens_mask)
        same = alike(batch.texts).to(film.device, non_blocking=True)
        clips = torch.full_like(present.sum(), len(batch)) * batch.counts
        loss = contrast(*both, same, self.target_scale) * share(clips)
        if self.masked_weight:
            written = self.write(model, batch.tokens, batch.tokens_mask)
            loss = loss + self.masked_weight * written * share(batch.tokens_mask.sum() * batch.counts)
        return loss

    def read(self, model: Translator, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Films (B, T', H), which frames are there (B, T'), and sentences (B, L, H)."""
        memory, present = model.encoder(batch.streams, batch.seen, batch.frames)
        model.decoder.check_length(memory)
        film = model.heads["film"].linear(model.decoder.encode(memory, present))
        present, tokens = model.decoder.marks(present), batch.tokens
        return film, present, model.heads["text"](model.decoder, tokens, batch.tokens_mask)

    def compare(self, model: Any, film: Tensor, present: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(A, T', H) and (A, T'), (B, L, H) and (B, L) -> logits (A, B), by frames and by words, in float32."""
        with torch.autocast(film.device.type, enabled=False):
            by_frames, by_words = self.similarity(film.float(), present, text.float(), mask)
            scale = model.heads["film"].scale
            return scale * by_frames, scale * by_words

    def write(self, model: Translator, tokens: Tensor, mask: Tensor) -> Tensor:
        """Nats a token of the sentences (B, L), written from what the text encoder makes of them with some hidden."""
        read = mask & (torch.rand(tokens.shape, device=tokens.device) >= self.mask_share)
        with torch.no_grad():
            text = model.heads["text"](model.decoder, tokens, read)
        logits = model.decoder.follow(text, read, tokens)
        return sentence_loss(logits, tokens, mask, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def validate(self, model: Model, batches: Iterable[Batch], compute: Compute) -> dict[str, float]:
        """Retrieval among all sentences of the split, in percent, identical ones as one; and the contrast of them all.

        `val/r_at_1` is of the films whose best sentence is theirs, `val/text_r_at_1` of the sentences, the other way.
        """
        translator = model.translator
        found: list[tuple[str, str, Tensor, Tensor]] = []
        for batch in batches:
            batch = batch.to(compute.device)
            with compute.autocast():
                film, present, text = self.read(translator, batch)
            films = [x[kept].float().cpu() for x, kept in zip(film, present, strict=True)]
            assert batch.tokens_mask is not None
            texts = [x[kept].float().cpu() for x, kept in zip(text, batch.tokens_mask, strict=True)]
            found += zip(batch.ids, batch.texts, films, texts, strict=True)
        everything = sorted((row for part in processes.gather(found) for row in part), key=lambda row: row[0])
        _, sentences, films, texts = map(list, zip(*everything, strict=True))
        (film, present), (text, mask) = (padded(rows, compute.device) for rows in (films, texts))
        rows = [
            self.compare(translator, film[i : i + FILMS_AT_ONCE], present[i : i + FILMS_AT_ONCE], text, mask)
            for i in range(0, len(film), FILMS_AT_ONCE)
        ]
        by_frames, by_words = (torch.cat(parts).cpu() for parts in zip(*rows, strict=True))
        same, scores = alike(sentences), by_frames + by_words
        right = [same[torch.arange(len(same)), scores.argmax(dim=axis)].double().mean() for axis in (1, 0)]
        loss = contrast(by_frames, by_words, same, self.target_scale)
        return {"val/loss": loss.item(), "val/r_at_1": 100 * right[0].item(), "val/text_r_at_1": 100 * right[1].item()}


def contrast(by_frames: Tensor, by_words: Tensor, same: Tensor, target_scale: float | None) -> Tensor:
    """How far logits (B, B) of films and sentences are from which belong together, (B, B) bool: nats, the mean of all.

    Of each row and column the Kullback-Leibler divergence from the softmax of `target_scale` where they belong together
    and 0 elsewhere (10 with VLP), or with None from all weight on those: cross entropy then, as with CLIP and CiCo.
    """
    right = same.float()
    wanted = right / right.sum(1, keepdim=True) if target_scale is None else (target_scale * right).softmax(dim=1)
    ways = (by_frames, by_frames.T, by_words, by_words.T)
    losses = [functional.kl_div(logits.log_softmax(dim=1), wanted, reduction="batchmean") for logits in ways]
    return torch.stack(losses).mean()


def alike(texts: Sequence[str]) -> Tensor:
    """Which of B sentences are the same, bool (B, B)."""
    place = {text: i for i, text in enumerate(texts)}
    number = torch.tensor([place[text] for text in texts])
    return number[:, None] == number


def averaged(x: Tensor, mask: Tensor) -> Tensor:
    """The mean (B, H) of (B, L, H) where (B, L) is True."""
    return (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def padded(rows: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sequences of different length as (B, L, H), and which places are filled (B, L)."""
    lengths = torch.tensor([len(row) for row in rows], device=device)
    x = pad_sequence([*rows], batch_first=True).to(device)
    return x, torch.arange(x.shape[1], device=device) < lengths[:, None]
