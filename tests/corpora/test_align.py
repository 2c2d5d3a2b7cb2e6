"""Captions that follow the sound, moved to the signing: delays, jitter, and what has no counterpart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slt.corpora.align import Alignment, align, common_delay, filled

SETTINGS = Alignment(search_seconds=10, reach_seconds=3, most_segments=4, most_captions=4, lost=3, idle=0.3)


def spans(count, seed=0):
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform([0.4, 1.5] * count, [2.0, 4.0] * count))
    return [(float(a), float(b)) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize("delay", [-6.0, 2.0])
def test_a_delay_with_jitter_is_undone(delay):
    signed = [(a + 8, b + 8) for a, b in spans(60)]
    rng = np.random.default_rng(1)
    starts = [a + delay + rng.normal(0, 0.5) for a, _ in signed]
    shown = sorted((a, a + (d - c) * rng.uniform(0.7, 1.4)) for a, (c, d) in zip(starts, signed, strict=True))
    assert common_delay(shown, signed, SETTINGS) == pytest.approx(-delay, abs=0.6)
    away = np.abs(np.array(filled(shown, align(shown, signed, SETTINGS))) - signed)
    assert np.median(away) < 1e-9
    assert (away.max(1) < 1e-9).mean() > 0.8


def test_signing_without_a_caption_and_a_caption_without_signing_stay_alone():
    signed = spans(8)
    shown = [*signed[:3], *signed[4:]]
    assert align(shown, signed, SETTINGS) == shown
    found = align(signed, shown, replace(SETTINGS, lost=0.5))
    assert (found[3], found[:3] + found[4:]) == (None, shown)
    times = filled(signed, found)
    assert times[2][1] <= times[3][0] < times[3][1] <= times[4][0]
    assert times[3] == pytest.approx(signed[3])


def test_a_sentence_in_two_segments_and_two_sentences_in_one():
    signed = [(0.0, 2.0), (2.3, 4.0), (8.0, 14.0)]
    shown = [(0.0, 4.0), (8.0, 10.0), (10.0, 14.0)]
    assert align(shown, signed, SETTINGS) == [(0.0, 4.0), (8.0, pytest.approx(10.0)), (pytest.approx(10.0), 14.0)]


def test_nothing_to_align_is_no_fault():
    assert align([], spans(3), SETTINGS) == []
    assert filled(spans(2), align(spans(2), [], SETTINGS)) == spans(2)
