"""slt/models/causal.py: a language model reads frames before its words, as in transformers itself, and learns by LoRA.

Shape letters: B clips, T' frames, D model width, P tokens of the prompt, L tokens, V vocabulary.
"""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from slt.exporting.graphs import decoder_graphs
from slt.models import AdaptedSeq2SeqDecoder, CausalDecoder
from slt.models.search import Search
from slt.models.tokenizer import (
    Tokenize,
    decode,
    load_causal_tokenizer,
    tokenizer_files,
    tokenizer_from_files,
    train_tokenizer,
)
from slt.training.loop import parameter_groups

ASKS = "no: {context} la casa:"
SENTENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!"]
LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {"model_type": "llama", **LLAMA}, "qwen2": {"model_type": "qwen2", **LLAMA},
    "xglm": {"model_type": "xglm", "d_model": 16, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2,
             "max_position_embeddings": 64},
}  # fmt: skip
LORA = {"rank": 4, "alpha": 16, "targets": ["q_proj", "v_proj"], "dropout": 0.1, "four_bit": False}
every_family = pytest.mark.parametrize("family", CONFIGS)


@pytest.fixture(scope="module")
def words() -> Any:
    return train_tokenizer(SENTENCES, kind="bpe", vocab_size=160)


def scratch(words: Any, family: str, **changed: Any) -> CausalDecoder:
    torch.manual_seed(0)
    options = {"pretrained": None, "config": CONFIGS[family], "lora": None, "prompt": "la casa:", "language": None,
               "max_tokens": 20}  # fmt: skip
    decoder = CausalDecoder(embed_dim=6, tokenizer=words, **(options | changed)).eval()
    # Louder than a fresh model, so that its choices are no ties.
    torch.nn.init.normal_(decoder.model.get_output_embeddings().weight, std=0.5)
    return decoder


def loud_adapters(decoder: Any) -> Any:
    """As after training: B is no longer zero."""
    for name, parameter in decoder.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return decoder


