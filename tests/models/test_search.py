"""slt/models/search.py: the search writes what transformers' does, on any model, batch and option.

Shape letters: B clips, T' frames, N hypotheses, L tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from slt.models import TextSeq2SeqDecoder
from slt.models.search import Search, Tokens, likeliest, search

T5 = {"d_model": 8, "d_kv": 4, "num_heads": 2, "d_ff": 16, "num_layers": 1, "dropout_rate": 0.0}
BART = {
    "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64,
}  # fmt: skip
GATED = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", T5), "t5 v1.1": ("t5", GATED), "mt5": ("mt5", T5), "byt5": ("t5", {**GATED, "num_layers": 2}),
    "bart": ("bart", BART), "mbart": ("mbart", {**BART, "scale_embedding": True}),
}  # fmt: skip
FORCED = 7


@dataclass
class Words:
    """What the decoder asks of a tokenizer."""

    pad_token_id: int
    bos_token_id: int
    eos_token_id: int
    size: int

    def __len__(self) -> int:
        return self.size


def scratch(family: str, seed: int) -> TextSeq2SeqDecoder:
    """A random decoder, loud enough that its choices are no ties, with an end token that is likely or not, by seed."""
    torch.manual_seed(seed)
    words = Words(pad_token_id=seed % 2, bos_token_id=2, eos_token_id=3, size=12 + seed % 20)
    architecture, config = FAMILIES[family]
    decoder = TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=words, architecture=architecture, pretrained=None, config=config,
        text_encoder=False, prompt=None, language=None, max_tokens=40,
    ).eval()  # fmt: skip
    weight = decoder.model.get_output_embeddings().weight.data
    torch.nn.init.normal_(weight, std=(0.15, 0.5, 1.0)[seed % 3])
    weight[words.eos_token_id] *= (4, 1, 10)[seed // 3 % 3]
    return decoder


class TorchStep:
    """The decoder without a cache: every hypothesis from its beginning, at every step."""

    def __init__(self, decoder: TextSeq2SeqDecoder, memory: torch.Tensor, present: torch.Tensor) -> None:
        self.model, self.hidden = decoder.model, decoder.encode(memory, present)
        self.present, self.clips = present, torch.arange(len(memory))
        self.prefix = torch.zeros(len(memory), 0, dtype=torch.int64)
        self.rows: list[int] = []

    @torch.no_grad()
    def __call__(self, tokens: Any, order: Any, count: int) -> Any:
        self.rows.append(len(tokens))
        rows = torch.from_numpy(order)
        self.clips = self.clips[rows]
        self.prefix = torch.cat([self.prefix[rows], torch.from_numpy(tokens)[:, None]], 1)  # (N, L)
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.hidden[self.clips]),
            attention_mask=self.present[self.clips].long(), decoder_input_ids=self.prefix, use_cache=False,
        ).logits[:, -1]  # fmt: skip
        return likeliest(logits.numpy(), count)


def clips(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory (3, 6, 6) of clips of different length, and their mask."""
    torch.manual_seed(seed)
    return 3 * torch.randn(3, 6, 6), torch.arange(6) < torch.tensor([[6], [2], [4]])


def found(decoder: TextSeq2SeqDecoder, step: Any, count: int, **options: Any) -> Any:
    return search(step, count, decoder.tokens, Search(**options))


def generated(decoder: TextSeq2SeqDecoder, memory: torch.Tensor, present: torch.Tensor, options: Any) -> Any:
    """What transformers' own search writes: ids (B, nbest, L) and scores (B, nbest)."""
    tokens = decoder.tokens
    out = decoder.model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=decoder.encode(memory, present)),
        attention_mask=present.long(), decoder_start_token_id=tokens.start, forced_bos_token_id=tokens.forced_bos,
        pad_token_id=tokens.pad, eos_token_id=tokens.eos, num_beams=options["num_beams"],
        num_return_sequences=options["nbest"], length_penalty=options["length_penalty"],
        max_new_tokens=options["max_tokens"], do_sample=False, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    ids = out.sequences[:, 1:].view(len(memory), options["nbest"], -1)
    if options["num_beams"] > 1:
        return ids, out.sequences_scores.view(len(memory), -1)
    steps = decoder.model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    written = ids[:, 0] != tokens.pad
    total = torch.where(written, steps, 0.0).sum(1, keepdim=True)
    return ids, total / written.sum(1, keepdim=True).clamp(min=1) ** options["length_penalty"]


