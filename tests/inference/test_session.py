"""What a film and a live source share: the sentence before, and sentences that run in a loop."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from bench.signing_stub import frames
from inference.parts import READING, Spy, extractor

from slt.inference.onnx import Hypothesis
from slt.inference.segments import Segment
from slt.inference.session import Session


class Listener(Spy):
    """Is told the sentence before, and says what it is to say."""

    reads_context = True

    def __init__(self, *said):
        super().__init__()
        self.said, self.told = [*said], []

    def write(self, encoded, *, contexts, **search):
        self.told += contexts
        return [[Hypothesis(text, -0.1, (1,)) for text in self.said.pop(0)]]


def session(translator):
    source = SimpleNamespace(fps=10, look_seconds=1.0, path=None, pictures=lambda seconds: iter(()))
    return Session(translator, extractor(), replace(READING, segments="auto"), source)


BLACK = dict.fromkeys(("face", "left_hand", "right_hand"), np.zeros((8, 8, 3), np.uint8))
FRAMES = (replace(frame, crops=BLACK) for frame in frames(1, lambda second: (True, True)))
SEGMENT = Segment(tuple(FRAMES), 0.0, 1.0, 1.0, 0)


def test_a_translator_that_reads_it_is_told_the_last_sentence_that_was_no_partial_one():
    translator = Listener(["uno"], ["dos y"], ["dos"], [], ["tres"])
    one = session(translator)
    one.translate(SEGMENT)
    one.translate(SEGMENT, partial=True)
    for _ in range(3):
        one.translate(SEGMENT)
    assert translator.told == ["", "uno", "uno", "dos", ""]


def test_a_sentence_that_runs_in_a_loop_comes_after_the_others():
    caption = session(Listener(["a rarararararara", "no hay agua", "la lalalalalala"])).translate(SEGMENT)
    assert [one.text for one in caption.hypotheses] == ["no hay agua", "a rarararararara", "la lalalalalala"]
    assert not caption.loops