def inputs(words: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Memory (2, 5, 6) of which clip 1 has three frames, its mask, and tokens (2, L)."""
    torch.manual_seed(1)
    present = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    return torch.randn(2, 5, 6), present, Tokenize(words, 20)(SENTENCES[1:])[0]


def read_alone(decoder: CausalDecoder, memory: torch.Tensor) -> torch.Tensor:
    """What transformers' model is given of one clip (1, T', D) without padding: frames, prompt, start token."""
    ids = torch.cat([decoder.prompt, torch.tensor([decoder.tokens.start])])
    hidden = torch.nn.functional.linear(decoder.norm(memory), decoder.bridge.weight, decoder.bridge.bias)
    return torch.cat([hidden, decoder.model.get_input_embeddings()(ids)[None]], dim=1)


@every_family
def test_logits_are_those_of_transformers_own_call_on_frames_prompt_and_sentence(words, family):
    decoder = scratch(words, family)
    assert len(decoder.prompt) > 1
    memory, present, tokens = inputs(words)
    came = decoder(memory, present, tokens)
    assert came.shape == (*tokens.shape, len(words))
    for clip, frames in enumerate((5, 3)):
        begun = read_alone(decoder, memory[clip : clip + 1, :frames])
        spoken = decoder.model.get_input_embeddings()(tokens[clip : clip + 1, :-1])
        wanted = decoder.model(inputs_embeds=torch.cat([begun, spoken], dim=1)).logits[0, -tokens.shape[1] :]
        torch.testing.assert_close(came[clip], wanted, atol=1e-5, rtol=1e-5)


@every_family
def test_the_sentence_before_stands_in_the_prompt_and_a_longer_one_beside_it_changes_nothing(words, family):
    decoder = scratch(words, family, prompt=ASKS)
    memory, present, tokens = inputs(words)
    said = ["", SENTENCES[2]]
    longer = decoder.context([SENTENCES[1] * 2, SENTENCES[2]])
    came = decoder(memory, present, tokens, decoder.context(said))
    torch.testing.assert_close(decoder(memory, present, tokens, longer)[1], came[1], atol=1e-5, rtol=1e-5)
    assert (decoder(memory, present, tokens, longer)[0] - came[0]).abs().amax() > 1e-3
    torch.testing.assert_close(decoder(memory, present, tokens)[0], came[0], atol=1e-5, rtol=1e-5)
    one = memory[1:, :3], present[1:, :3]
    alone = decoder.context(said[1:])
    torch.testing.assert_close(decoder(*one, tokens[1:], alone)[0], came[1], atol=1e-5, rtol=1e-5)
    before, after = (words(part, add_special_tokens=False)["input_ids"] for part in ("no: ", " la casa:"))
    wanted = [*before, *words(said[1], add_special_tokens=False)["input_ids"], *after]
    decoder.prompt = torch.tensor(wanted)
    torch.testing.assert_close(decoder(*one, tokens[1:])[0], came[1], atol=1e-5, rtol=1e-5)
    options = Search(num_beams=2, length_penalty=1.0, max_tokens=6)
    told = decoder.generate(*one, options)
    decoder = scratch(words, family, prompt=ASKS)
    (found,) = decoder.generate(*one, options, context=alone)
    padded = decoder.generate(memory, present, options, context=longer)[1]
    assert [each.ids for each in found] == [each.ids for each in padded] == [each.ids for each in told[0]]


@every_family
@pytest.mark.parametrize("left", [False, True])
def test_a_clip_gives_the_same_logits_and_sentences_alone_and_padded_with_garbage_on_either_side(words, family, left):
    decoder = scratch(words, family)
    memory, present, tokens = inputs(words)
    alone = memory[1:, :3].clone()
    memory[1, 3:] = 1e4
    if left:
        memory, present = memory.flip(1), present.flip(1)
        memory[1, 2:] = alone[0]
    torch.testing.assert_close(
        decoder(memory, present, tokens)[1:], decoder(alone, present.new_ones(1, 3), tokens[1:]), atol=1e-5, rtol=1e-5
    )
    options = Search(num_beams=3, length_penalty=1.0, max_tokens=8)
    (found,) = decoder.generate(alone, present.new_ones(1, 3), options)
    padded = decoder.generate(memory, present, options)[1]
    assert [one.ids for one in padded] == [one.ids for one in found]
    assert [one.score for one in padded] == pytest.approx([one.score for one in found], rel=1e-5)


@every_family
def test_logits_of_the_cache_are_those_of_the_whole_sequence(words, family):
    decoder = scratch(words, family, prompt=ASKS)
    memory, present, tokens = inputs(words)
    context = decoder.context([SENTENCES[0], ""])
    begun, present = decoder.read(decoder.encode(memory, present), present, context)
    cross = decoder.start(begun, present)
    assert cross[0].shape[2] == memory.shape[1] + len(decoder.prompt) + context[0].shape[1]
    wanted = decoder(memory, inputs(words)[1], tokens, context)
    last, past = torch.full((2, 1), decoder.tokens.start), tuple(x[:, :, :0] for x in cross)
    for place in range(tokens.shape[1]):
        logits, *grown = decoder.step(last, present, *cross, *past)
        torch.testing.assert_close(logits, wanted[:, place], atol=1e-5, rtol=1e-5)
        last, past = tokens[:, place : place + 1], tuple(grown)
    assert past[0].shape[2] == tokens.shape[1]


@every_family
@pytest.mark.parametrize("num_beams", [1, 3])
def test_sentences_are_those_of_transformers_own_search(words, family, num_beams):
    decoder = scratch(words, family)
    memory, present, _ = inputs(words)
    found = decoder.generate(memory, present, Search(num_beams=num_beams, length_penalty=1.0, max_tokens=8))
    for clip, frames in enumerate((5, 3)):
        begun = read_alone(decoder, memory[clip : clip + 1, :frames])
        theirs = decoder.model.generate(
            inputs_embeds=begun, attention_mask=torch.ones(begun.shape[:2], dtype=torch.int64), do_sample=False,
            num_beams=num_beams, max_new_tokens=8, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        )[0].tolist()  # fmt: skip
        assert found[clip][0].ids == tuple(theirs[: len(found[clip][0].ids)])
        assert set(theirs[len(found[clip][0].ids) :]) <= {words.pad_token_id}


def test_a_position_sees_the_tokens_before_it_alone(words):
    decoder = scratch(words, "llama")
    memory, present, tokens = inputs(words)
    before = decoder(memory, present, tokens)
    tokens[:, 4] = (tokens[:, 4] + 1) % len(words)
    after = decoder(memory, present, tokens)
    assert torch.equal(after[:, :5], before[:, :5])
    assert (after[:, 5] != before[:, 5]).any(-1).all()


@pytest.mark.parametrize(("family", "targets"), [("gpt2", ["c_attn"]), ("qwen2", ["q_proj", "v_proj"])])
def test_one_rebuilt_from_its_plain_configuration_is_the_same(words, family, targets):
    decoder = loud_adapters(scratch(words, family, lora=LORA | {"targets": targets}))
    again = scratch(words, family, lora=LORA | {"targets": targets}, config=json.loads(json.dumps(decoder.hf_config)))
    again.load_state_dict(decoder.state_dict())
    assert torch.equal(again(*inputs(words)), decoder(*inputs(words)))
    plain = scratch(words, family)
    plain.load_state_dict({name.replace(".base_layer", ""): value for name, value in decoder.state_dict().items()
                           if ".lora_" not in name})  # fmt: skip
    assert not torch.allclose(plain(*inputs(words)), decoder(*inputs(words)), atol=1e-3)


def test_adapters_norm_and_bridge_learn_and_nothing_else_reaches_the_optimizer(words):
    decoder = loud_adapters(scratch(words, "llama", lora=LORA)).train()
    decoder(*inputs(words)).sum().backward()
    learning = {name for name, x in decoder.named_parameters() if x.grad is not None}
    assert learning == {name for name in dict(decoder.named_parameters())
                        if ".lora_" in name or name.startswith(("norm.", "bridge."))}  # fmt: skip
    assert len(learning) == 2 * 2 * 2 + 4  # A and B on q and v of two layers
    groups = parameter_groups(decoder, lr=0.1, rates={"model.": 0.01})
    assert sum(len(group["params"]) for group in groups) == len(learning)


def test_an_adapter_adds_its_low_rank_product_at_the_scale_of_alpha_over_rank(words):
    decoder = loud_adapters(scratch(words, "llama", lora=LORA))
    layer = decoder.model.model.layers[0].self_attn.q_proj
    x = torch.randn(3, 16)
    by_hand = (
        x @ layer.base_layer.weight.T
        + 16 / 4 * (x @ layer.lora_A["default"].weight.T) @ layer.lora_B["default"].weight.T
    )
    torch.testing.assert_close(layer(x), by_hand)


@dataclass
class Words:
    """What a decoder asks of a tokenizer."""

    pad_token_id: int = 0
    bos_token_id: int = 2
    eos_token_id: int = 1

    def __len__(self) -> int:
        return 100


def adapted(d_model: int, d_ff: int, layers: int, heads: int) -> AdaptedSeq2SeqDecoder:
    """A Flan-T5 of a published size with SpaMo's adapters."""
    shape = {"d_model": d_model, "d_kv": 64, "d_ff": d_ff, "num_layers": layers, "num_heads": heads,
             "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}  # fmt: skip
    return AdaptedSeq2SeqDecoder(
        embed_dim=8, tokenizer=Words(), architecture="t5", pretrained=None, config=shape, text_encoder=True,
        prompt=None, language=None, max_tokens=64,
        lora={"rank": 16, "alpha": 32, "targets": ["q", "v"], "dropout": 0.1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"),
    [((512, 1024, 8, 6), 688_128), ((768, 2048, 12, 12), 1_769_472), ((1024, 2816, 24, 16), 4_718_592)],
    ids=["small", "base", "large"],
)
def test_spamo_s_adapters_of_flan_t5_are_as_many_as_published(size, count):
    with torch.device("meta"):
        decoder = adapted(*size)
    assert sum(x.numel() for x in decoder.model.parameters() if x.requires_grad) == count


def test_sign2gpt_s_adapters_of_xglm_are_as_many_as_its_code_makes():
    """Rank 4 on four square products of width 2048 in each of 24 layers, two matrices each."""
    shape = {"model_type": "xglm", "d_model": 2048, "ffn_dim": 8192, "num_layers": 24, "attention_heads": 16}
    with torch.device("meta"):
        decoder = scratch(Words(), "xglm", config=shape, prompt="",
                          lora=LORA | {"targets": ["q_proj", "k_proj", "v_proj", "out_proj"]})  # fmt: skip
    assert sum(x.numel() for x in decoder.model.parameters() if x.requires_grad) == 24 * 4 * 2 * 4 * 2048


def test_a_seq2seq_decoder_with_adapters_writes_by_them_and_is_rebuilt(words):
    shape = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1, "dropout_rate": 0.0}

    def made(config: Any) -> AdaptedSeq2SeqDecoder:
        torch.manual_seed(0)
        return AdaptedSeq2SeqDecoder(
            embed_dim=6, tokenizer=words, architecture="t5", pretrained=None, config=config, text_encoder=True,
            prompt=None, language=None, max_tokens=40,
            lora={"rank": 2, "alpha": 4, "targets": ["q", "v"], "dropout": 0.0},
        ).eval()  # fmt: skip

    decoder = loud_adapters(made(shape))
    torch.nn.init.normal_(decoder.model.get_output_embeddings().weight, std=0.5)
    again = made(json.loads(json.dumps(decoder.hf_config)))
    again.load_state_dict(decoder.state_dict())
    memory, present, tokens = inputs(words)
    assert torch.equal(again(memory, present, tokens), decoder(memory, present, tokens))
    for (best,), clip in zip(
        decoder.generate(memory, present, Search(num_beams=1, length_penalty=0.0, max_tokens=8)), range(2), strict=True
    ):
        ids = torch.tensor([best.ids])
        scores = decoder(memory[clip : clip + 1], present[clip : clip + 1], ids).log_softmax(-1)
        assert scores.gather(2, ids[..., None]).sum().item() == pytest.approx(best.score, rel=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": LLAMA}, r"decoder\.config\.model_type is missing"),
        ({"config": {"model_type": "t5"}}, r"model_type='t5' is no causal language model"),
        ({"config": {"model_type": "llama", "hiden_size": 8}}, r"hiden_size: .*did you mean hidden_size\?"),
        (
            {"config": {"model_type": "bloom", "hidden_size": 8, "n_layer": 1, "n_head": 2}},
            "bloom does not take vectors at",
        ),
        ({"prompt": ASKS + ASKS}, r"decoder\.prompt=.*\{context\} once at most, came 2 times"),
        ({"prompt": ASKS, "max_tokens": 32}, r"has 64 positions.*\{context\} takes decoder\.max_tokens"),
        ({"max_tokens": 63}, r"max_tokens=63 and a prompt of \d+ tokens, but llama has 64 positions"),
        ({"language": "es_XX"}, "decoder.language=es_XX: the tokenizer has no such language"),
        ({"lora": LORA | {"targets": ["q"]}}, r"lora\.targets: LlamaForCausalLM has no layer 'q'; it has .*q_proj"),
        ({"lora": LORA | {"rnk": 3}}, r"decoder\.lora\.rnk: unknown"),
        ({"lora": {"rank": 3}}, r"decoder\.lora\.alpha is missing"),
    ],
)
def test_what_cannot_be_is_refused(words, changed, message):
    with pytest.raises(ValueError, match=message):
        scratch(words, "llama", **changed)


