"""The translator: encoder and decoder, streams to sentences.

Shape letters: B clips, T frames, T' frames after downsampling, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from slt.models.causal import CausalDecoder
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.heads import told
from slt.models.multistream import MultiStreamEncoder
from slt.models.search import Found, Search
from slt.streams.batch import Batch


class Translator(nn.Module):
    """Streams in, sentence out; `heads` are what an objective trains beside it, such as one that recognises signs."""

    def __init__(
        self,
        *,
        encoder: MultiStreamEncoder,
        decoder: TextSeq2SeqDecoder | CausalDecoder,
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.heads = nn.ModuleDict(heads)

    @property
    def embed_dim(self) -> int:
        """D, the width of what the encoder gives."""
        return self.decoder.bridge.in_features

    @property
    def reads_context(self) -> bool:
        """Whether the decoder is told the sentence before."""
        return isinstance(self.decoder, CausalDecoder) and self.decoder.reads_context

    def context(self, batch: Batch) -> dict[str, Any]:
        """What else the decoder takes by keyword: of one that reads it, the sentence before each of B clips."""
        decoder = self.decoder
        if not isinstance(decoder, CausalDecoder) or not decoder.reads_context:
            return {}
        return {"context": decoder.context(batch.contexts or [""] * len(batch))}

    def read(
        self,
        streams: Mapping[str, Tensor],
        seen: Mapping[str, Tensor],
        frames: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What the encoder takes -> what the decoder reads of it, (B, T', D), and its (B, T') bool mask."""
        memory, present = self.encoder(streams, seen, frames)
        return told(self.heads, memory), present

    def forward(self, batch: Batch) -> Tensor:
        """A batch with tokens (B, L) -> logits (B, L, V), teacher-forced."""
        memory, present = self.read(batch.streams, batch.seen, batch.frames)
        return self.decoder(memory, present, batch.tokens, **self.context(batch))

    def compile(self, *args: Any, **options: Any) -> None:
        """Have torch compile what training calls: the encoder and the decoder, each a graph of its own."""
        for part in (self.encoder, self.decoder):
            part.compile(*args, **options)

    def generate(self, batch: Batch, search: Search) -> list[list[Found]]:
        """A batch of B clips -> the sentences of each, best first."""
        memory, present = self.read(batch.streams, batch.seen, batch.frames)
        return self.decoder.generate(memory, present, search, **self.context(batch))