def sentence(row: list[int], eos: int, length: int | None = None) -> tuple[int, ...]:
    """Ids up to the end token; transformers fills what follows, at times with end tokens."""
    return tuple(row[: row.index(eos) + 1] if eos in row else row[:length])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_beams", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("forced", [False, True])
def test_sentences_and_scores_are_those_of_generate(family, num_beams, forced):
    ended = cut = 0
    for seed in range(12):
        decoder = scratch(family, seed)
        decoder.tokens = replace(decoder.tokens, forced_bos=FORCED if forced else None)
        memory, present = clips(seed)
        options: dict[str, Any] = {
            "num_beams": num_beams, "length_penalty": (0.6, 1.0, 1.4, 2.0)[seed % 4],
            "max_tokens": (3, 7, 15)[seed // 2 % 3], "nbest": 1 + seed % num_beams,
        }  # fmt: skip
        with torch.no_grad():
            wanted, scores = generated(decoder, memory, present, options)
        came = found(decoder, TorchStep(decoder, memory, present), len(memory), **options)
        cached = decoder.generate(memory, present, Search(**options))
        assert [[one.ids for one in clip] for clip in cached] == [[one.ids for one in clip] for clip in came]
        for clip, hypotheses in enumerate(came):
            assert len(hypotheses) == options["nbest"]
            for place, hypothesis in enumerate(hypotheses):
                row = wanted[clip, place].tolist()
                assert hypothesis.ids == sentence(row, decoder.tokens.eos, len(hypothesis.ids)), (seed, clip, place)
                assert hypothesis.score == pytest.approx(float(scores[clip, place]), rel=1e-5, abs=1e-5)
                ended += hypothesis.ids[-1] == decoder.tokens.eos
                cut += hypothesis.ids[-1] != decoder.tokens.eos
    assert min(ended, cut) > 5, "some of the sentences end and some are cut"


def test_a_clip_alone_gives_what_it_gives_in_a_batch():
    decoder = scratch("t5", 4)
    memory, present = clips(4)
    options: dict[str, Any] = {"num_beams": 4, "length_penalty": 1.0, "max_tokens": 10, "nbest": 4}
    together = found(decoder, TorchStep(decoder, memory, present), 3, **options)
    alone = found(decoder, TorchStep(decoder, memory[1:2, :2], present[1:2, :2]), 1, **options)[0]
    assert [one.ids for one in alone] == [one.ids for one in together[1]]
    assert [one.score for one in alone] == pytest.approx([one.score for one in together[1]], rel=1e-5)


@pytest.mark.parametrize(("num_beams", "first"), [(1, 3), (3, 3)])
def test_a_clip_that_is_done_costs_nothing_more(num_beams, first):
    """Clip b ends where b + 2 tokens are written, whatever is searched."""

    def step(tokens: Any, order: Any, count: int) -> Any:
        state.append([state[-1][i] for i in order] if state else list(range(3)))
        out = np.zeros((len(tokens), 12), np.float32) - np.arange(12, dtype=np.float32)
        for row, clip in enumerate(state[-1]):
            out[row, 5] = 60.0 if len(state) >= clip + 2 else -60.0
        return likeliest(out, count)

    state: list[list[int]] = []
    came = search(
        step, 3, Tokens(start=2, eos=5, pad=0, forced_bos=None),
        Search(num_beams=num_beams, length_penalty=1.0, max_tokens=30, nbest=1),
    )  # fmt: skip
    assert [len(one.ids) for (one,) in came] == [2, 3, 4]
    assert [len(rows) for rows in state] == [first, *([3 * num_beams, 2 * num_beams, num_beams][-3:])]


def alike(tokens: Any, order: Any, count: int) -> Any:
    """A step of twelve tokens that are all alike."""
    return likeliest(np.zeros((len(tokens), 12), np.float32), count)


def test_where_the_only_token_is_forced_there_is_one_sentence():
    came = search(
        alike, 2, Tokens(start=2, eos=3, pad=0, forced_bos=7),
        Search(num_beams=3, length_penalty=1.0, max_tokens=1, nbest=3),
    )  # fmt: skip
    assert came == [[(0.0, (7,), (0.0,))]] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbest": 3}, r"nbest=3: expected 1 to 2"),
        ({"max_tokens": 0}, "max_tokens from 1"),
        ({"num_beams": 7}, "num_beams=7: a vocabulary of 12 tokens is too small"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    plain = {"num_beams": 2, "length_penalty": 1.0, "max_tokens": 4, "nbest": 1}
    with pytest.raises(ValueError, match=message):
        search(alike, 1, Tokens(start=2, eos=3, pad=0, forced_bos=None), Search(**(plain | options)))
