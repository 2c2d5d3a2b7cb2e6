"""A stage before translation: the encoder learns which words of the sentence are signed, and where, of no gloss.

B clips, T' frames after downsampling, D model width, P prototype width, N words.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training import processes
from slt.training.machine import Compute
from slt.training.processes import share

log = logging.getLogger(__name__)

WORD = re.compile(r"\w+(?:['’]\w+)*")
SAID = 0.5  # score from which a word counts as said, as with the authors


class Prototypes(nn.Module):
    """How surely each word is somewhere in a clip: cosine of each frame with each word's vector (Sign2GPT, section 3).

    One softmax over the words, and a vector of zeros that stands for none of them, says what a frame shows; one over
    the frames where each word is; a word's score is the sum over frames of the product of both. Their temperatures are
    learned, within 0.01 and 1.
    """

    def __init__(self, *, embed_dim: int, num_words: int, width: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(embed_dim, width)
        self.vectors = nn.Parameter(torch.randn(num_words, width))
        self.temperatures = nn.Parameter(torch.full((2,), temperature))  # of words, of frames

    def forward(self, memory: Tensor, present: Tensor) -> Tensor:
        """Memory (B, T', D) and which frames are there, (B, T') -> scores from 0 to 1, (B, N), float32."""
        x = self.linear(self.dropout(memory))
        with torch.autocast(x.device.type, enabled=False):
            cosine = functional.normalize(x.float(), dim=2) @ functional.normalize(self.vectors, dim=1).T
            cosine = functional.pad(cosine, (0, 1))  # none of the words
            of_words, of_frames = self.temperatures.clamp(0.01, 1).unbind()
            least = torch.finfo(cosine.dtype).min
            where = (cosine / of_frames).masked_fill(~present[..., None], least).softmax(dim=1)
            return ((cosine / of_words).softmax(dim=2) * where).sum(dim=1)[:, :-1]


class PseudoGlosses:
    """Words of the sentence as weak labels of its clip (Sign2GPT, Wong et al. 2024, section 3): binary cross entropy.

    The authors keep lemmas of nouns, numerals, adverbs, pronouns, adjectives and verbs, as spaCy tags them. Without a
    tagger a word is kept by how often it comes and by its letters; with a table of `lemmas`, made by any tagger, those
    of its words that are written there. Their vectors are fastText's, which are not trained; here they are learned
    from the clips, unless there is a file of `vectors`.

    Args:
        min_count: in how many training sentences a word is at the least.
        max_share: in what share of them it is at most: articles and prepositions are nearly everywhere.
        min_letters: letters of a word at the least.
        lemmas: file of a word, a tab and its lemma a line, in lower case; a word that is not in it is no label.
        vectors: file of word vectors as text, a word and P numbers a line (fastText's .vec).
        prototypes: makes the head, of `embed_dim` and `num_words`.
        weight: of the mean over clips and words; 10 with the authors.
    """

    measures: ClassVar[Sequence[str]] = ("found", "f1", "precision", "recall")
    translates: ClassVar[bool] = False

    def __init__(
        self,
        *,
        min_count: int,
        max_share: float,
        min_letters: int,
        lemmas: str | None,
        vectors: str | None,
        prototypes: Callable[..., Prototypes],
        weight: float,
    ) -> None:
        self.min_count, self.max_share, self.min_letters = min_count, max_share, min_letters
        self.lemmas, self.vectors, self.prototypes, self.weight = lemmas, vectors, prototypes, weight
        self.lemma: dict[str, str] | None = None
        self.place: dict[str, int] = {}

    def words(self, text: str) -> set[str]:
        """The words of a sentence in lower case, or their lemmas."""
        words = WORD.findall(text.lower())
        return {*words} if self.lemma is None else {self.lemma[word] for word in words if word in self.lemma}

    def labels(self, clips: Clips) -> list[str]:
        """The words of the training sentences that are labels, sorted."""
        if self.lemmas is not None:
            self.lemma = dict(pairs(Path(self.lemmas)))
        counts = Counter(word for text in clips.texts for word in self.words(str(text)))
        most = self.max_share * len(clips)
        kept = sorted(
            word for word, n in counts.items() if self.min_count <= n <= most and len(word) >= self.min_letters
        )
        if not kept:
            raise ValueError(
                f"objective: none of {len(counts)} words is in {self.min_count} to {most:.0f} of the {len(clips)} "
                f"sentences and has {self.min_letters} letters; lower min_count or raise max_share"
            )
        log.info("%d of %d words are labels", len(kept), len(counts))
        return kept

    def heads(self, translator: Translator, labels: Sequence[str]) -> Mapping[str, nn.Module]:
        """`words` scores the labels."""
        return {"words": self.prototypes(embed_dim=translator.embed_dim, num_words=len(labels))}

    def begin(self, model: Model, clips: Clips) -> None:
        """Take the labels, and of a file of vectors those of them; words that it has not keep random ones."""
        self.place = {word: i for i, word in enumerate(model.glosses)}
        if self.vectors is None:
            return
        head: Any = model.translator.heads["words"]
        found = 0
        for word, numbers in pairs(Path(self.vectors), " "):
            if word in self.place:
                vector = torch.tensor([float(number) for number in numbers.split()])
                if len(vector) != head.vectors.shape[1]:
                    raise ValueError(
                        f"objective.vectors={self.vectors}: {word!r} has {len(vector)} numbers, and "
                        f"objective.prototypes.width is {head.vectors.shape[1]}; make them alike"
                    )
                head.vectors.data[self.place[word]] = vector.to(head.vectors)
                found += 1
        head.vectors.requires_grad_(False)
        log.info("%s has vectors of %d of %d words", self.vectors, found, len(self.place))

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch of B clips -> the loss, a scalar."""
        scores = self.score(model, batch)
        wanted = self.targets(batch.texts).to(scores.device, non_blocking=True)
        clips = torch.full_like(batch.frames.sum(), len(batch)) * batch.counts
        with torch.autocast(scores.device.type, enabled=False):
            loss = functional.binary_cross_entropy(scores.clamp(1e-8, 1 - 1e-8), wanted)
        return self.weight * loss * share(clips)

    def score(self, model: Translator, batch: Batch) -> Tensor:
        """Scores (B, N) of a batch's clips."""
        scores: Tensor = model.heads["words"](*model.encoder(batch.streams, batch.seen, batch.frames))
        return scores

    def targets(self, texts: Sequence[str]) -> Tensor:
        """Which words are in B sentences, (B, N) of 0 and 1, float32."""
        wanted = torch.zeros(len(texts), len(self.place))
        for row, text in zip(wanted, texts, strict=True):
            row[[self.place[word] for word in self.words(text) if word in self.place]] = 1
        return wanted

    @torch.no_grad()
    def validate(self, model: Model, batches: Iterable[Batch], compute: Compute) -> dict[str, float]:
        """In percent of all clips' words together: `val/precision`, `val/recall` and `val/f1` of scores above `SAID`.

        `val/found` is the share of words that are among the best of their clip, of as many as it has: no bound of a
        score decides. Words of the sentences that are no labels do not count.
        """
        counts = torch.zeros(4)  # words, found, said, said and right
        total, clips = 0.0, 0
        for batch in batches:
            batch = batch.to(compute.device)
            with compute.autocast():
                scores = self.score(model.translator, batch).cpu()
            wanted = self.targets(batch.texts)
            place = scores.argsort(dim=1, descending=True).argsort(dim=1)
            best, said = place < wanted.sum(1, keepdim=True), scores > SAID
            counts += torch.stack([each.sum() for each in (wanted, wanted * best, said, wanted * said)])
            total += functional.binary_cross_entropy(scores.clamp(1e-8, 1 - 1e-8), wanted).item() * len(batch)
            clips += len(batch)
        parts = processes.gather((counts, total, clips))
        words, found, said, right = sum(part[0] for part in parts).tolist()
        shares = {
            "found": found / max(words, 1),
            "precision": right / max(said, 1),
            "recall": right / max(words, 1),
            "f1": 2 * right / max(words + said, 1),
        }
        loss = self.weight * sum(part[1] for part in parts) / sum(part[2] for part in parts)
        return {"val/loss": loss} | {f"val/{name}": 100 * value for name, value in shares.items()}


def pairs(path: Path, separator: str = "\t") -> Iterator[tuple[str, str]]:
    """What stands before and behind the first separator of each line of a file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"objective: {path}: no such file; give one of objective.lemmas, objective.vectors, or null"
        )
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, rest = line.strip().partition(separator)
            yield word, rest
