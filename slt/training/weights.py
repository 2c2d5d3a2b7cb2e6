"""A checkpoint as others read it: its tensors as safetensors, all else as JSON; nothing in it can run.

In a folder: `run.json`, `model.safetensors`, `tokenizer/` and, with the weights of the Hugging Face model that writes
the sentences, `decoder/`, which transformers reads by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slt.files import existing, read_json, write_json
from slt.models.adapters import has_adapters, plain_weights
from slt.models.translator import Translator

FILE, WEIGHTS = "run.json", "model.safetensors"
DECODER, TOKENIZER = "decoder", "tokenizer"
OWN = "decoder.model."  # how names of the decoder's weights begin in a checkpoint


def write_weights(folder: Path, payload: Mapping[str, Any], translator: Translator) -> None:
    """Write a checkpoint's content beside its `tokenizer/`, as `read_weights` reads it.

    Args:
        folder: of an export.
        payload: of `load_checkpoint`.
        translator: rebuilt from it.
    """
    kept, same = _apart(payload["model"])
    rest = {key: value for key, value in payload.items() if key not in ("model", "tokenizer", "format")}
    decoder, config = translator.decoder, json.loads(payload["hf_config"])
    if not getattr(decoder, "text_encoder", True):  # its layers are not there, and transformers must not draw them anew
        config |= {"encoder_layers": 0} if "encoder_layers" in config else {"num_layers": 0}
    adapted = has_adapters(decoder.model)
    own = {name.removeprefix(OWN): x for name, x in kept.items() if name.startswith(OWN) and not adapted}
    (folder / DECODER).mkdir()
    write_json(folder / DECODER / "config.json", config)
    # With adapters, the decoder that others read has their products added, and ours has both apart.
    _save(folder / DECODER / WEIGHTS, _apart(plain_weights(decoder.model))[0] if adapted else own)
    _save(folder / WEIGHTS, {name: x for name, x in kept.items() if adapted or not name.startswith(OWN)})
    write_json(folder / FILE, {**rest, "format": payload["format"], "same": same, "adapted": adapted})


def read_weights(folder: Path) -> dict[str, Any]:
    """Return what `load_checkpoint` gives of the checkpoint that a folder was made of.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: one is damaged, or no tensors.
    """
    payload = read_json(existing(folder / FILE, "an exported folder's run"))
    same, adapted = payload.pop("same", None), payload.pop("adapted", None)
    if not isinstance(same, dict) or not isinstance(adapted, bool):
        raise ValueError(f"{folder / FILE}: not what slt.export writes; export the run again")
    model = _load(folder / WEIGHTS)
    if not adapted:
        model |= {f"{OWN}{name}": x for name, x in _load(folder / DECODER / WEIGHTS).items()}
    if lacks := [other for other in same.values() if other not in model]:
        raise ValueError(f"{folder / WEIGHTS}: it has no {lacks[0]}; copy the folder again, or export the run again")
    payload["model"] = model | {name: model[other] for name, other in same.items()}
    files = {path.name: path.read_bytes() for path in sorted((folder / TOKENIZER).iterdir()) if path.is_file()}
    payload["tokenizer"] = {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in files.items()}
    return payload


def _apart(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, as safetensors want it, and name -> name of those that are one, as a head and an embedding."""
    first: dict[Any, str] = {}
    kept, same = {}, {}
    for name, x in state.items():
        place = (x.data_ptr(), x.shape, x.stride(), x.dtype) if x.numel() else name
        if (other := first.setdefault(place, name)) != name:
            same[name] = other
        else:
            whole = x.is_contiguous() and x.untyped_storage().nbytes() == x.numel() * x.element_size()
            kept[name] = x if whole else x.clone(memory_format=torch.contiguous_format)
    return kept, same


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path, metadata={"format": "pt"})  # which transformers asks for


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(existing(path, "an exported folder's weights"))
    except SafetensorError as error:
        raise ValueError(f"{path}: truncated or no safetensors ({error}); copy it again") from error
