"""Translating a split: the same sentences whatever the batches, and only from what was seen, from file to logits.

B clips, T frames, R crop side, K landmarks, L tokens, V vocabulary.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from slt.corpora.folder import LsaTMultiStream
from slt.evaluation.settings import Conventions
from slt.evaluation.translation import blank, seen_share, translate, validate
from slt.models.search import Found, Search
from slt.models.tokenizer import Tokenize, decode
from slt.models.trained import Model
from slt.streams.arrays import read_pose, write_pose
from slt.streams.batch import Batching, Collate
from slt.streams.packed import PackedCrops
from slt.training.batches import evaluation_batches
from slt.training.machine import Compute

CPU = Compute(torch.device("cpu"), "fp32")
SEARCH = Search(num_beams=3, length_penalty=1.0, nbest=2, max_tokens=12)


def split(root: Path, clips: Any) -> LsaTMultiStream:
    """The training split under `root`, read as `clips` is but at full length."""
    return LsaTMultiStream(
        root=root, split="train", streams=clips.streams, fps=None, max_frames=None, length_tolerance=0, augment=None,
        seed=1,
    )  # fmt: skip


def of(translator: Any, tokenizer: Any) -> Model:
    return Model(translator=translator, tokenizer=tokenizer, search=SEARCH)


@pytest.fixture
def batches(corpus: Path, clips: Any, tokenizer: Any) -> Callable[[int], Any]:
    whole = split(corpus, clips)

    def make(size: int) -> Any:
        return evaluation_batches(whole, Tokenize(tokenizer, 64), Batching(size, None, 0))

    return make


def test_every_clip_is_translated_once_in_the_order_of_ids(
    build: Any, batches: Any, clips: Any, tokenizer: Any
) -> None:
    said, _ = translate(of(build(), tokenizer), batches(5), SEARCH, CPU)
    assert [p.id for p in said] == sorted(clips.ids)
    assert {p.id: p.reference for p in said} == dict(zip(clips.ids, clips.texts, strict=True))
    assert all(len(p.nbest) == 2 and p.nbest[0][0] == p.hypothesis for p in said)
    assert all(p.nbest[0][1] >= p.nbest[1][1] for p in said)


def test_neither_batches_nor_a_second_time_change_a_sentence(build: Any, batches: Any, tokenizer: Any) -> None:
    model = build()
    alone, by_five, again = (translate(of(model, tokenizer), batches(size), SEARCH, CPU) for size in (1, 5, 5))
    assert [p.hypothesis for p in alone[0]] == [p.hypothesis for p in by_five[0]]
    assert by_five == again
    assert alone[1] == pytest.approx(by_five[1], rel=1e-5)


def test_dropout_is_off_and_the_global_generator_left_alone(build: Any, batches: Any, tokenizer: Any) -> None:
    model, before = build().train(), torch.get_rng_state()
    said = translate(of(model, tokenizer), batches(5), SEARCH, CPU)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert said == translate(of(model, tokenizer), batches(5), SEARCH, CPU)


def test_loss_is_the_mean_over_all_tokens_of_the_split(build: Any, batches: Any, tokenizer: Any) -> None:
    model, whole = build(), next(iter(batches(12)))
    _, loss = translate(of(model, tokenizer), batches(5), SEARCH, CPU)
    with torch.no_grad():
        logits, mask = model(whole), whole.tokens_mask
    assert loss == pytest.approx(functional.cross_entropy(logits[mask], whole.tokens[mask]).item(), rel=1e-5)


def test_dropped_stream_is_as_one_that_was_never_seen(build: Any, clips: Any, tokenizer: Any, batches: Any) -> None:
    model, batch = build(), next(iter(batches(12)))
    unseen = blank(batch, ["face"])
    assert not unseen.seen["face"].any()
    assert not unseen.streams["face"].any()
    assert torch.equal(unseen.seen["pose"], batch.seen["pose"])
    dropped = translate(of(model, tokenizer), [batch], SEARCH, CPU, drop=["face"])
    assert dropped == translate(of(model, tokenizer), [unseen], SEARCH, CPU)
    assert dropped[1] != translate(of(model, tokenizer), [batch], SEARCH, CPU)[1]
    assert batch.seen["face"].any()  # the batch itself is left as it was


def test_the_share_of_frames_seen_is_over_streams_and_without_padding(batch: Any) -> None:
    for name, mask in batch.seen.items():
        mask[:] = batch.frames if name != "face" else False
    batch.seen["pose"][0, :4] = False  # of the clip of 7 frames
    assert seen_share(batch) == pytest.approx([(3 / 7 + 2) / 4, 3 / 4, 3 / 4])


def test_validation_names_its_scores_and_they_are_of_greedy_sentences(build: Any, batches: Any, tokenizer: Any) -> None:
    from slt.evaluation.metrics import bleu, chrf

    model = build()
    shown: list[Any] = []
    scores = validate(of(model, tokenizer), batches(5), CPU, show=shown.extend)
    said, loss = translate(of(model, tokenizer), batches(5), SEARCH.with_(num_beams=1, nbest=1), CPU)
    sentences = [p.hypothesis for p in said], [p.reference for p in said]
    assert scores == {"val/loss": loss, "val/bleu": bleu(*sentences), "val/chrf": chrf(*sentences)}
    assert shown == said


def test_validation_scores_by_the_conventions_of_the_corpus(
    build: Any, batches: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, whole = build(), next(iter(batches(12)))
    found = [[Found(0.0, tuple(row), (0.0,) * len(row))] for row in whole.tokens.tolist()]
    monkeypatch.setattr(model.decoder, "generate", lambda *_: found)
    whole.texts = [text.upper() for text in whole.texts]
    lower = validate(of(model, tokenizer), [whole], CPU, conventions=Conventions(lowercase=True))
    assert (lower["val/bleu"], lower["val/chrf"]) == (pytest.approx(100), pytest.approx(100))
    plain = validate(of(model, tokenizer), [whole], CPU)
    assert max(plain["val/bleu"], plain["val/chrf"]) < 50


def test_perfect_model_scores_100(build: Any, batches: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = build(), next(iter(batches(12)))
    found = [[Found(0.0, tuple(row), (0.0,) * len(row))] for row in whole.tokens.tolist()]
    monkeypatch.setattr(model.decoder, "generate", lambda *_: found)
    scores = validate(of(model, tokenizer), [whole], CPU)
    assert (scores["val/bleu"], scores["val/chrf"]) == (pytest.approx(100), pytest.approx(100))
    assert decode(tokenizer, whole.tokens) == whole.texts


# ---------------------------------------------------------------- from file to logits


@pytest.fixture
def logits(build: Any, corpus: Path, clips: Any, tokenizer: Any, tmp_path: Path) -> Callable[..., torch.Tensor]:
    """Copy the corpus to tmp_path/copy once, read clips of it and give their logits (B, L, V) by a tiny translator."""
    model = build()
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))

    def give(*ids: str) -> torch.Tensor:
        there = split(copy, clips)
        samples = [there[list(there.ids).index(name)] for name in ids]
        longest = Tokenize(tokenizer, 64)(list(there.texts))[0].shape[1]
        batch = Collate(Tokenize(tokenizer, 64))(samples)
        batch.tokens = functional.pad(batch.tokens, (0, longest - batch.tokens.shape[1]))
        with torch.no_grad():
            return model(batch)

    return give


@pytest.fixture
def ends(corpus: Path, clips: Any) -> tuple[str, str]:
    whole = split(corpus, clips)
    assert whole.lengths.min() + 8 < whole.lengths.max()
    return whole.ids[int(whole.lengths.argmin())], whole.ids[int(whole.lengths.argmax())]


def test_clip_alone_and_in_a_padded_batch_agree(logits: Callable[..., torch.Tensor], ends: tuple[str, str]) -> None:
    short, long = ends
    together = logits(short, long)
    torch.testing.assert_close(together[:1], logits(short), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1:], logits(long), rtol=1e-4, atol=1e-5)


def rewrite(path: Path, *, seen: np.ndarray[Any, Any], where: np.ndarray[Any, Any], value: int) -> None:
    """Write a packed clip with these seen marks and, in the frames `where`, other pixels; not by our own writer."""
    tensors = load_file(path)
    frames = tensors["frames"].copy()
    frames[where] = value
    size = str(frames.shape[1])
    save_file({"frames": frames, "seen": seen.astype(np.uint8)}, path, metadata={"encoding": "raw", "size": size})


@pytest.mark.parametrize("folder", ["face", "hand_l", "hand_r"])
def test_pixels_of_unseen_frames_in_the_file_change_nothing_and_of_seen_ones_do(
    logits: Callable[..., torch.Tensor], ends: tuple[str, str], tmp_path: Path, folder: str
) -> None:
    name = ends[0]
    path = tmp_path / "copy" / folder / f"{name}.safetensors"
    seen = np.arange(PackedCrops(path).length) % 3 != 0
    rewrite(path, seen=seen, where=~seen, value=0)
    before = logits(name)
    rewrite(path, seen=seen, where=~seen, value=200)
    assert torch.equal(logits(name), before)
    rewrite(path, seen=seen, where=seen, value=200)
    assert not torch.allclose(logits(name), before, atol=1e-4)


def test_points_that_were_not_detected_change_nothing_and_others_do(
    logits: Callable[..., torch.Tensor], ends: tuple[str, str], tmp_path: Path
) -> None:
    name = ends[0]
    path = tmp_path / "copy" / "pose" / f"{name}.npz"
    clip = read_pose(path)

    def write(t: int, point: int, x: float, confidence: float) -> torch.Tensor:
        points = clip.points.copy()
        points[2, 15], points[5, 11] = (0.3, 0.3, 0.0), (0.3, 0.3, 0.0)  # a wrist; a shoulder: the frame is not seen
        points[t, point] = (x, x, confidence)
        write_pose(path, points, size=clip.size, seen={})
        return logits(name)

    before = write(2, 15, 0.3, 0.0)
    assert torch.equal(write(2, 15, 0.9, 0.0), before)
    assert torch.equal(write(5, 12, 0.9, 1.0), before)
    assert not torch.allclose(write(3, 15, 0.9, 1.0), before, atol=1e-6)


def test_what_is_seen_of_one_clip_does_not_reach_another(
    logits: Callable[..., torch.Tensor], ends: tuple[str, str], tmp_path: Path
) -> None:
    short, long = ends
    before = logits(short, long)[0]
    path = tmp_path / "copy" / "face" / f"{long}.safetensors"
    every = np.ones(PackedCrops(path).length, bool)
    rewrite(path, seen=every, where=every, value=200)
    torch.testing.assert_close(logits(short, long)[0], before, rtol=1e-4, atol=1e-5)
