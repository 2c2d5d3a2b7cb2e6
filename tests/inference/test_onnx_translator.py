"""slt/inference/onnx.py: an exported folder writes what its model in torch would, and needs no torch for it.

Shape letters: B clips, T frames, N hypotheses, L tokens, V vocabulary.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slt.inference import Inputs, OnnxTranslator
from slt.inference.onnx import feeds
from slt.models.search import Found, Search, likeliest, search
from slt.streams.sample import pad_clips

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def translator(folder: Path) -> OnnxTranslator:
    return OnnxTranslator(folder, threads=1)


class Afresh:
    """The model in torch, every hypothesis written again from its first token at every step."""

    def __init__(self, model: Any, clip: Inputs, translator: OnnxTranslator) -> None:
        self.model = model
        given = {name: torch.from_numpy(x) for name, x in feeds(*pad_clips([clip])).items()}
        memory, self.present = model.encoder(**given)
        self.cross, self.prefix = model.cross(memory), torch.zeros(1, 0, dtype=torch.int64)

    @torch.no_grad()
    def __call__(self, tokens: Any, order: Any, count: int) -> Any:
        self.prefix = torch.cat([self.prefix[torch.from_numpy(order)], torch.from_numpy(tokens)[:, None]], 1)
        rows = len(tokens)
        past = [torch.zeros(rows, 2, 0, 4)] * 2
        fixed = [x.expand(rows, -1, -1, -1) for x in self.cross]
        for place in range(self.prefix.shape[1]):
            logits, *past = self.model.decoder(
                self.prefix[:, place : place + 1], self.present.expand(rows, -1), torch.tensor(place), *fixed, *past
            )
        return likeliest(logits.numpy(), count)


def expected(model: Any, clip: Inputs, translator: OnnxTranslator, **options: Any) -> Any:
    return search(Afresh(model, clip, translator), 1, translator.manifest.tokens, Search(**options))[0]


@pytest.mark.parametrize("num_beams", [1, 4])
def test_sentences_and_scores_are_those_of_the_model_written_afresh(translator, model, clip, num_beams):
    options: dict[str, Any] = {"num_beams": num_beams, "length_penalty": 1.2, "max_tokens": 10, "nbest": num_beams}
    lengths = set()
    for seed in range(12):
        came = translator.translate(clip(1 + seed, seed), **options)
        should = expected(model, clip(1 + seed, seed), translator, **options)
        assert [one.ids for one in came] == [one.ids for one in should]
        assert [one.score for one in came] == pytest.approx([one.score for one in should], rel=1e-4)
        lengths |= {len(one.ids) for one in came}
    assert len(lengths) > 3, "sentences that end early and late"


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_of_clips_of_any_lengths_gives_what_each_gives_alone(translator, clip, num_beams):
    clips = [clip(frames, frames) for frames in (5, 1, 9, 3)]
    together = translator.translate_batch(clips, num_beams=num_beams)
    for one, alone in zip(together, (translator.translate(each, num_beams=num_beams) for each in clips), strict=True):
        assert [each.ids for each in one] == [each.ids for each in alone]
        assert [each.score for each in one] == pytest.approx([each.score for each in alone], rel=1e-4)
    assert translator.translate_batch([]) == []


def test_what_is_not_asked_for_is_as_the_manifest_says(translator, clip):
    plain = translator.translate(clip(6, 1))
    assert plain == translator.translate(clip(6, 1), num_beams=3, length_penalty=1.0, max_tokens=12, nbest=3)
    assert [one.score for one in plain] == sorted((one.score for one in plain), reverse=True)
    assert translator.translate(clip(6, 1), nbest=1) == plain[:1]
    assert plain != translator.translate(clip(6, 1), num_beams=1)


def test_the_text_is_what_transformers_decodes(translator, clip, words):
    from slt.models.tokenizer import decode

    for one in translator.translate(clip(8, 3)):
        assert one.text == decode(words, [list(one.ids)])[0]
    blank, letter, end = (words.convert_tokens_to_ids(piece) for piece in ("▁", "n", "</s>"))
    ids = (blank, blank, letter, blank, blank, letter, end)
    assert translator._text(Found(0.0, ids, (0.0,) * len(ids))) == decode(words, [list(ids)])[0] == "n n"


def test_a_stream_that_was_not_seen_cannot_matter(translator, clip):
    one = clip(6, 2)
    blank = replace(one, seen=one.seen | {"face": np.zeros(6, bool)})
    garbage = replace(blank, streams=one.streams | {"face": 255 - one.streams["face"]})
    assert translator.translate(blank) == translator.translate(garbage) != translator.translate(one)


def test_encoder_and_decoder_can_be_run_apart(translator, clip):
    clips = [clip(4, 0), clip(7, 1)]
    encoded = translator.encode(clips)
    assert translator.write(encoded) == translator.write(encoded) == translator.translate_batch(clips)


def change(one: Inputs, **streams: Any) -> Inputs:
    return Inputs(one.streams | streams, one.seen)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda c: change(c, face=c.streams["face"].astype(np.float32)), r"'face': expected uint8 \(T, 3, 4, 4\)"),
        (lambda c: change(c, face=c.streams["face"].transpose(0, 2, 3, 1)), r"'face': .*came uint8 \(6, 4, 4, 3\)"),
        (lambda c: change(c, pose=c.streams["pose"][:, :20]), r"'pose': expected float32 \(T, 25, 3\).*\(6, 20, 3\)"),
        (lambda c: change(c, hand=c.streams["face"]), "streams: the model reads face, pose, came face, pose, hand"),
        (lambda c: Inputs({"face": c.streams["face"]}, c.seen), "streams: the model reads face, pose, came face"),
        (lambda c: Inputs(c.streams, {"face": c.seen["face"]}), "seen: the model reads face, pose, came face"),
        (lambda c: Inputs(c.streams, c.seen | {"pose": c.seen["pose"][:5]}), r"'pose': .*came marks bool \(5,\)"),
        (lambda c: Inputs(c.streams, c.seen | {"pose": c.seen["pose"] * 1}), r"'pose': .*came marks int64 \(6,\)"),
        (lambda c: Inputs({n: x[:0] for n, x in c.streams.items()}, c.seen), "'face': .*with T > 0"),
    ],
)  # fmt: skip
def test_inputs_that_the_model_cannot_read_are_refused_by_name(translator, clip, wrong, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(wrong(clip(6, 0)))


def test_streams_of_different_length_and_too_long_a_clip_are_refused(translator, clip):
    one, short = clip(6, 0), clip(5, 0)
    mixed = Inputs(one.streams | {"pose": short.streams["pose"]}, one.seen | {"pose": short.seen["pose"]})
    with pytest.raises(ValueError, match="stream 'pose': 6 frames expected as in 'face', came 5"):
        translator.translate(mixed)
    with pytest.raises(ValueError, match="a clip of 21 frames: the model was trained on at most 20"):
        translator.translate(clip(21, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbest": 4}, "nbest=4: expected 1 to 3"),
        ({"max_tokens": 13}, "max_tokens=13: the model writes at most 12"),
    ],
)
def test_options_of_the_search_that_cannot_be_are_refused(translator, clip, options, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(clip(3, 0), **options)


def test_options_of_the_session_that_cannot_be_are_refused(folder):
    with pytest.raises(ValueError, match="providers: NoSuchProvider is not in this onnxruntime, which has .*CPU"):
        OnnxTranslator(folder, providers=["NoSuchProvider"])
    with pytest.raises(ValueError, match="optimisation must be one of none, basic, extended, all, came 'most'"):
        OnnxTranslator(folder, optimisation="most")


@pytest.mark.parametrize("options", [{"optimisation": "none"}, {"threads": 2, "spinning": True}])
def test_how_the_graphs_are_run_does_not_change_what_is_written(folder, translator, clip, options):
    one = clip(7, 5)
    other = OnnxTranslator(folder, **options).translate(one)
    assert [each.ids for each in other] == [each.ids for each in translator.translate(one)]


ALONE = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "torchvision", "timm", "hydra", "omegaconf", "cv2"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
import numpy as np
from slt.inference import Inputs, OnnxTranslator

given = np.load(sys.argv[2])
clip = Inputs({n: given[n] for n in ("face", "pose")}, {n: given["seen_" + n] for n in ("face", "pose")})
found = OnnxTranslator(sys.argv[1]).translate(clip)
print(json.dumps([[one.text, one.score, one.ids] for one in found]))
"""


def test_it_translates_where_torch_and_transformers_cannot_be_imported(folder, translator, clip, tmp_path):
    one = clip(9, 4)
    np.savez(tmp_path / "clip.npz", **one.streams, **{f"seen_{name}": seen for name, seen in one.seen.items()})
    command = [sys.executable, "-c", ALONE, str(folder), "clip.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    for (text, score, ids), should in zip(json.loads(done.stdout), translator.translate(one), strict=True):
        assert (text, tuple(ids)) == (should.text, should.ids)
        assert score == pytest.approx(should.score, rel=1e-4)
