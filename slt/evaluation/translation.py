"""Translates a split: batches in, sentences and the teacher-forced loss out. B clips, T frames, L tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from slt.evaluation.breakdown import gloss_scores
from slt.evaluation.metrics import bleu, chrf
from slt.evaluation.prediction import Prediction
from slt.evaluation.recognition import Language, recognise
from slt.evaluation.settings import AS_WRITTEN, Conventions
from slt.models.confidence import signals
from slt.models.heads import agreed, sign_scores, told
from slt.models.search import Search
from slt.models.tokenizer import decode, languages
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training import processes
from slt.training.machine import Compute


def blank(batch: Batch, streams: Collection[str]) -> Batch:
    """The batch with the named streams not seen in any frame."""

    def without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.zeros_like(x) if name in streams else x for name, x in tensors.items()}

    return replace(batch, streams=without(batch.streams), seen=without(batch.seen))


def seen_share(batch: Batch) -> list[float]:
    """The share of each clip's frames (B) in which its streams were seen, the mean over streams."""
    seen = torch.stack([mask.sum(1) for mask in batch.seen.values()]).double().mean(0)
    return [float(share) for share in seen / batch.frames.sum(1)]


@torch.no_grad()
def translate(
    model: Model,
    batches: Iterable[Batch],
    search: Search,
    compute: Compute,
    *,
    drop: Collection[str] = (),
    gloss_beam: int | None = None,
    language: Language | None = None,
    progress: str | None = None,
) -> tuple[list[Prediction], float]:
    """Translates every clip once -> predictions of all processes' clips by id, and mean cross entropy in nats a token.

    Clips with glosses are recognised too, by a model that learned to; `gloss_beam` is the width of the prefix beam
    search beside the best path, which asks a `language` too. Streams of `drop` are taken as not seen. `progress` labels
    a progress bar.

    A decoder that reads the sentence before is told its own translation, for the loss too: a user's film has no
    references. It needs batches in the order of films (`evaluation_batches`); what is not translated yet is not told.
    """
    model.translator.eval()
    predictions: list[Prediction] = []
    said: dict[str, str] = {}
    total, count = 0.0, 0
    signs: dict[str, Any] = {"width": gloss_beam, "language": language}
    for batch in tqdm(batches, desc=progress, disable=progress is None or not processes.first(), unit="batch"):
        batch = replace(batch, contexts=[said.get(name, "") for name in batch.previous])
        found, loss, tokens = _translated(model, blank(batch.to(compute.device), drop), search, compute, signs)
        predictions += found
        said |= {p.id: p.hypothesis for p in found}
        total, count = total + loss, count + tokens
    parts = processes.gather((predictions, total, count))
    everything = sorted((p for part, _, _ in parts for p in part), key=lambda p: p.id)
    return everything, sum(total for _, total, _ in parts) / sum(count for _, _, count in parts)


def _translated(
    model: Model, batch: Batch, search: Search, compute: Compute, recognised: dict[str, Any]
) -> tuple[list[Prediction], float, int]:
    """The predictions of a batch, the cross entropy of its tokens in nats, and how many these are."""
    translator = model.translator
    with compute.autocast():
        features: dict[str, Tensor] = {}
        memory, present = translator.encoder(batch.streams, batch.seen, batch.frames, features)
        said = translator.context(batch)
        first = languages(model.tokenizer, batch.languages)
        read = told(translator.heads, memory)
        logits = translator.decoder(read, present, batch.tokens, **said)
        found = translator.decoder.generate(read, present, replace(search, nbest=None), first, **said)
        signs = None
        if any(batch.glosses) and (scores := sign_scores(translator.heads, memory, present, features)):
            signs = recognise(agreed([*scores.values()]), present, model.glosses, **recognised)
    mask = batch.tokens_mask
    assert batch.tokens is not None
    assert mask is not None
    loss = functional.cross_entropy(logits[mask].float(), batch.tokens[mask], reduction="sum").item()
    predictions = []
    frames = batch.frames.sum(1).tolist()
    for i, (name, text, seen) in enumerate(zip(batch.ids, batch.texts, seen_share(batch), strict=True)):
        kept = found[i][: search.nbest]
        sentences = decode(model.tokenizer, [one.ids for one in kept])
        beam = list(zip(sentences, (one.score for one in kept), strict=True))
        beside: dict[str, Any] = {} if signs is None else {"gloss": batch.glosses[i], "recognised": signs[i]}
        beside["signals"] = signals(found[i], seen=seen, frames=frames[i])
        if model.confidence is not None and model.confidence.fits(search):
            beside["confidence"] = model.confidence(beside["signals"], sentences[0])
        predictions.append(Prediction.of(name, text, beam, seen=seen, **beside))
    return predictions, loss, int(mask.sum())


def validate(
    model: Model,
    batches: Iterable[Batch],
    compute: Compute,
    *,
    conventions: Conventions = AS_WRITTEN,
    show: Callable[[list[Prediction]], object] | None = None,
) -> dict[str, float]:
    """`val/loss`, and of greedy translations (best paths) `val/bleu`, `val/chrf` and, with glosses, `val/gloss_wer`.

    Scores follow the `conventions` of the corpus. `show` takes the translations as well, such as a dashboard's.
    """
    greedy = Search(num_beams=1, length_penalty=1.0, max_tokens=model.search.max_tokens)
    predictions, loss = translate(model, batches, greedy, compute)
    if show is not None:
        show(predictions)
    scored = [p.hypothesis for p in predictions], [p.reference for p in predictions], conventions
    scores = {"val/loss": loss, "val/bleu": bleu(*scored), "val/chrf": chrf(*scored)}
    signs = gloss_scores(predictions, bootstrap=0, seed=0)
    return scores | {f"val/{name}": found.value for name, found in signs.items()}
