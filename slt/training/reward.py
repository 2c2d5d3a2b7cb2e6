"""After training: sentences that score better become likelier. B clips, K candidates each, N = B K, L tokens.

V is the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.search import Search
from slt.models.tokenizer import decode, languages
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training.objective import TranslationLoss
from slt.training.processes import share


class RewardLoss(TranslationLoss):
    """The expected reward over the candidates of the search, held near the model that training began with.

    Minimum risk training (Shen et al. 2016, section 3.2): the K best sentences of a beam search share one probability,
    each its own to the power of `sharpness`, and the loss is minus the mean reward under it. Its gradient weighs a
    candidate by its reward less that mean, which is the baseline. The distance to the model of the beginning is the
    Kullback-Leibler divergence of its next words from those of now, along the candidates, in nats a token; `kl_weight`
    is its weight. `sentence_weight` is that of the translation's own loss beside it, with that of the signs.

    The candidates are searched for without dropout and by the host, so an update waits for the device.

    Args:
        reward: (hypotheses, references) -> rewards (N,), the higher the better.
        candidates: K, beams of the search.
    """

    measures: ClassVar[Sequence[str]] = ("bleu", "chrf", "gloss_wer")

    def __init__(
        self,
        *,
        reward: Callable[[Sequence[str], Sequence[str]], NDArray[np.float32]],
        candidates: int,
        sharpness: float,
        kl_weight: float,
        sentence_weight: float,
        label_smoothing: float,
        gloss_weight: float,
        tell_glosses: bool = False,
    ) -> None:
        super().__init__(
            label_smoothing=label_smoothing, gloss_weight=gloss_weight, flat_start=0, tell_glosses=tell_glosses
        )
        if candidates < 2:
            raise ValueError(
                f"objective.candidates={candidates}: 2 or more expected, or there is nothing to choose from"
            )
        self.reward, self.candidates, self.sharpness = reward, candidates, sharpness
        self.kl_weight, self.own_weight = kl_weight, sentence_weight  # the parent's is within its loss
        self.model: Model | None = None
        self.before: Translator | None = None
        self._last: dict[str, Tensor] = {}

    def begin(self, model: Model, clips: Clips) -> None:
        super().begin(model, clips)
        self.model = model
        if self.kl_weight:
            self.before = copy.deepcopy(model.translator).requires_grad_(False).eval()

    def report(self) -> dict[str, float]:
        """The mean reward of the candidates, that of the best of each clip, and the distance from the beginning."""
        return {f"train/{name}": value.item() for name, value in self._last.items()}

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch -> the loss, a scalar: the mean over clips."""
        assert self.model is not None
        tokens, mask, rewards = self._candidates(model, batch)
        memory, present = model.read(batch.streams, batch.seen, batch.frames)
        each = torch.arange(len(batch), device=memory.device).repeat_interleave(self.candidates)
        told = {key: tuple(x[each] for x in parts) for key, parts in model.context(batch).items()}
        logs = model.decoder(memory[each], present[each], tokens, **told).float().log_softmax(-1)  # (N, L, V)
        said = (logs.gather(2, tokens[..., None])[..., 0] * mask).sum(1).unflatten(0, (-1, self.candidates))
        weight = (self.sharpness * said).softmax(1)
        loss = -(weight * rewards).sum(1).mean()
        self._last = {"reward": rewards.mean(), "reward_best": rewards.amax(1).mean()}
        if self.before is not None:
            with torch.no_grad():
                old, there = self.before.read(batch.streams, batch.seen, batch.frames)
                wanted = self.before.decoder(old[each], there[each], tokens, **told).float().log_softmax(-1)
            apart = ((logs.exp() * (logs - wanted)).sum(-1) * mask).sum() / mask.sum()
            self._last["distance"] = apart.detach()
            loss = loss + self.kl_weight * apart
        loss = loss * share(batch.frames.any(1).sum() * batch.counts)
        return loss + self.own_weight * super().__call__(model, batch) if self.own_weight else loss

    def _candidates(self, model: Translator, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (N, L) of the candidates of all clips, which are theirs (N, L), and their rewards (B, K)."""
        assert self.model is not None
        training = model.training
        model.eval()
        with torch.no_grad():
            memory, present = model.read(batch.streams, batch.seen, batch.frames)
            options = Search(num_beams=self.candidates, length_penalty=1.0, max_tokens=self.model.search.max_tokens)
            first = languages(self.model.tokenizer, batch.languages)
            found = model.decoder.generate(memory, present, options, first, **model.context(batch))
        model.train(training)
        # A forced first token may leave fewer: the best then stands in again.
        rows: list[tuple[int, ...]] = [
            each[n if n < len(each) else 0].ids for each in found for n in range(self.candidates)
        ]
        pad: Any = model.decoder.tokens.pad
        tokens = torch.full((len(rows), max(map(len, rows))), pad, dtype=torch.int64)
        for row, ids in enumerate(rows):
            tokens[row, : len(ids)] = torch.tensor(ids)
        # By length: of some tokenizers the padding is the end token.
        mask = torch.arange(tokens.shape[1]) < torch.tensor([*map(len, rows)])[:, None]
        references = [text for text in batch.texts for _ in range(self.candidates)]
        rewards = torch.from_numpy(self.reward(decode(self.model.tokenizer, rows), references))
        device = memory.device
        return tokens.to(device), mask.to(device), rewards.unflatten(0, (-1, self.candidates)).to(device)
