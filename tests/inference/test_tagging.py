"""A learned segmenter at work: the network in numpy is that of training, and tags become segments."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.signing_stub import frames
from inference.parts import SEGMENTATION
from safetensors.numpy import save_file

from slt.inference.tagging import LearnedSegmenter, Tagging, describe_tagging, read_tagging
from slt.models.tagger import Tagger
from slt.streams.phrases import BEGINNING, INSIDE, OUTSIDE, WIDTH

FPS = 15


def learned():
    torch.manual_seed(0)
    tagger = Tagger(num_features=WIDTH, width=8, dilations=[1, 2], dropout=0.5).eval()
    weights = {name: value.detach().numpy() for name, value in tagger.state_dict().items()}
    return tagger, Tagging(weights, (1, 2), fps=FPS, begin=0.5, end=0.5, split=0.5)


class Told(Tagging):
    """Says the tags that it was told, at its pace: frame n has n as its first feature."""

    def probabilities(self, x):
        return np.eye(3, dtype=np.float32)[[self.weights["tags"][int(n)] for n in x[:, 0]]]


def cut(tags, monkeypatch, *, rate=1, cuts=(), **changes):
    """The segments, in frames of the network, of a stream with these tags (a character each) and cuts."""
    numbers = iter(range(len(tags)))
    monkeypatch.setattr("slt.inference.tagging.features", lambda *_: np.full((1, 2), next(numbers), np.float32))
    codes = [{"o": OUTSIDE, "b": BEGINNING, "i": INSIDE}[tag] for tag in tags]
    tagging = Told({"tags": np.array(codes)}, (1, 2), fps=FPS, begin=0.5, end=0.5, split=0.5)
    segmenter = LearnedSegmenter(tagging, replace(SEGMENTATION, min_seconds=0.2, **changes), fps=FPS * rate)
    stream = frames(len(tags) / FPS, lambda second: (True, True), fps=FPS * rate)
    stream = [replace(frame, cut=n in {each * rate for each in cuts}) for n, frame in enumerate(stream)]
    found = [one for one in (*map(segmenter.add, stream), segmenter.close()) if one is not None]
    assert all(one.moved == one.end for one in found)
    return [(round(one.start * FPS, 2), round(one.end * FPS, 2)) for one in found]


def test_the_network_in_numpy_is_that_of_training():
    tagger, tagging = learned()
    x = np.random.default_rng(0).standard_normal((30, WIDTH)).astype(np.float32)
    with torch.no_grad():
        expected = tagger(torch.from_numpy(x)[None])[0].softmax(-1).numpy()
    np.testing.assert_allclose(tagging.probabilities(x), expected, atol=1e-5)
    middle = tagging.probabilities(x[10 - tagging.reach : 11 + tagging.reach])[tagging.reach]
    np.testing.assert_allclose(middle, expected[10], atol=1e-5)  # no more than its reach is read


@pytest.mark.parametrize("rate", [1, 2])
def test_tags_become_segments_at_any_rate(monkeypatch, rate):
    assert cut("ooobiiiiioooobiiiioooo", monkeypatch, rate=rate) == [(3, 9), (13, 18)]
    assert cut("bbiiiiibbiiiiiii", monkeypatch, rate=rate) == [(0, 7), (7, 16)]  # one after the other, to the end


def test_a_cut_ends_a_segment_and_what_is_too_short_is_none(monkeypatch):
    assert cut("oobiiiiiiiiiiioo", monkeypatch, cuts=[8]) == [(2, 8), (8, 14)]
    assert cut("oobioooooooo", monkeypatch) == []


def test_a_long_segment_is_cut_and_no_frame_is_lost(monkeypatch):
    first, second = cut("b" + 40 * "i" + "ooooo", monkeypatch, max_seconds=2)
    assert (first[0], second[1]) == (0, 41)
    assert 15 <= first[1] == second[0] <= 30


def test_a_file_is_read_back_and_another_is_refused(tmp_path):
    _, tagging = learned()
    save_file(tagging.weights, tmp_path / "a.safetensors", {"slt": json.dumps(describe_tagging(tagging))})
    read = read_tagging(tmp_path / "a.safetensors")
    assert (read.dilations, read.fps, read.reach) == ((1, 2), FPS, 3)
    np.testing.assert_array_equal(read.weights["enter.bias"], tagging.weights["enter.bias"])
    save_file(tagging.weights, tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_text("no weights")
    for name in "bc":
        with pytest.raises(ValueError, match=rf"{name}\.safetensors: .*slt\.segment"):
            read_tagging(tmp_path / f"{name}.safetensors")
