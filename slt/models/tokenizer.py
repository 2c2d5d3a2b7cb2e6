"""Text at both ends of the decoder: sentences -> ids for training, files <-> tokenizer for checkpoints.

B clips, L tokens, V vocabulary.
"""

from __future__ import annotations

import json
import os
import string
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from slt.text import clean, tag

# The library's threads do not survive the fork of a DataLoader worker, which warns on every start; one thread
# tokenizes our corpora in about a second.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Kind = Literal["bpe", "unigram", "word", "byte"]

PAD, BOS, EOS, UNK = SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
SPACE = "▁"  # U+2581 stands for the blank before a word, as in SentencePiece
# Known from the start, so that a character which train happens to lack still survives the round trip.
ALPHABET = list(SPACE + string.ascii_letters + string.digits + "áéíóúüñÁÉÍÓÚÜÑ" + "¿¡.,;:!?'\"()[]/%&+=$€-–—…«»“”‘’ºª°")
# One word, or one mark, each with the blank before it: `¿` and `.` never grow together with their word,
# and the pieces put side by side are the sentence again.
PIECE = rf"{SPACE}?[\p{{L}}\p{{M}}\p{{N}}]+|{SPACE}?[^\p{{L}}\p{{M}}\p{{N}}{SPACE}]"


def train_tokenizer(sentences: Iterable[str], *, kind: Kind, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on the training sentences; encoding appends `</s>`, decoding gives the clean sentence back.

    Args:
        sentences: of the train split only.
        kind: `bpe` and `unigram` (Sennrich et al. 2016, section 3.2; Kudo 2018, section 3.2) cut words into pieces
            and round-trip every Spanish sentence exactly; `word` keeps whole words and marks, a word not in the
            vocabulary becomes `<unk>` and is lost; `byte` is UTF-8 and loses nothing.
        vocab_size: V at most, the four special tokens included; a small corpus may fill less.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"tokenizer kind: expected one of {', '.join(get_args(Kind))}, got {kind!r}")
    cleaned = [text for text in map(clean, sentences) if text]
    if not cleaned:
        raise ValueError("tokenizer: expected training sentences, got none; is the train split empty?")
    tokenizer, trainer = _untrained(kind, vocab_size)
    smallest = len(SPECIAL) + _alphabet_size(kind, cleaned)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size: {kind!r} needs at least {smallest} on these sentences, got {vocab_size}; raise it"
        )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.train_from_iterator(cleaned, trainer)
    if kind == "unigram":
        _settle(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,  # an English habit that moves marks about
    )


def _untrained(kind: Kind, vocab_size: int) -> tuple[Tokenizer, Any]:
    """Make the empty tokenizer of a kind, with cutting and joining set, and its trainer."""
    options: dict[str, Any] = {"special_tokens": list(SPECIAL), "show_progress": False}
    if kind == "byte":
        tokenizer = Tokenizer(models.BPE(unk_token=UNK))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        options |= {"vocab_size": len(SPECIAL) + 256, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
        return tokenizer, trainers.BpeTrainer(**options)  # no room above the 256 bytes: no merges
    options["vocab_size"] = vocab_size
    trainer: Any
    if kind == "word":
        tokenizer, trainer = Tokenizer(models.WordLevel(unk_token=UNK)), trainers.WordLevelTrainer(**options)
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token=UNK))
        trainer = trainers.BpeTrainer(initial_alphabet=ALPHABET, **options)
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(unk_token=UNK, initial_alphabet=ALPHABET, **options)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(SPACE, "always"), pre_tokenizers.Split(Regex(PIECE), "isolated")]
    )
    tokenizer.decoder = decoders.Metaspace(SPACE, "always")
    return tokenizer, trainer


def _settle(tokenizer: Tokenizer) -> None:
    """Make Unigram training repeatable: equal sentences give equal scores and equal ids.

    The library adds single characters in the order of a hash table, each 0.0001 above the one before it from the
    lowest score on, and sums in that order too: here they share the lowest score, and the last digits are rounded off.
    """
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    specials, pieces = vocab[: len(SPECIAL)], vocab[len(SPECIAL) :]
    floor = min(score for _, score in pieces)
    added = floor + 1e-4 * (1 + sum(len(piece) == 1 for piece, _ in pieces))
    scored = [(piece, floor if len(piece) == 1 and score < added else score) for piece, score in pieces]
    settled = sorted(((piece, round(score, 6)) for piece, score in scored), key=lambda entry: (-entry[1], entry[0]))
    tokenizer.model = models.Unigram([tuple(entry) for entry in specials] + settled, SPECIAL.index(UNK), False)


