"""Several corpora as one: weights, languages that are forced, scores of each."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slt.data import Landmarks, LsaTMultiStream, Mixture
from slt.models import TextSeq2SeqDecoder
from slt.models.search import Search
from slt.models.tokenizer import add_languages, decode, languages, train_tokenizer

YAML = """
defaults:
  - mixture
  - lsa_t@parts.ours
  - lsa_t@parts.theirs
  - _self_
parts:
  ours: {{root: {root}, only: [pose]}}
  theirs: {{root: {root}, only: [pose]}}
weights: {{ours: 1.5}}
languages: {{ours: es, theirs: en}}
streams:
  pose: ${{..parts.ours.streams.pose}}
"""


@pytest.fixture
def mixed(corpus: Path) -> Any:
    """Mixtures of the embedded corpus with itself, by split and whatever else is given."""
    pose = {"pose": Landmarks(folder="pose", points="upper_body", normalise="shoulders", jitter=0.1, noise=0.01)}
    augment = {"speed": [0.8, 1.2], "warp": 0.0, "frame_dropout": 0.1, "stream_dropout": 0, "mirror": 0}
    part = partial(LsaTMultiStream, root=corpus, streams=pose, length_tolerance=0, augment=augment, seed=1)

    def make(split: str, **keys: Any) -> Mixture:
        given = {"weights": {}, "languages": {}, "augment": True} | keys
        return Mixture(
            parts={"a": part, "b": part}, split=split, streams=pose, fps=None, max_frames=None, seed=1, **given
        )

    return make


def test_clips_come_as_often_in_an_epoch_as_their_corpus_weighs(mixed: Any) -> None:
    clips = mixed("train", weights={"a": 2.5, "b": 0.5})
    assert Counter(clips.columns["corpus"].tolist()) == {"a": 30, "b": 6}
    assert max(Counter(clips.ids.tolist()).values()) == 3
    assert Counter(mixed("val", weights={"a": 2.5}).columns["corpus"].tolist()) == {"a": 4, "b": 4}
    assert len(clips.lengths) == len(clips.texts) == len(clips) == 36


def test_a_clip_that_comes_twice_is_augmented_twice_and_the_same_each_time(mixed: Any) -> None:
    clips = mixed("train", weights={"a": 2})
    first, second = (i for i, name in enumerate(clips.ids) if name == clips.ids[0])
    one, two, again = (clips[3, index].streams["pose"] for index in (first, second, first))
    assert one.shape != two.shape or not np.array_equal(one, two)
    assert np.array_equal(one, again)
    plain = mixed("train", weights={"a": 2}, augment=None)
    assert np.array_equal(plain[0, first].streams["pose"], plain[1, second].streams["pose"])


def test_parts_with_other_streams_and_names_that_are_none_are_refused(mixed: Any, corpus: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.weights: there is no part 'c'; the parts are a, b"):
        mixed("train", weights={"c": 2})
    with pytest.raises(ValueError, match=r"dataset\.weights\.a must be above 0"):
        mixed("train", weights={"a": 0})
    with pytest.raises(FileNotFoundError, match="split dev: none of a, b has it"):
        mixed("dev")


def test_its_signers_are_those_of_its_corpora_by_their_own_names(mixed: Any) -> None:
    clips = mixed("train")
    assert clips.signers == clips.parts[0].signers != set()
    assert set(clips.columns["signer"].tolist()) == {f"{part}: {name}" for part in "ab" for name in clips.signers}


def test_each_part_is_cut_to_the_first_clips(mixed: Any) -> None:
    assert Counter(mixed("train", limit=3).columns["corpus"].tolist()) == {"a": 3, "b": 3}
    assert Counter(mixed("val", held_out=1).columns["corpus"].tolist()) == {"a": 1, "b": 1}


def test_a_root_for_all_is_refused(mixed: Any) -> None:
    with pytest.raises(ValueError, match=r"dataset\.root=x: a mixture has none"):
        mixed("train", root="x")


def test_it_is_trained_on_and_scored_by_corpus(entry: Any, tiny: list[str], corpus: Path) -> None:
    (Path.cwd() / "dataset").mkdir()
    (Path.cwd() / "dataset" / "both.yaml").write_text(YAML.format(root=corpus))
    given = [each for each in tiny if not each.startswith("dataset.")]
    ran = entry("train", f"--config-dir={Path.cwd()}", *given, "dataset=both")
    assert ran.status == 0, ran.err
    scores = json.loads((ran.folder / "scores.json").read_text())
    assert sorted(scores["groups"]["corpus"]) == ["ours", "theirs"]
    again = entry("eval", f"checkpoint={ran.folder}", "split=val", "device=cpu")
    assert again.status == 0, again.err


@pytest.mark.parametrize("num_beams", [1, 3])
def test_each_sentence_begins_with_the_language_of_its_clip(num_beams: int) -> None:
    tokenizer = train_tokenizer(["hola mundo", "hello world"], kind="word", vocab_size=20)
    add_languages(tokenizer, ["es", "en", "es", ""])
    size = len(tokenizer)
    add_languages(tokenizer, ["en"])
    assert len(tokenizer) == size == 4 + 4 + 2
    assert languages(tokenizer, ["", ""]) is None
    ids = tokenizer("<en> hello world").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<en>", "▁hello", "▁world", "</s>"]
    assert decode(tokenizer, [ids]) == ["hello world"]
    first = languages(tokenizer, ["es", "en", "en"])
    config = {"d_model": 8, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
              "encoder_attention_heads": 2}  # fmt: skip
    decoder = TextSeq2SeqDecoder(
        embed_dim=16, tokenizer=tokenizer, architecture="bart", pretrained=None, config=config, text_encoder=False,
        prompt=None, language=None, max_tokens=8,
    ).eval()  # fmt: skip
    memory, present = torch.randn(3, 4, 16), torch.ones(3, 4, dtype=torch.bool)
    found = decoder.generate(memory, present, Search(num_beams=num_beams, length_penalty=1.0, max_tokens=5), first)
    assert [{one.ids[0] for one in clip} for clip in found] == [{int(token)} for token in first]
