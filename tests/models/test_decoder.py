"""slt/models/decoder.py: any seq2seq family writes from vectors, the same one after a rebuild, and says its own score.

Shape letters: B clips, T' frames, D model width, L tokens, V vocabulary.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from slt.models import MT5Decoder, TextSeq2SeqDecoder
from slt.models.search import Found, Search
from slt.models.tokenizer import decode, encode, load_tokenizer, train_tokenizer

SENTENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!"]
T5 = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 2, "dropout_rate": 0.1}
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
}  # fmt: skip
CONFIGS = {"t5": T5, "mt5": T5, "bart": BART, "mbart": BART}
SEARCH: dict[str, Any] = {"length_penalty": 1.0, "max_tokens": 8}

every_family = pytest.mark.parametrize("architecture", CONFIGS)
encoder_on_and_off = pytest.mark.parametrize("text_encoder", [True, False])


@pytest.fixture(scope="module")
def words() -> Any:
    return train_tokenizer(SENTENCES, kind="bpe", vocab_size=160)


def scratch(words: Any, architecture: str = "t5", text_encoder: bool = False, **changed: Any) -> TextSeq2SeqDecoder:
    torch.manual_seed(0)
    options = {
        "architecture": architecture, "pretrained": None, "config": CONFIGS.get(architecture, {}),
        "text_encoder": text_encoder, "prompt": None, "language": None, "max_tokens": 40,
    }  # fmt: skip
    decoder = TextSeq2SeqDecoder(embed_dim=6, tokenizer=words, **(options | changed)).eval()
    # Louder than a fresh model, so that its choices are not ties.
    torch.nn.init.normal_(decoder.model.get_output_embeddings().weight, std=0.5)
    return decoder


def inputs(words: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Memory (2, 5, 6) of which clip 1 has three frames, its mask, and tokens (2, L)."""
    torch.manual_seed(1)
    present = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    rows = [torch.tensor(row) for row in encode(words, SENTENCES[1:])]
    return torch.randn(2, 5, 6), present, pad_sequence(rows, batch_first=True, padding_value=words.pad_token_id)


@every_family
@encoder_on_and_off
def test_a_clip_gives_the_same_logits_alone_and_padded_with_garbage(words, architecture, text_encoder):
    decoder = scratch(words, architecture, text_encoder)
    memory, present, tokens = inputs(words)
    alone = decoder(memory[1:, :3], present[1:, :3], tokens[1:])
    memory[1, 3:] = 1e4
    logits = decoder(memory, present, tokens)
    assert logits.shape == (*tokens.shape, len(words))
    torch.testing.assert_close(logits[1:], alone, atol=1e-4, rtol=1e-4)


@every_family
@encoder_on_and_off
def test_a_decoder_rebuilt_from_its_plain_configuration_is_the_same(words, architecture, text_encoder):
    decoder = scratch(words, architecture, text_encoder)
    plain = json.loads(json.dumps(decoder.hf_config))
    again = scratch(words, "not looked at", text_encoder, config=plain)
    again.load_state_dict(decoder.state_dict())
    assert torch.equal(again(*inputs(words)), decoder(*inputs(words)))
    memory, present, _ = inputs(words)
    beams = [d.generate(memory, present, Search(num_beams=3, **SEARCH)) for d in (decoder, again)]
    assert beams[0] == beams[1]


@every_family
def test_a_position_sees_the_tokens_before_it_alone(words, architecture):
    decoder = scratch(words, architecture)
    memory, present, tokens = inputs(words)
    before = decoder(memory, present, tokens)
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % len(words)
    after = decoder(memory, present, changed)
    assert torch.equal(after[:, :5], before[:, :5])
    assert (after[:, 5] != before[:, 5]).any(-1).all()


@encoder_on_and_off
def test_the_text_encoder_is_used_or_dropped(words, text_encoder):
    decoder = scratch(words, text_encoder=text_encoder)
    assert len(decoder.model.get_encoder().block) == (2 if text_encoder else 0)
    decoder(*inputs(words)).sum().backward()
    trained = {name for name, x in decoder.named_parameters() if x.requires_grad}
    assert trained == {name for name, x in decoder.named_parameters() if x.grad is not None}


@every_family
def test_the_n_best_come_best_first_and_their_first_is_the_one_best(words, architecture):
    decoder = scratch(words, architecture)
    memory, present, _ = inputs(words)
    out = decoder.generate(memory, present, Search(num_beams=4, **SEARCH))
    best = decoder.generate(memory, present, Search(num_beams=4, nbest=1, **SEARCH))
    assert [len(found) for found in out] == [4, 4]
    assert all(found == sorted(found, key=lambda one: -one.score) for found in out)
    assert len({one.ids for one in out[0]}) == 4
    assert best == [found[:1] for found in out]


