"""Words before the frames: what a text encoder reads first, as its pretraining had it do.

Shape letters: B clips, T' frames after the temporal encoder, P tokens of the prompt, H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def prompt_ids(tokenizer: Any, prompt: str | None, *, text_encoder: bool) -> Tensor | None:
    """Ids (P,) of a prompt with the special tokens that the tokenizer gives every text; None without one.

    So does Uni-Sign (Li et al., ICLR 2025), whose prompts end in mT5's end of sentence.
    """
    if prompt is None:
        return None
    if not text_encoder:
        raise ValueError(
            f"decoder.prompt={prompt!r} is for the decoder's own encoder: set decoder.text_encoder=true, or prompt=null"
        )
    return torch.tensor(tokenizer(prompt).input_ids, dtype=torch.long)


def before(rows: Tensor | None, x: Tensor) -> Tensor:
    """Embedded prompt (P, H) or None and frames (B, T', H) -> both (B, P + T', H)."""
    return x if rows is None else torch.cat([rows.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)


def marks_before(rows: Tensor | None, present: Tensor) -> Tensor:
    """The same of the marks of frames, (B, T') bool -> (B, P + T'): a prompt is always there."""
    if rows is None:
        return present
    return torch.cat([present.new_ones(present.shape[0], rows.shape[0]), present], dim=1)
