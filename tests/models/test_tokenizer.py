"""slt/models/tokenizer.py: nothing of a Spanish sentence is lost between the corpus and the screen."""

from __future__ import annotations

import pickle

import pytest
import torch
from transformers import ByT5Tokenizer

from slt.models.tokenizer import (
    Tokenize,
    check_lengths,
    clean,
    decode,
    encode,
    load_tokenizer,
    tokenizer_files,
    tokenizer_from_files,
    train_tokenizer,
)

SENTENCES = [
    "¿Dónde está la casa?",
    "Mañana el niño no compra pan.",
    "¡Qué lindo, pingüino!",
    'Dijo: "sí" (a las 10:30) y se fue; nada más...',
    "ayer mi mamá trabajó mucho.",
]
UNSEEN = ["¿Adónde fue el señor Núñez?", "¡Increíble: 25% más, güey!", "él -dijo- «ya está»"]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte"])
def test_unseen_spanish_survives_the_round_trip(kind):
    tokenizer = train_tokenizer(SENTENCES, kind=kind, vocab_size=260)
    assert decode(tokenizer, encode(tokenizer, SENTENCES + UNSEEN)) == SENTENCES + UNSEEN


def test_words_and_marks_survive_as_whole_words():
    tokenizer = train_tokenizer(SENTENCES, kind="word", vocab_size=200)
    assert decode(tokenizer, encode(tokenizer, SENTENCES)) == SENTENCES
    assert tokenizer.tokenize(SENTENCES[0]) == ["▁¿", "Dónde", "▁está", "▁la", "▁casa", "?"]
    assert tokenizer.unk_token_id in encode(tokenizer, ["Nadie"])[0]


def test_bytes_lose_nothing_at_all():
    tokenizer = train_tokenizer(SENTENCES, kind="byte", vocab_size=260)
    assert len(tokenizer) == 260
    assert decode(tokenizer, encode(tokenizer, ["日本 🤟 ç"])) == ["日本 🤟 ç"]


def test_clean_composes_accents_and_collapses_white_space():
    assert clean("  man\u0303ana \u00a0 a\t\nla\n") == "mañana a la"
    tokenizer = train_tokenizer(SENTENCES, kind="bpe", vocab_size=200)
    assert encode(tokenizer, ["Man\u0303ana  el "]) == encode(tokenizer, ["Mañana el"])


def test_training_twice_gives_the_same_tokenizer():
    for kind in ("bpe", "unigram", "word", "byte"):
        one, two = (tokenizer_files(train_tokenizer(SENTENCES, kind=kind, vocab_size=260)) for _ in range(2))
        assert one == two


def test_a_batch_ends_in_eos_and_is_masked_on_padding():
    tokenizer = train_tokenizer(SENTENCES, kind="bpe", vocab_size=260)
    ids, mask = pickle.loads(pickle.dumps(Tokenize(tokenizer, 50)))(SENTENCES[:2])
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert ids.shape == mask.shape
    assert [int(row[m][-1]) for row, m in zip(ids, mask, strict=True)] == [tokenizer.eos_token_id] * 2
    assert (ids[~mask] == tokenizer.pad_token_id).all()
    assert decode(tokenizer, ids) == SENTENCES[:2]


def test_a_checkpoint_carries_the_tokenizer_as_plain_values(tmp_path):
    for tokenizer in (train_tokenizer(SENTENCES, kind="unigram", vocab_size=260), ByT5Tokenizer()):
        torch.save({"tokenizer": tokenizer_files(tokenizer)}, tmp_path / "x.pt")
        again = tokenizer_from_files(torch.load(tmp_path / "x.pt", weights_only=True)["tokenizer"])
        assert encode(again, UNSEEN) == encode(tokenizer, UNSEEN)
        assert decode(again, encode(tokenizer, UNSEEN)) == UNSEEN


def test_a_local_folder_loads_and_a_missing_one_is_named(tmp_path, monkeypatch):
    tokenizer = train_tokenizer(SENTENCES, kind="bpe", vocab_size=260)
    tokenizer.save_pretrained(tmp_path / "mine")
    assert encode(load_tokenizer(str(tmp_path / "mine")), UNSEEN) == encode(tokenizer, UNSEEN)
    with pytest.raises(FileNotFoundError, match=r"no-such.*expected a folder"):
        load_tokenizer(str(tmp_path / "no-such"))


def test_lengths_name_the_row():
    tokenizer = train_tokenizer(SENTENCES, kind="word", vocab_size=200)
    check_lengths(dict(enumerate(SENTENCES)), tokenizer, 30)
    with pytest.raises(ValueError, match="clip_7: the text is empty"):
        check_lengths({"clip_1": "pan", "clip_7": " \n"}, tokenizer, 30)
    with pytest.raises(ValueError, match=r"row 1: 9 tokens.*max_tokens"):
        check_lengths({"row 0": "pan", "row 1": "uno dos tres cuatro cinco seis siete ocho"}, tokenizer, 8)
    with pytest.raises(ValueError, match="text 0: 9 tokens"):
        Tokenize(tokenizer, 8)(["uno dos tres cuatro cinco seis siete ocho"])


def test_what_cannot_be_trained_is_said():
    with pytest.raises(ValueError, match="got none"):
        train_tokenizer(["  "], kind="bpe", vocab_size=200)
    with pytest.raises(ValueError, match="got 'wordpiece'"):
        train_tokenizer(SENTENCES, kind="wordpiece", vocab_size=200)
    for kind in ("bpe", "unigram", "byte"):
        with pytest.raises(ValueError, match="needs at least"):
            train_tokenizer(SENTENCES, kind=kind, vocab_size=50)


def test_a_checkpoint_may_not_write_outside_its_folder():
    with pytest.raises(ValueError, match="plain file names"):
        tokenizer_from_files({"../evil.json": b"{}"})