def written(words: Any, found: list[list[Found]]) -> torch.Tensor:
    """The best sentences' tokens (B, L), padded."""
    rows = [torch.tensor(beam[0].ids) for beam in found]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=words.pad_token_id)


def teacher_forced(decoder: TextSeq2SeqDecoder, words: Any, ids: torch.Tensor) -> torch.Tensor:
    """The summed log-probability (B) of the tokens written, (B, L), up to the end token."""
    memory, present, _ = inputs(words)
    scores = decoder(memory, present, ids).log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return (scores * (ids != words.pad_token_id)).sum(1)


@every_family
@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_score_is_the_log_probability_over_the_length(words, architecture, num_beams, length_penalty):
    decoder = scratch(words, architecture)
    memory, present, _ = inputs(words)
    out = decoder.generate(
        memory, present, Search(num_beams=num_beams, nbest=1, max_tokens=8, length_penalty=length_penalty)
    )
    ids = written(words, out)
    expected = teacher_forced(decoder, words, ids) / (ids != words.pad_token_id).sum(1) ** length_penalty
    came = torch.tensor([beam[0].score for beam in out])
    torch.testing.assert_close(came, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [(2, 2), (1, 3), (3, 1)])  # of the encoder and the decoder, as ByT5's 12 and 4
@encoder_on_and_off
def test_greedy_takes_the_likeliest_token_at_every_step(words, layers, text_encoder):
    shape = T5 | {"num_layers": layers[0], "num_decoder_layers": layers[1]}
    decoder = scratch(words, "t5", text_encoder, config=shape)
    memory, present, _ = inputs(words)
    ids = written(words, decoder.generate(memory, present, Search(num_beams=1, **SEARCH)))
    best = decoder(memory, present, ids).argmax(-1)
    there = ids != words.pad_token_id
    assert there.sum() > 2
    assert torch.equal(best[there], ids[there])


def test_generation_is_the_same_every_time_and_whatever_the_batch(words):
    decoder = scratch(words)
    memory, present, _ = inputs(words)
    options = Search(num_beams=3, nbest=2, **SEARCH)
    first, second = (decoder.generate(memory, present, options) for _ in range(2))
    alone = decoder.generate(memory[1:, :3], present[1:, :3], options)
    assert first == second
    assert [one.ids for one in alone[0]] == [one.ids for one in first[1]]
    assert [one.score for one in alone[0]] == pytest.approx([one.score for one in first[1]], rel=1e-5)


def test_no_sentence_is_longer_than_asked_and_none_says_more_than_the_end(words):
    decoder = scratch(words)
    decoder.model.get_output_embeddings().weight.data[:] = 0  # all tokens alike: beams end at every length
    memory, present, _ = inputs(words)
    found = decoder.generate(memory, present, Search(num_beams=4, length_penalty=0.0, max_tokens=6))
    for one in (one for beam in found for one in beam):
        assert 1 <= len(one.ids) <= 6
        assert words.eos_token_id not in one.ids[:-1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "t55"}, "'t55' is not a transformers model_type"),
        ({"config": {"d_modle": 16}}, r"decoder.config.d_modle: .*t5 does not know.*did you mean d_model\?"),
        ({"language": "es_XX"}, "decoder.language=es_XX: the tokenizer has no such language"),
        ({"architecture": "bart", "config": BART, "max_tokens": 65}, "max_tokens=65, but bart has 64 positions"),
    ],
)
def test_what_does_not_fit_the_architecture_is_refused(words, changed, message):
    with pytest.raises(ValueError, match=message):
        scratch(words, **changed)


def test_a_clip_longer_than_the_text_encoder_has_positions_is_refused(words):
    memory, present = torch.randn(1, 65, 6), torch.ones(1, 65, dtype=torch.bool)
    tokens = inputs(words)[2][:1]
    with pytest.raises(ValueError, match=r"65 frames.*64 positions.*max_frames.*downsample.*text_encoder"):
        scratch(words, "bart", text_encoder=True)(memory, present, tokens)
    assert scratch(words, "bart", text_encoder=False)(memory, present, tokens).shape[:2] == tokens.shape


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_prompt_is_read_before_the_frames_and_its_places_with_theirs(words, architecture):
    decoder = scratch(words, architecture, text_encoder=True, prompt="la casa")
    memory, present, tokens = inputs(words)
    asked = torch.tensor([words("la casa").input_ids] * 2)
    frames = decoder.bridge(decoder.norm(memory))
    whole = torch.cat([decoder.model.get_input_embeddings()(asked), frames], dim=1)
    shifted = torch.cat([torch.full((2, 1), decoder.tokens.start), tokens[:, :-1]], dim=1)
    plain = decoder.model(
        inputs_embeds=whole, attention_mask=torch.cat([torch.ones_like(asked), present.long()], dim=1),
        decoder_input_ids=shifted, decoder_attention_mask=torch.ones_like(shifted),
    ).logits  # fmt: skip
    torch.testing.assert_close(decoder(memory, present, tokens), plain, atol=1e-5, rtol=1e-4)
    alone = decoder(memory[1:, :3], present[1:, :3], tokens[1:])
    torch.testing.assert_close(plain[1:], alone, atol=1e-4, rtol=1e-4)
    ids = written(words, decoder.generate(memory, present, Search(num_beams=1, **SEARCH)))
    there = ids != words.pad_token_id
    assert torch.equal(decoder(memory, present, ids).argmax(-1)[there], ids[there])


