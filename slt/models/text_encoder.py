"""Reads sentences, to compare films with them: tokens to vectors as wide as what the decoder reads of a film.

B clips, L tokens, H width of the decoder's model.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slt.models.attention import hiding
from slt.models.causal import CausalDecoder
from slt.models.decoder import TextSeq2SeqDecoder
from slt.models.temporal.transformer import Layers, sinusoidal_positions

Decoder = TextSeq2SeqDecoder | CausalDecoder


class TextTransformer(nn.Module):
    """Reads a sentence in the decoder's tokens, with embeddings and layers of its own, from random weights."""

    def __init__(self, *, decoder: Decoder, depth: int, num_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        width = decoder.bridge.out_features
        if width % num_heads:
            raise ValueError(f"objective.text.num_heads={num_heads}: the decoder's width {width} is no multiple of it")
        self.embedding = nn.Embedding(decoder.model.config.vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Layers(
            depth=depth, embed_dim=width, num_heads=num_heads, hidden=int(width * mlp_ratio), dropout=dropout
        )
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, decoder: Decoder, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L) and which of them are read, (B, L) bool -> (B, L, H)."""
        x = self.embedding(tokens)
        x = self.dropout(x + sinusoidal_positions(x.shape[1], x.shape[2], x.device).to(x.dtype))
        return self.encoder(x, hiding(~mask)[:, None, None])


class DecoderText(nn.Module):
    """The encoder of the decoder's own model reads the sentence, as it reads the film: with published weights."""

    def __init__(self, *, decoder: Decoder) -> None:
        super().__init__()
        if decoder.entrance[2] is None:
            raise ValueError(
                "objective.text=DecoderText reads with the decoder's own encoder, which decoder.text_encoder=false "
                "leaves out, and a causal model has none; take slt.models.text_encoder.TextTransformer"
            )

    def forward(self, decoder: Decoder, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L) and which of them are read, (B, L) bool -> (B, L, H)."""
        encoder: Any = decoder.entrance[2]
        x = encoder.get_input_embeddings()(tokens)
        return encoder(inputs_embeds=x, attention_mask=hiding(~mask)[:, None, None]).last_hidden_state
