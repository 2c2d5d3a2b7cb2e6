"""Heads that recognise signs beside the encoder, each by its own parts of a stream, and what they agree on.

Shape letters: B clips, T' frames after the backbone, F backbone width, D width of a head, G gloss classes and the
blank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

JOINED = "gloss"  # the head that sees the encoder's output; its name in `Translator.heads`
TOLD = "told"  # what makes of that head's classes something that the decoder reads


class PartHead(nn.Module):
    """Recognises signs by some parts of one stream.

    Args:
        stream: its name.
        widths: part -> how many of the features of the stream's backbone are its own, in their order.
        parts: those that this head sees, in the order in which it sees them.
        temporal: a temporal encoder that keeps every frame, with `embed_dim` D.
        num_classes: G.
    """

    def __init__(
        self, *, stream: str, widths: Mapping[str, int], parts: Sequence[str], temporal: nn.Module, num_classes: int
    ) -> None:
        super().__init__()
        self.stream = stream
        ends = torch.tensor([*widths.values()]).cumsum(0).tolist()
        own = {part: range(end - width, end) for (part, width), end in zip(widths.items(), ends, strict=True)}
        places = [place for part in parts for place in own[part]]
        embed_dim = int(temporal.embed_dim)  # type: ignore[arg-type]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.enter, self.temporal = nn.Linear(len(places), embed_dim), temporal
        self.leave = nn.Linear(embed_dim, num_classes)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, T', F) of the stream and (B, T') bool, True = of the clip -> scores (B, T', G)."""
        x, _ = self.temporal(self.enter(features.index_select(2, self.get_buffer("places"))), present)
        return self.leave(x)


class Telling(nn.Linear):
    """An embedding of the classes for whoever reads their probabilities: (..., G) -> (..., D).

    Drawn as embeddings are, of standard deviation 1 like the encoder's output: drawn as linear maps are, a decoder
    passes it over.
    """

    def __init__(self, num_classes: int, embed_dim: int) -> None:
        super().__init__(num_classes, embed_dim, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


def told(heads: nn.ModuleDict, memory: Tensor) -> Tensor:
    """What the decoder reads of the encoder's (B, T', D): where it is told the signs, these are added.

    Each position is given the classes that the head finds likely there, as self-conditioned CTC gives them to the
    encoder's next layer (Nozaki and Komatsu 2021, equation 9); but the head learns nothing from who reads it. Else the
    decoder must find signs that are alike, and that the head tells apart, in the encoder's output a second time.
    """
    if TOLD not in heads:
        return memory
    return memory + heads[TOLD](heads[JOINED](memory).detach().softmax(-1))


def sign_scores(
    heads: nn.ModuleDict, memory: Tensor, present: Tensor, features: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Scores (B, T', G) of every head that recognises signs, by its name; none where there is none.

    `memory` (B, T', D) and its mask `present` are the encoder's, `features` what its backbones gave.
    """
    if JOINED not in heads:
        return {}
    parts = {name: head for name, head in heads.items() if isinstance(head, PartHead)}
    return {JOINED: heads[JOINED](memory)} | {
        name: head(features[head.stream], present) for name, head in parts.items()
    }


def agreed(scores: Sequence[Tensor]) -> Tensor:
    """Scores (B, T', G) of several heads -> the logarithm of the mean of their probabilities; of one, what it gave."""
    if len(scores) == 1:
        return scores[0]
    return torch.stack([each.float().log_softmax(2) for each in scores]).logsumexp(0) - math.log(len(scores))
