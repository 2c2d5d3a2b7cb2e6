"""The tokenizer of a run as one `tokenizer.json`, which the `tokenizers` library reads without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models

from slt.models.tokenizer import tokenizer_files

BYTES = 256


def write_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Write `tokenizer.json`, and beside it `tokenizer/` with the files that transformers reads."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None and type(tokenizer).__name__ == "ByT5Tokenizer":
        backend = _of_bytes(tokenizer)
    if not isinstance(backend, Tokenizer):
        raise ValueError(
            f"tokenizer: {type(tokenizer).__name__} has no form of the `tokenizers` library, which an exported folder "
            "is read with; train with its fast form (`use_fast`), or with a tokenizer of slt.models.tokenizer"
        )
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer").mkdir()
    for name, content in tokenizer_files(tokenizer).items():
        (folder / "tokenizer" / name).write_bytes(content)


def _of_bytes(tokenizer: Any) -> Tokenizer:
    """ByT5's tokenizer, which is a few lines of Python in transformers: a token a byte, and special tokens."""
    names = [str(token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    first = names.index(chr(0))
    special = [name for place, name in enumerate(names) if not first <= place < first + BYTES]
    names[first : first + BYTES] = [f"<0x{byte:02X}>" for byte in range(BYTES)]
    vocabulary = {name: place for place, name in enumerate(names)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token=str(tokenizer.unk_token)))
    # transformers leaves bytes out that are no UTF-8; here each comes as the sign for them, which is taken away.
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Replace("\ufffd", ""), decoders.Fuse()])
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return made
