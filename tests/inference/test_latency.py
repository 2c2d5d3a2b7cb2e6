"""The latency panel: what each stage takes, in bounded memory, and its text."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from bench.signing_stub import SigningLandmarker
from inference.parts import extractor

from slt.extraction import regions as regions_module
from slt.extraction.signers import Signer
from slt.inference import latency as module
from slt.inference.latency import KEPT, Latency, timed_frames

SIGNER = Signer(None, 1.0, 1, False)


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(regions_module, "time", made)
    return made


def test_the_panel_is_of_the_newest_values():
    latency = Latency()
    for value in [9.0] * 10 + [0.001] * KEPT:
        latency.add("draw", value)
    assert latency.milliseconds() == {"draw": (KEPT + 10, pytest.approx(1), pytest.approx(1))}
    assert sum(map(len, latency._stages.values())) == KEPT  # hours take no more memory than minutes


def test_median_and_95th_percentile_are_milliseconds():
    latency = Latency()
    for value in range(101):
        latency.add("landmarks", value / 1000)
    assert latency.milliseconds() == {"landmarks": (101, pytest.approx(50), pytest.approx(95))}


def test_the_panel_to_the_letter(clock):
    latency = Latency()
    for stage, seconds in (("decode", 0.0012), ("landmarks", 0.0366), ("draw", 0.25), ("sign to caption", 1.5)):
        latency.add(stage, seconds)
    for clock.now in (1.0, 1.1, 1.2):
        latency.frame({})
    latency.dropped = 1
    assert latency.lines() == [
        "milliseconds      median    95 %",
        "decode               1.2     1.2",
        "landmarks           36.6    36.6",
        "draw                 250     250",
        "sign to caption     1500    1500",
        "10.0 frames/s",
        "1 of 4 dropped (25.0%)",
    ]


def test_nothing_counted_yet_is_a_panel_too():
    assert Latency().lines()[-2:] == ["0.0 frames/s", "0 of 0 dropped (0.0%)"]


def test_several_threads_lose_no_count():
    latency = Latency()
    threads = [threading.Thread(target=lambda: [latency.add("draw", 0.1) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert latency.milliseconds()["draw"][0] == 8000


def pictures(clock, count, takes):
    for n in range(count):
        clock.now += takes
        yield n / 10, np.zeros((80, 100, 3), np.uint8)


class Slow(SigningLandmarker):
    def __init__(self, clock, takes):
        super().__init__()
        self.clock, self.takes = clock, takes

    def find(self, seconds, picture):
        self.clock.now += self.takes
        return super().find(seconds, picture)


def test_decoding_landmarks_and_crops_are_counted_apart(clock):
    slow = extractor(Slow(clock, 0.030))
    cut = slow._cut

    def slow_cut(*arguments):
        clock.now += 0.002
        return cut(*arguments)

    slow._cut = slow_cut
    latency = Latency()
    frames = timed_frames(pictures(clock, 20, 0.004), latency)
    came = list(slow.stream(frames, fps=10, signer=SIGNER))
    for regions in came:
        latency.frame(regions.took)
    found = latency.milliseconds()
    assert len(came) == latency.frames == 20
    assert {name: count for name, (count, _, _) in found.items()} == {"decode": 20, "landmarks": 20, "crops": 20}
    for stage, expected in (("decode", 4), ("landmarks", 30), ("crops", 2)):
        assert found[stage][1] == pytest.approx(expected)
