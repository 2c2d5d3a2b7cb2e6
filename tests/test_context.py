"""The sentence before in the same film, from a corpus' rows to what a decoder is told of it. B clips, T' frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from slt.corpora.clips import Clips
from slt.corpora.context import film_turns
from slt.corpora.folder import FolderCorpus
from slt.corpora.mixture import Mixture
from slt.evaluation.controls import Frozen, Swapped
from slt.evaluation.translation import translate
from slt.inference.checkpoint import CheckpointTranslator
from slt.inference.onnx import Look
from slt.models import CausalDecoder, Translator
from slt.models.search import Search
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.streams.batch import Batching, Collate
from slt.training.batches import evaluation_batches
from slt.training.machine import Compute
from slt.training.objective import TranslationLoss
from slt.training.reward import RewardLoss

LLAMA = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
CPU = Compute(torch.device("cpu"), "fp32")
SEARCH = Search(num_beams=1, length_penalty=1.0, max_tokens=8)
AUGMENT = {"speed": [1, 1], "frame_dropout": 0.0, "stream_dropout": 0.0, "mirror": 0.0}


class Filmed(FolderCorpus):
    """The embedded corpus as if clip n were of film n % 3, its row further up the later it is, number 3 of none."""

    def rows(self, split: str) -> Any:
        return [
            row._replace(columns={**row.columns, "film": f"film {n % 3}", "start": "" if n == 3 else str(90.5 - 8 * n)})
            for n, row in enumerate(super().rows(split))
        ]


@pytest.fixture
def filmed(corpus: Path, clips: Any) -> Callable[..., Clips]:
    def make(of: Any = Filmed, augment: Any = None, split: str = "train", **keys: Any) -> Clips:
        return Clips(root=corpus, corpus=of, split=split, streams=clips.streams, length_tolerance=0, augment=augment,
                     seed=1, **{"fps": None, "max_frames": 8} | keys)  # fmt: skip

    return make


@pytest.fixture
def model(build: Any, tokenizer: Any) -> Model:
    encoder = build().encoder
    decoder = CausalDecoder(
        embed_dim=16, tokenizer=tokenizer, pretrained=None, config=LLAMA, lora=None, prompt="antes: {context} ahora:",
        language=None, max_tokens=64,
    )  # fmt: skip
    torch.nn.init.normal_(decoder.model.get_output_embeddings().weight, std=0.5)
    translator = Translator(encoder=encoder, decoder=decoder, heads={}).eval()
    return Model(translator=translator, tokenizer=tokenizer, search=SEARCH)


def test_a_clip_is_told_the_sentence_before_it_in_its_film_by_its_start(filmed: Any) -> None:
    clips = filmed()
    assert clips.before.tolist() == [6, 4, 5, -1, 7, 8, 9, 10, 11, -1, -1, -1]
    sample = clips[0]
    assert (sample.context, sample.previous) == (clips.texts[6], clips.ids[6])
    assert (clips[3].context, clips[3].previous) == (clips[9].context, clips[9].previous) == ("", "")
    assert film_turns(clips.before)[1].tolist() == [2, 3, 3, 0, 2, 2, 1, 1, 1, 0, 0, 0]
    assert clips.take(np.array([0, 3, 6])).before.tolist() == [2, -1, -1]
    assert clips.take(np.array([0, 3]))[0].context == ""


def test_some_training_clips_are_not_told_and_their_streams_are_as_before(filmed: Any) -> None:
    told, never, some = (filmed(augment=AUGMENT | {"context_dropout": chance}) for chance in (0.0, 1.0, 0.5))
    assert told[0].context == told.texts[6]
    assert never[0].context == ""
    assert {bool(some[epoch, 0].context) for epoch in range(12)} == {True, False}
    assert np.array_equal(told[0].streams["face"], never[0].streams["face"])
    with pytest.raises(ValueError, match=r"augment\.context_dropout is a chance"):
        filmed(augment=AUGMENT | {"context_dropout": 1.5})


def test_a_corpus_without_films_or_with_times_that_are_none_is_refused(filmed: Any, tokenizer: Any) -> None:
    plain = filmed(of=FolderCorpus)
    assert plain[0].context == ""
    with pytest.raises(ValueError, match=r"decoder\.prompt has \{context\}.*columns film and start.*no 'start'"):
        evaluation_batches(plain, Tokenize(tokenizer, 64), Batching(4, None, 0), by_film=True)

    class Wrong(Filmed):
        def rows(self, split: str) -> Any:
            return [row._replace(columns={**row.columns, "start": "soon"}) for row in super().rows(split)]

    with pytest.raises(ValueError, match="has start 'soon'; expected seconds"):
        filmed(of=Wrong)


def test_a_mixture_tells_the_clip_before_by_its_name_there(filmed: Any, clips: Any) -> None:
    parts: Any = {"a": partial(filmed, augment=None), "b": partial(filmed, augment=None)}
    mixture = Mixture(parts=parts, weights={"a": 2}, languages={}, split="train", streams=clips.streams, fps=None,
                      max_frames=8, augment=None, seed=1)  # fmt: skip
    first, twice, other = (mixture[place] for place in (0, 12, 24))
    assert [each.previous for each in (first, twice, other)] == [f"{name}/{clips.ids[6]}" for name in "aab"]
    assert first.context == other.context == clips.texts[6]
    assert mixture.before[[0, 12, 24]].tolist() == [6, 6, 30]


@pytest.mark.parametrize("control", [None, Swapped, Frozen])
def test_in_evaluation_it_is_the_model_s_own_translation_whatever_the_batches(
    model: Model, filmed: Any, monkeypatch: pytest.MonkeyPatch, control: Any
) -> None:
    clips, told = filmed(), {}
    shown, decoder = clips if control is None else control(clips), model.translator.decoder
    context = type(model.translator).context

    def noted(self: Any, batch: Any) -> Any:
        told.update(zip(batch.ids, batch.contexts, strict=True))
        return context(self, batch)

    monkeypatch.setattr(type(model.translator), "context", noted)
    sizes = []
    for size in (1, 5) if control is None else (5,):
        batches = evaluation_batches(shown, Tokenize(model.tokenizer, 64), Batching(size, None, 0), by_film=True)
        said, loss = translate(model, batches, SEARCH, CPU)
        sizes.append((tuple(p.hypothesis for p in said), pytest.approx(loss, rel=1e-4)))
        written = {p.id: p.hypothesis for p in said}
        before = dict(zip(clips.ids.tolist(), clips.before.tolist(), strict=True))
        assert told == {name: "" if n < 0 else written[clips.ids[n]] for name, n in before.items()}
        assert sum(map(bool, told.values())) > 4
    assert sizes[0] == sizes[-1]
    monkeypatch.setattr(decoder, "reads_context", False)
    assert not model.translator.reads_context


def test_processes_have_whole_films_in_order_and_every_clip_once(
    filmed: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, seen = filmed(), []
    monkeypatch.setattr("slt.training.processes.world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("slt.training.processes.rank", lambda rank=rank: rank)
        loader = evaluation_batches(clips, Tokenize(tokenizer, 64), Batching(4, None, 0), by_film=True)
        ours = [place for batch in loader.batch_sampler for place in batch]
        assert max(map(len, loader.batch_sampler)) == 2
        assert [n for n in ours if clips.before[n] >= 0 and ours.index(clips.before[n]) >= ours.index(n)] == []
        seen += ours
    assert sorted(seen) == list(range(12))


def test_training_tells_the_reference_s_and_so_does_the_reward(model: Model, filmed: Any) -> None:
    clips, translator = filmed(), model.translator
    batch = Collate(Tokenize(model.tokenizer, 64))([clips[0], clips[9]])
    assert batch.contexts == [clips.texts[6], ""]
    silent = replace(batch, contexts=[])
    torch.testing.assert_close(translator(batch)[1], translator(silent)[1], atol=1e-5, rtol=1e-5)
    made = TranslationLoss(label_smoothing=0.0, gloss_weight=0.0, flat_start=0)
    logits = translator(batch).log_softmax(-1).gather(2, batch.tokens[..., None])[..., 0]
    assert made(translator, batch).item() == pytest.approx(-logits[batch.tokens_mask].mean().item(), rel=1e-5)
    assert made(translator, silent).item() != pytest.approx(made(translator, batch).item(), rel=1e-4)
    reward = RewardLoss(
        reward=lambda said, _: np.array([len(each) for each in said], np.float32), candidates=2, sharpness=0.5,
        kl_weight=0.5, sentence_weight=1.0, label_smoothing=0.0, gloss_weight=0.0,
    )  # fmt: skip
    reward.begin(model, clips)
    before = reward._candidates(translator, batch)[0][:2].tolist()
    best = translator.generate(batch, Search(num_beams=2, length_penalty=1.0, max_tokens=8))[0]
    assert [list(one.ids) for one in best] == [row[: len(one.ids)] for row, one in zip(before, best, strict=True)]
    reward(translator, batch).backward()
    assert reward.report()["train/distance"] == pytest.approx(0, abs=1e-5)


def test_a_checkpoint_at_work_is_told_the_sentence_before(model: Model, batch: Any) -> None:
    trained: Any = SimpleNamespace(**vars(model), streams=(), extractor=None, fps=None, max_frames=None,
                                   precision="fp32")  # fmt: skip
    translator = CheckpointTranslator(trained)
    assert translator.reads_context
    memory, present = model.translator.encoder(batch.streams, batch.seen, batch.frames)
    encoded = memory, present, [Look(frames, 1.0) for frames in batch.lengths]
    told = ["mañana no hay agua", "", "sí"]
    said = {name: [each[0].score for each in translator.write(encoded, contexts=given, nbest=1)]
            for name, given in {"told": told, "blank": None}.items()}  # fmt: skip
    batch.contexts = told
    expected = [each[0].score for each in model.translator.generate(batch, model.search.with_(nbest=1))]
    assert said["told"] == pytest.approx(expected)
    assert said["told"] != pytest.approx(said["blank"])