def test_a_clip_longer_than_there_are_positions_is_refused(words):
    decoder = scratch(words, "gpt2")
    assert decoder.positions == 64 - len(decoder.prompt) - 20
    longest = decoder.positions
    decoder(torch.randn(1, longest, 6), torch.ones(1, longest, dtype=torch.bool), torch.ones(1, 20, dtype=torch.int64))
    with pytest.raises(ValueError, match=rf"{longest + 1} frames.*{longest} positions.*max_frames.*downsample"):
        decoder(torch.randn(1, longest + 1, 6), torch.ones(1, longest + 1).bool(), torch.ones(1, 20).long())


def test_what_a_machine_lacks_is_named_with_its_extra(words, monkeypatch):
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "peft":
            raise ModuleNotFoundError("No module named 'peft'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModuleNotFoundError, match=r"adapters need peft: pip install \"slt\[llm\]\""):
        scratch(words, "llama", lora=LORA)
    monkeypatch.undo()
    for found, message in ((None, r"needs bitsandbytes.*slt\[llm\]"), (object(), "needs a CUDA GPU")):
        monkeypatch.setattr("importlib.util.find_spec", lambda _, found=found: found)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises((ModuleNotFoundError, ValueError), match=message):
            scratch(words, "llama", pretrained="anywhere", lora=LORA | {"four_bit": True})


def test_export_is_refused_with_what_to_do_instead(words):
    with pytest.raises(ValueError, match=r"decoder=llm is not exported.*from its checkpoint"):
        decoder_graphs(scratch(words, "llama"))


def test_a_published_tokenizer_ends_sentences_begins_none_and_comes_back_from_a_checkpoint(published):
    tokenizer = load_causal_tokenizer(str(published("llm")))
    again = tokenizer_from_files(tokenizer_files(tokenizer))
    for each in (tokenizer, again):
        ids, mask = Tokenize(each, 60)(SENTENCES)
        ends = ids.gather(1, mask.sum(1, keepdim=True) - 1)
        assert (ends == each.eos_token_id).all()
        assert ids[0, 0] == each("¿", add_special_tokens=False)["input_ids"][0]
        assert decode(each, ids) == SENTENCES