def _alphabet_size(kind: Kind, sentences: Sequence[str]) -> int:
    if kind == "word":
        return 1
    if kind == "byte":
        return 256
    return len(set(ALPHABET).union(*sentences) - {" "})


def add_languages(tokenizer: PreTrainedTokenizerBase, languages: Iterable[str]) -> None:
    """Give a tokenizer a token for each language that sentences begin with; decoding leaves it out."""
    known = tokenizer.get_vocab()
    if new := sorted({tag(language) for language in languages if language} - set(known)):
        tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)


def languages(tokenizer: PreTrainedTokenizerBase, told: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the token of each clip's language (B,); None where none is told."""
    if not any(told):
        return None
    return np.array([tokenizer.convert_tokens_to_ids(tag(language)) for language in told], np.int64)


def load_tokenizer(name_or_folder: str) -> PreTrainedTokenizerBase:
    """Load a Hugging Face tokenizer by hub name or from a local folder."""
    try:
        return AutoTokenizer.from_pretrained(name_or_folder)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"tokenizer {name_or_folder!r}: expected a folder with tokenizer files or a Hugging Face hub name; {error}"
        ) from error


def load_causal_tokenizer(name_or_folder: str) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a causal language model so that a sentence is its tokens and the end token, nothing else.

    As published most add none, and some a start token, which the decoder sets itself. One without a pad token pads with
    its end token: what is padding is told by masks.
    """
    found = load_tokenizer(name_or_folder)
    backend, end = getattr(found, "backend_tokenizer", None), found.eos_token
    if backend is None or end is None:
        raise ValueError(f"tokenizer {name_or_folder!r}: expected a fast one (tokenizer.json) with an end token")
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, found.convert_tokens_to_ids(end))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=found.pad_token or end, bos_token=found.bos_token, eos_token=end,
        unk_token=found.unk_token, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """Return the tokenizer as file name -> content: plain values that a checkpoint may carry."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


def tokenizer_from_files(files: Mapping[str, bytes]) -> PreTrainedTokenizerBase:
    """Invert `tokenizer_files`; a name that is not a plain one is refused: a checkpoint must not write elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if Path(name).name != name or not isinstance(content, bytes):
                raise ValueError(f"tokenizer of the checkpoint: expected plain file names with bytes, got {name!r}")
            (Path(folder) / name).write_bytes(content)
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"tokenizer of the checkpoint: {sorted(files)} cannot be read; {error}") from error


class Tokenize:
    """Texts -> ids of one batch; picklable, so that DataLoader workers can hold it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
            raise ValueError(f"tokenizer {tokenizer.name_or_path!r}: expected a pad and an eos token, it has not both")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def __call__(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode B texts: ids (B, L), each ending in eos and padded, and the mask (B, L), True = a real token.

        A text that is empty or longer than `max_tokens` is refused, never cut: a cut reference scores wrong.
        """
        rows = check_lengths({f"text {i}": text for i, text in enumerate(texts)}, self.tokenizer, self.max_tokens)
        pad = float(self.tokenizer.pad_token_id)  # type: ignore[arg-type]
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad)
        return ids, torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts as targets (mBART writes its target language first), without padding."""
    if not texts:
        return []
    encoded = tokenizer(text_target=[clean(text) for text in texts], verbose=False)
    return [list(row) for row in encoded["input_ids"]]


def decode(tokenizer: PreTrainedTokenizerBase, ids: torch.Tensor | Sequence[Sequence[int]]) -> list[str]:
    """Decode B rows of ids to clean sentences, special tokens left out."""
    rows = [[int(token) for token in row] for row in ids]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [clean(text) for text in texts]


def check_lengths(texts: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[list[int]]:
    """Encode texts by name; ValueError names the first that are empty or longer than `max_tokens`, eos included."""
    rows = encode(tokenizer, list(texts.values()))
    misfits = [
        f"{name}: {len(row)} tokens ({clean(text)[:60]!r})" if clean(text) else f"{name}: the text is empty"
        for (name, text), row in zip(texts.items(), rows, strict=True)
        if not clean(text) or len(row) > max_tokens
    ]
    if misfits:
        shown = "; ".join(misfits[:5]) + (f"; and {len(misfits) - 5} more" if len(misfits) > 5 else "")
        raise ValueError(
            f"expected texts of 1 to {max_tokens} tokens (with end of sentence), got {shown}. "
            "Raise the decoder's max_tokens, or mend or leave out these rows."
        )
    return rows
