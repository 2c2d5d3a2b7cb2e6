"""What the decoders share of transformers: attention by ours, caches as plain tensors, the search's step over them.

Shape letters: B clips, N hypotheses, H heads, T' frames after the temporal encoder, L tokens, d width of a head,
V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import eager_mask
from transformers.modeling_outputs import Seq2SeqLMOutput

from slt.models.attention import attend, hiding, mixed_precision
from slt.models.search import Floats, Ids
from slt.models.step import FastStep, cast

ATTENTION = "slt"  # under which transformers' models find `_attention`
NARROW = 512  # hidden size below which a processor searches in float32
# What models call the cache that they are handed: transformers 5.24 renamed it.
CACHE = "cache" if "cache" in Seq2SeqLMOutput.__dataclass_fields__ else "past_key_values"


def presence_mask(present: Tensor) -> Tensor:
    """(B, T') bool as what is added to scores (B, 1, 1, T').

    Of bools transformers asks whether they hide anything at all, and the host would wait for a GPU's answer.
    """
    return hiding(~present)[:, None, None]


def causal_mask(tokens: Tensor) -> Tensor:
    """The mask of the past for tokens (B, L), (B, 1, L, L); see `presence_mask`."""
    length = tokens.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
    return hiding(later).expand(len(tokens), 1, length, length)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float = 0.0,
    scaling: float | None = None, position_bias: Tensor | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """`attend` as transformers' models call it; masks of ours hide the future too, so nothing is causal by itself.

    Of language models several heads of queries may share one of keys and values.
    """
    if (shared := getattr(module, "num_key_value_groups", 1)) > 1:
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    if position_bias is not None:
        mask = position_bias if mask is None else position_bias + mask
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, mask, scale=scale, dropout=dropout).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)  # of masks that are not ours


class CachedStep:
    """A decoder as the search asks it: one token for every hypothesis, keys and values of the past kept.

    Args:
        step: tokens (N, 1), present (N, T') and a cache -> logits (N, V) and the longer part of the cache, as
            `TextSeq2SeqDecoder.step`.
        present: (B, T') bool.
        cross: the part of the cache that no step changes, each tensor (B, H, T', d).
    """

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], present: Tensor, cross: tuple[Tensor, ...]) -> None:
        precision = mixed_precision(present.device)
        self._step = cast(step, precision) if isinstance(step, FastStep) and precision is not None else step
        self._present, self._cross = present, cross
        self._past = tuple(x[:, :, :0] for x in cross)

    def __call__(self, tokens: Ids, order: Ids, count: int) -> tuple[Floats, Ids]:
        """See `slt.models.search.Step`."""
        rows, device = len(self._present), self._present.device
        place = torch.from_numpy(order).to(device)
        if len(order) != rows:  # clips keep their order, so as many rows as before are of the same clips
            self._present, *cross = (x.index_select(0, place) for x in (self._present, *self._cross))
            self._cross = tuple(cross)
        if len(order) != rows or (order != np.arange(rows)).any():
            self._past = tuple(x.index_select(0, place) for x in self._past)
        last = torch.from_numpy(tokens)[:, None].to(device)
        logits, *past = self._step(last, self._present, *self._cross, *self._past)
        self._past = tuple(past)
        log_probs = logits.float().log_softmax(-1)
        # Of tokens alike, which half precision makes of many, greedy search takes the first, as transformers' does.
        best = log_probs.max(-1, keepdim=True) if count == 1 else log_probs.topk(min(count, logits.shape[1]))
        return best.values.cpu().numpy(), best.indices.cpu().numpy()


def as_cache(tensors: tuple[Tensor, ...]) -> DynamicCache:
    """Key and value of each layer in turn as transformers' cache; its own constructor would copy them."""
    cache = DynamicCache()
    for key, value in zip(tensors[::2], tensors[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def tensors_of(cache: Any) -> tuple[Tensor, ...]:
    """The inverse of `as_cache`."""
    return tuple(x for layer in cache.layers for x in (layer.keys, layer.values))


@contextlib.contextmanager
def widened(hidden: Tensor) -> Iterator[Tensor]:
    """What a search starts from, (B, T', hidden size): of a narrow model on a processor in float32, autocast off.

    Each step has a new shape, for which a processor's kernels of bfloat16 are made anew: of a narrow model that takes
    longer than its products do.
    """
    if hidden.device.type == "cpu" and hidden.shape[-1] < NARROW:
        with torch.autocast("cpu", enabled=False):
            yield hidden.float()
    else:
        yield hidden
