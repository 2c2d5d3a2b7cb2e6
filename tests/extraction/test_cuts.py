"""Hard cuts of a film: what is one, what only looks like one, and shots that are taken one after the other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from slt.extraction.cuts import Cuts, shots

FRAMES = 40


def person(n, *, shirt, wall, at=80):
    """A picture (96, 160, 3) of somebody whose hand goes to and fro."""
    picture = np.full((96, 160, 3), wall, np.uint8)
    cv2.rectangle(picture, (at - 25, 40), (at + 25, 96), (shirt, shirt // 2, 60), -1)
    cv2.circle(picture, (at, 25), 12, (200, 160, 130), -1)
    cv2.circle(picture, (at + round(30 * np.sin(n / 2)), 60), 7, (200, 160, 130), -1)
    return picture


def film(*parts, rate=1):
    made = [person(n, **part) for part in parts for n in range(FRAMES) for _ in range(rate)]
    return [(n / 25, picture) for n, picture in enumerate(made)]


def lengths(pictures):
    return [len(list(shot)) for shot in shots(pictures)]


@pytest.mark.parametrize("rate", [1, 3], ids=["as filmed", "each picture three times"])
def test_another_person_before_the_same_wall_is_a_cut(rate):
    parts = {"shirt": 60, "wall": 150}, {"shirt": 230, "wall": 150, "at": 70}
    assert lengths(film(*parts, rate=rate)) == [rate * FRAMES] * 2


def test_signing_and_slow_light_are_none():
    pictures = film({"shirt": 60, "wall": 150})
    assert lengths(pictures) == [FRAMES]
    brighter = [(s, np.clip(picture + 2.0 * n, 0, 255).astype(np.uint8)) for n, (s, picture) in enumerate(pictures)]
    assert lengths(brighter) == [FRAMES]
    assert lengths([]) == []


def test_every_picture_is_given_once_and_in_its_order():
    pictures = film({"shirt": 60, "wall": 150}, {"shirt": 60, "wall": 30}, {"shirt": 60, "wall": 150})
    assert [seconds for shot in shots(pictures) for seconds, _ in shot] == [seconds for seconds, _ in pictures]
    cuts = Cuts()
    assert [n for n, (_, picture) in enumerate(pictures) if cuts.begins(picture)] == [FRAMES, 2 * FRAMES]
