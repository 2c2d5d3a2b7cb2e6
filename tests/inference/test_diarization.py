"""Who signs: segments of one source are told apart by the face that they show."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bench.signing_stub import regions, signer
from inference.parts import READING, Spy, extractor

from slt.inference import diarization
from slt.inference.diarization import Diarizer, colours, hellinger
from slt.inference.segments import Segment
from slt.inference.session import Session

FPS = 10
HAIR = {"black": (35, 25, 20), "fair": (190, 150, 90), "red": (150, 60, 30)}
SKIN = {"black": (225, 180, 150), "fair": (240, 205, 185), "red": (120, 80, 60)}


def face(name: str, rng: np.random.Generator, *, side: int = 48, brighter: float = 1.0) -> np.ndarray:
    """Draw a face as a camera sees it: hair around skin, on a wall that is alike for all; turned, with noise."""
    picture = np.full((side, side, 3), (70, 110, 90), np.uint8)
    x, y = (side // 2 + int(rng.integers(-2, 3)) for _ in range(2))
    cv2.circle(picture, (x, y), round(0.42 * side), HAIR[name], -1)
    cv2.ellipse(picture, (x, y + side // 12), (round(0.26 * side), round(0.34 * side)), 0, 0, 360, SKIN[name], -1)
    noisy = picture * brighter + rng.normal(0, 4, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def told(*turns: tuple[str | None, float], seconds: float = 1.2) -> list[int | None]:
    """Return who signs in segments of these faces, one after the other; None shows none."""
    diarizer, rng, found, now = Diarizer(), np.random.default_rng(1), [], 0
    for name, brighter in turns:
        first, blank = now / FPS, np.zeros((48, 48, 3), np.uint8)
        for _ in range(round(seconds * FPS)):
            crop = blank if name is None else face(name, rng, brighter=brighter)
            frame = regions(now / FPS, signer(now / FPS, raised=True, moving=True), {"face": crop})
            diarizer.look(replace(frame, marks={"face": int(name is not None)}))
            now += 1
        found.append(diarizer.who(Segment((), first, now / FPS, now / FPS, len(found))))
    return found


def test_signers_are_numbered_as_they_appear_and_known_again():
    turns = ["black", "fair", "black", "red", "fair", "red", "black"]
    assert told(*((name, 1.0) for name in turns)) == [1, 2, 1, 3, 2, 3, 1]


def test_light_that_changes_a_little_makes_nobody_another():
    assert told(*(("fair", light) for light in (1.0, 0.97, 1.03, 1.0))) == [1] * 4


def test_a_frame_after_a_cut_counts_for_the_segment_that_begins_with_it():
    turns = ["black", "fair"] * 3
    assert told(*((name, 1.0) for name in turns), seconds=0.2) == [1, 2] * 3
    diarizer, rng = Diarizer(), np.random.default_rng(4)
    for n, name in enumerate(["black", "red", "black"]):  # as `Session` does: the next frame ends the one before
        frame = regions(0.2 * n, signer(0.2 * n, raised=True, moving=True), {"face": face(name, rng)})
        diarizer.look(frame)
        if n:
            assert diarizer.who(Segment((), 0.2 * (n - 1), 0.2 * n, 0.2 * n, n)) == n


def test_a_segment_without_a_face_says_nobody_and_forgets_nobody():
    assert told((None, 1.0), ("red", 1.0), (None, 1.0), ("red", 1.0)) == [None, 1, None, 1]


def test_however_many_come_no_more_are_remembered(monkeypatch):
    monkeypatch.setattr(diarization, "MOST", 2)
    assert told(("black", 1.0), ("fair", 1.0), ("red", 1.0))[:2] == [1, 2]
    assert set(told(("black", 1.0), ("fair", 1.0), ("red", 1.0))) == {1, 2}


def test_colours_are_shares_whatever_the_size_of_a_crop():
    rng = np.random.default_rng(2)
    small, large = (colours(face("fair", rng, side=side)) for side in (48, 224))
    assert small.sum() == pytest.approx(1)
    assert hellinger(small, small) == pytest.approx(0, abs=1e-6)
    assert hellinger(small, large) < diarization.OTHER < hellinger(small, colours(face("black", rng)))


def test_a_session_s_captions_say_who_signs_and_a_cut_is_where_it_changes():
    source = SimpleNamespace(fps=FPS, look_seconds=9.0, path=None, pictures=lambda seconds: iter(()))
    session = Session(Spy(), extractor(), replace(READING, segments="auto"), source)
    rng, captions = np.random.default_rng(3), []
    for n in range(90):
        crops = {"face": face(["black", "red", "black"][n // 30], rng, side=8)}
        frame = replace(regions(n / FPS, signer(n / FPS, raised=True, moving=True), crops), cut=n % 30 == 0)
        captions += [session.translate(one) for one in [session.add(frame)] if one is not None]
    last = session.close()
    assert last is not None
    captions.append(session.translate(last))
    assert [caption.signer for caption in captions] == [1, 2, 1]
    assert session.close() is None
