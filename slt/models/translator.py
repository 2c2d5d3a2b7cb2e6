"""The translator: encoder and decoder, streams to sentences.

Shape letters: B clips, T frames, T' frames after downsampling, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slt.models.causal import CausalDecoder
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.multistream import MultiStreamEncoder
from slt.models.search import Found, Search
from slt.streams.batch import Batch


class Translator(nn.Module):
    """Streams in, sentence out; with `num_glosses` above 0 a head beside the decoder recognises signs in training."""

    def __init__(
        self, *, encoder: MultiStreamEncoder, decoder: TextSeq2SeqDecoder | CausalDecoder, num_glosses: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.gloss_head = nn.Linear(decoder.bridge.in_features, num_glosses + 1) if num_glosses else None

    def forward(self, batch: Batch) -> Tensor:
        """A batch with tokens (B, L) -> logits (B, L, V), teacher-forced."""
        memory, present = self.encoder(batch.streams, batch.seen, batch.frames)
        return self.decoder(memory, present, batch.tokens)

    def compile(self, *args: Any, **options: Any) -> None:
        """Have torch compile what training calls: the encoder and the decoder, each a graph of its own."""
        for part in (self.encoder, self.decoder):
            part.compile(*args, **options)

    def generate(self, batch: Batch, search: Search) -> list[list[Found]]:
        """A batch of B clips -> the sentences of each, best first."""
        memory, present = self.encoder(batch.streams, batch.seen, batch.frames)
        return self.decoder.generate(memory, present, search)
