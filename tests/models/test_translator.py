"""slt/models/translator.py: from the files of a clip to logits and sentences, whatever stands beside it in the batch.

Shape letters: B clips, T frames, L tokens, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from slt.models.search import Search

every_fusion = pytest.mark.parametrize("fusion", ["concat", "gated", "mean"])
every_rate = pytest.mark.parametrize("downsample", [1, 2, 3])
SEARCH = Search(num_beams=2, length_penalty=1.0, max_tokens=12)


def alone(batch: Any, clip: int) -> Any:
    """One clip of a batch, without padding of its frames."""
    frames, one = int(batch.frames[clip].sum()), slice(clip, clip + 1)
    return replace(
        batch, ids=batch.ids[one], texts=batch.texts[one], frames=batch.frames[one, :frames],
        streams={name: x[one, :frames] for name, x in batch.streams.items()},
        seen={name: x[one, :frames] for name, x in batch.seen.items()},
        tokens=batch.tokens[one], tokens_mask=batch.tokens_mask[one],
    )  # fmt: skip


def poison(batch: Any) -> None:
    """Garbage wherever nothing was seen or there is no frame."""
    for name, x in batch.streams.items():
        x[~(batch.seen[name] & batch.frames)] = 255 if x.dtype == torch.uint8 else torch.nan


@every_fusion
@every_rate
def test_a_clip_gives_the_same_logits_alone_and_in_a_padded_batch(build, batch, fusion, downsample):
    translator = build(f"fusion={fusion}", f"temporal.downsample={downsample}")
    logits = translator(batch)
    assert logits.shape == (*batch.tokens.shape, translator.decoder.model.config.vocab_size)
    for clip in range(3):
        torch.testing.assert_close(translator(alone(batch, clip))[0], logits[clip], atol=1e-4, rtol=1e-4)


@every_fusion
@every_rate
def test_what_was_not_seen_changes_no_logit(build, batch, fusion, downsample):
    translator = build(f"fusion={fusion}", f"temporal.downsample={downsample}")
    batch.seen["face"][1] = False
    batch.seen["pose"][0, 2:4] = False
    before = translator(batch)
    poison(batch)
    for mask in batch.seen.values():
        mask |= ~batch.frames  # padding that claims to be seen
    assert torch.equal(translator(batch), before)


@every_fusion
@pytest.mark.parametrize("stream", ["face", "left_hand", "right_hand", "pose"])
def test_what_was_seen_changes_the_logits_of_its_clip_alone(build, batch, fusion, stream):
    translator = build(f"fusion={fusion}")
    batch.seen[stream][1, 3] = True
    before = translator(batch)
    batch.streams[stream][1, 3] = 200 if stream != "pose" else 2.0
    changed = (translator(batch) != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]


@every_fusion
def test_a_clip_of_which_nothing_was_seen_still_has_a_translation(build, batch, fusion):
    translator = build(f"fusion={fusion}")
    for mask in batch.seen.values():
        mask[:] = False
    assert translator(batch).isfinite().all()
    found = translator.generate(batch, SEARCH)
    assert all(math.isfinite(one.score) for beam in found for one in beam)


def test_generation_is_deterministic_and_does_not_depend_on_the_batch(build, batch):
    translator = build("temporal.downsample=2")
    first, second = translator.generate(batch, SEARCH), translator.generate(batch, SEARCH)
    assert first == second
    for clip in range(3):
        (single,) = translator.generate(alone(batch, clip), SEARCH)
        assert [one.ids for one in single] == [one.ids for one in first[clip]]
        assert [one.score for one in single] == pytest.approx([one.score for one in first[clip]], rel=1e-4, abs=1e-4)


def test_every_weight_that_trains_gets_a_gradient(build, batch):
    translator = build("fusion=gated", "temporal.downsample=2").train()
    batch.seen["left_hand"][0, 0] = False
    for mask in batch.seen.values():
        mask[0, 1] = False  # so that each stream's embedding stands in somewhere
    translator(batch).square().mean().backward()
    idle = [name for name, x in translator.named_parameters() if x.requires_grad and x.grad is None]
    assert idle == []


def test_half_precision_gives_finite_logits_near_the_full_ones(build, batch):
    translator = build()
    full = translator(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = translator(batch)
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()


@pytest.mark.parametrize("streams", [["pose"], ["face", "pose"], ["left_hand", "right_hand"]])
def test_fewer_streams_make_a_smaller_translator(build, batch, compose, tiny, tokenizer, clips, streams):
    from slt.config.build import build_translator, stream_shapes

    shapes = {name: shape for name, shape in stream_shapes(clips).items() if name in streams}
    translator = build_translator(compose(*tiny), tokenizer, shapes).eval()
    assert translator.encoder.streams == tuple(streams)
    assert translator(batch).shape[:2] == batch.tokens.shape