def test_a_prompt_takes_places_of_the_text_encoder_and_needs_one(words):
    decoder = scratch(words, "bart", text_encoder=True, prompt="la casa")
    assert decoder.positions == 64 - len(words("la casa").input_ids)
    with pytest.raises(ValueError, match=r"64 frames.*positions"):
        decoder(torch.randn(1, 64, 6), torch.ones(1, 64, dtype=torch.bool), inputs(words)[2][:1])
    with pytest.raises(ValueError, match=r"decoder\.prompt='la casa'.*text_encoder=true"):
        scratch(words, prompt="la casa")


# Checkpoints of other people


def loaded(folder: Any, **changed: Any) -> tuple[Any, TextSeq2SeqDecoder]:
    tokenizer = load_tokenizer(str(folder))
    options = {"architecture": "", "pretrained": str(folder), "config": {}, "text_encoder": True, "language": None}
    torch.manual_seed(2)
    return tokenizer, TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=tokenizer, prompt=None, max_tokens=120, **(options | changed)
    ).eval()  # fmt: skip


FAMILIES = {"t5": True, "t5_v1_1": False, "flan_t5": False, "mt5": False, "byt5": False, "bart": True, "mbart": True}


def is_tied(decoder: TextSeq2SeqDecoder) -> bool:
    """Whether the head is the embedding that the decoder reads."""
    return decoder.model.lm_head.weight is decoder.model.get_decoder().embed_tokens.weight


@pytest.mark.parametrize(("family", "tied"), FAMILIES.items())
def test_a_published_checkpoint_is_loaded_and_needs_no_hub_to_be_rebuilt(published, family, tied):
    folder = published(family)
    tokenizer, decoder = loaded(folder)
    weights = {name: x.clone() for name, x in decoder.state_dict().items()}
    again = TextSeq2SeqDecoder(
        embed_dim=6, tokenizer=tokenizer, architecture="", pretrained=None,
        config=json.loads(json.dumps(decoder.hf_config)), text_encoder=True, prompt=None, language=None,
        max_tokens=120,
    ).eval()  # fmt: skip
    again.load_state_dict(weights)
    assert is_tied(decoder) == is_tied(again) == tied
    assert torch.equal(again(*inputs(tokenizer)), decoder(*inputs(tokenizer)))
    assert decode(tokenizer, encode(tokenizer, SENTENCES)) == SENTENCES
    assert str(folder) not in json.dumps(decoder.hf_config)


@pytest.mark.parametrize("family", ["t5_v1_1", "mt5", "byt5"])
def test_a_head_of_its_own_is_the_published_one_and_stays_where_the_vocabulary_grows(
    published, family, caplog, monkeypatch
):
    from safetensors.torch import load_file

    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    folder = published(family)
    tokenizer, theirs = load_tokenizer(str(folder)), load_file(folder / "model.safetensors")
    tokenizer.add_tokens(["xx", "yy"])
    tokenizer.save_pretrained(folder)
    _, decoder = loaded(folder)
    size = len(theirs["lm_head.weight"])
    assert torch.equal(decoder.model.lm_head.weight[:size], theirs["lm_head.weight"])
    assert torch.equal(decoder.model.get_decoder().embed_tokens.weight[:size], theirs["shared.weight"])
    assert len(decoder.model.lm_head.weight) == len(tokenizer) > size
    assert not caplog.records


def test_a_bart_with_a_head_of_its_own_keeps_the_embedding_that_stands_in_its_file_once(published):
    from safetensors.torch import load_file, save_file

    folder = published("bart")
    theirs = load_file(folder / "model.safetensors")
    theirs["lm_head.weight"] = torch.randn_like(theirs["model.shared.weight"])
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": False}), encoding="utf-8")
    model = loaded(folder)[1].model
    assert torch.equal(model.get_decoder().embed_tokens.weight, theirs["model.shared.weight"])
    assert torch.equal(model.lm_head.weight, theirs["lm_head.weight"])


def test_a_published_model_without_some_of_its_weights_is_refused(published):
    from safetensors.torch import load_file, save_file

    folder = published("t5")
    theirs = load_file(folder / "model.safetensors")
    del theirs["decoder.final_layer_norm.weight"]
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 of its weights are not there, decoder\.final_layer_norm\.weight"):
        loaded(folder)


