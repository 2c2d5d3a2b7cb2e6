"""Translates a split: batches in, sentences and the teacher-forced loss out.

Shape letters: B clips, T frames, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional
from tqdm import tqdm

from slt.evaluation.breakdown import gloss_scores
from slt.evaluation.metrics import bleu, chrf
from slt.evaluation.prediction import Prediction
from slt.evaluation.recognition import recognise
from slt.models import Translator
from slt.models.tokenizer import decode
from slt.streams.batch import Batch
from slt.training import processes
from slt.training.machine import Compute


def blank(batch: Batch, streams: Collection[str]) -> Batch:
    """The batch with the named streams not seen in any frame."""
    content = {name: torch.zeros_like(x) if name in streams else x for name, x in batch.streams.items()}
    seen = {name: torch.zeros_like(mask) if name in streams else mask for name, mask in batch.seen.items()}
    return replace(batch, streams=content, seen=seen)


def seen_share(batch: Batch) -> list[float]:
    """The share of each clip's frames (B) in which its streams were seen, the mean over streams."""
    seen = torch.stack([mask.sum(1) for mask in batch.seen.values()]).double().mean(0)
    return [float(share) for share in seen / batch.frames.sum(1)]


@torch.no_grad()
def translate(
    translator: Translator,
    batches: Iterable[Batch],
    tokenizer: Any,
    *,
    device: torch.device,
    precision: str,
    num_beams: int,
    length_penalty: float,
    nbest: int,
    max_tokens: int,
    drop: Collection[str] = (),
    glosses: Sequence[str] = (),
    gloss_beam: int | None = None,
    progress: str | None = None,
) -> tuple[list[Prediction], float]:
    """Translates every clip once, deterministically.

    Args:
        translator: in evaluation mode or not; it is put into it.
        batches: with tokens; of several processes, each has its own clips.
        tokenizer: ids -> text.
        device, precision: as in training.
        num_beams, length_penalty, nbest, max_tokens: of the search.
        drop: streams taken as not seen.
        glosses: the inventory of the gloss head; clips with glosses are recognised too. Empty = none is.
        gloss_beam: width of the prefix beam search beside the best path; None = the best path alone.
        progress: label of a progress bar; None for none.

    Returns:
        Predictions of all processes' clips, sorted by clip id, and the mean cross entropy in nats a token over all
        their tokens, without smoothing; the same in each process.
    """
    translator.eval()
    predictions: list[Prediction] = []
    total, count = 0.0, 0
    for batch in tqdm(batches, desc=progress, disable=progress is None or not processes.first(), unit="batch"):
        batch = blank(batch.to(device), drop) if drop else batch.to(device)
        with Compute(device, precision).autocast():
            memory, present = translator.encoder(batch.streams, batch.seen, batch.frames)
            logits = translator.decoder(memory, present, batch.tokens)
            out = translator.decoder.generate(
                memory, present, num_beams=num_beams, length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens
            )
            signs = None
            if translator.gloss_head is not None and glosses and any(batch.glosses):
                signs = recognise(translator.gloss_head(memory), present, glosses, width=gloss_beam)
        mask = batch.tokens_mask
        assert batch.tokens is not None
        assert mask is not None
        total += functional.cross_entropy(logits[mask].float(), batch.tokens[mask], reduction="sum").item()
        count += int(mask.sum())
        sentences = decode(tokenizer, out.ids.flatten(0, 1).cpu())
        seen = seen_share(batch)
        for i, (name, text) in enumerate(zip(batch.ids, batch.texts, strict=True)):
            beam = zip(sentences[i * nbest : (i + 1) * nbest], out.scores[i].tolist(), strict=True)
            told = {} if signs is None else {"gloss": batch.glosses[i], "recognised": signs[i]}
            predictions.append(Prediction.of(name, text, list(beam), seen=seen[i], **told))
    parts = processes.gather((predictions, total, count))
    everything = sorted((p for part, _, _ in parts for p in part), key=lambda p: p.id)
    return everything, sum(total for _, total, _ in parts) / sum(count for _, _, count in parts)


def validate(
    translator: Translator,
    batches: Iterable[Batch],
    tokenizer: Any,
    *,
    show: Callable[[list[Prediction]], object] | None = None,
    **options: Any,
) -> dict[str, float]:
    """Validation during training: `val/loss`, and `val/bleu` and `val/chrf` of greedy translations.

    Where glosses are recognised, `val/gloss_wer` of the best path too.

    Args:
        translator, batches, tokenizer: as in `translate`.
        show: takes the translations too, such as a dashboard's.
        options: `device`, `precision`, `max_tokens` and `glosses` of `translate`.
    """
    predictions, loss = translate(translator, batches, tokenizer, num_beams=1, length_penalty=1.0, nbest=1, **options)
    if show is not None:
        show(predictions)
    hypotheses, references = [p.hypothesis for p in predictions], [p.reference for p in predictions]
    scores = {"val/loss": loss, "val/bleu": bleu(hypotheses, references), "val/chrf": chrf(hypotheses, references)}
    signs = gloss_scores(predictions, bootstrap=0, seed=0)
    return scores | {f"val/{name}": found.value for name, found in signs.items()}