@every_family
def test_a_head_is_of_its_own_where_the_configuration_says_so(words, architecture):
    untied = scratch(words, architecture, config=CONFIGS[architecture] | {"tie_word_embeddings": False})
    assert is_tied(scratch(words, architecture))
    assert not is_tied(untied)
    again = scratch(words, "not looked at", config=json.loads(json.dumps(untied.hf_config)))
    again.load_state_dict(untied.state_dict())
    assert torch.equal(again(*inputs(words)), untied(*inputs(words)))


def test_a_published_model_can_be_untied_and_one_with_its_own_head_not_tied(published):
    t5, untied = (loaded(published("t5"), config=config)[1] for config in ({}, {"tie_word_embeddings": False}))
    assert not is_tied(untied)
    memory, present, tokens = inputs(load_tokenizer(str(published("t5"))))
    assert torch.equal(untied(memory, present, tokens), t5(memory, present, tokens))
    with pytest.raises(ValueError, match="has a head of its own"):
        loaded(published("mt5"), config={"tie_word_embeddings": True})


def test_the_published_weights_are_the_ones_in_use(published):
    from safetensors.torch import load_file

    folder = published("bart")
    _, decoder = loaded(folder)
    theirs = load_file(folder / "model.safetensors")
    assert torch.equal(decoder.model.state_dict()["model.shared.weight"], theirs["model.shared.weight"])


def test_keys_of_the_configuration_override_the_published_ones_and_are_checked(published):
    folder = published("t5")
    assert loaded(folder, config={"dropout_rate": 0.4})[1].model.config.dropout_rate == 0.4
    with pytest.raises(ValueError, match=r"decoder.config.droput_rate.*did you mean dropout_rate\?"):
        loaded(folder, config={"droput_rate": 0.4})


def test_a_checkpoint_in_half_precision_computes_in_single(published):
    from transformers import AutoModelForSeq2SeqLM

    folder = published("t5")
    AutoModelForSeq2SeqLM.from_pretrained(folder).bfloat16().save_pretrained(folder)
    assert {x.dtype for x in loaded(folder)[1].parameters()} == {torch.float32}


def test_a_multilingual_model_writes_the_language_it_is_told_to(published):
    tokenizer, decoder = loaded(published("mbart"), language="es_XX")
    memory, present, _ = inputs(tokenizer)
    found = decoder.generate(memory, present, Search(num_beams=2, **SEARCH))
    assert {one.ids[0] for beam in found for one in beam} == {tokenizer.convert_tokens_to_ids("es_XX")}
    with pytest.raises(ValueError, match=r"decoder.language=es_ES.*did you mean es_XX"):
        loaded(published("mbart"), language="es_ES")


def test_how_a_published_model_likes_to_search_has_no_say(published):
    folder = published("bart")
    tokenizer, decoder = loaded(folder)
    memory, present, _ = inputs(tokenizer)
    before = decoder.generate(memory, present, Search(num_beams=2, **SEARCH))
    wishes = {"no_repeat_ngram_size": 1, "min_length": 7, "num_beams": 9, "forced_eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(wishes), encoding="utf-8")
    after = loaded(folder)[1].generate(memory, present, Search(num_beams=2, **SEARCH))
    assert after == before


def test_a_hub_name_that_cannot_be_had_is_named():
    tokenizer = train_tokenizer(SENTENCES, kind="byte", vocab_size=260)
    with pytest.raises(FileNotFoundError, match=r"decoder\.pretrained=no/such-model"):
        scratch(tokenizer, pretrained="no/such-model")


def test_unisign_s_language_model_loads_by_name_and_only_of_the_like_size(words, tmp_path):
    options = {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
    theirs = scratch(words, "mt5", True, config=T5 | options)
    file = {f"mt5_model.{name}": x for name, x in theirs.model.state_dict().items()}
    assert {"mt5_model.lm_head.weight", "mt5_model.encoder.block.0.layer.1.DenseReluDense.wi_0.weight"} < {*file}
    torch.save({"model": file | {"pose_proj.bias": torch.ones(3)}}, tmp_path / "stage3.pth")

    def begun(**changed: int) -> MT5Decoder:
        return MT5Decoder(
            embed_dim=6, tokenizer=words, architecture="mt5", pretrained=None, config=T5 | options | changed,
            text_encoder=True, prompt=None, language=None, max_tokens=40, weights=str(tmp_path / "stage3.pth"),
        ).eval()  # fmt: skip

    ours = begun()
    ours.bridge, ours.norm = theirs.bridge, theirs.norm
    assert torch.equal(ours(*inputs(words)), theirs(*inputs(words)))
    with pytest.raises(ValueError, match=r"whose mT5 is of the size of decoder\.pretrained.*size mismatch"):
        begun(d_ff=8)
