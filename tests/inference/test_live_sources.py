"""Where live pictures come from: a film at its own pace, and a camera (one made of numbers in OpenCV's place)."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from bench.landmarker_stub import write_film

from slt.extraction.video import read_frames
from slt.inference import sources
from slt.inference.sources import Camera, FilmSource

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


def ready():
    event = threading.Event()
    event.set()
    return event


def test_a_paced_film_gives_its_own_pictures_each_when_it_is_due(tmp_path):
    write_film(tmp_path / "a.mp4", count=12)
    source = FilmSource(tmp_path / "a.mp4", fps=None, max_fps=30)
    assert (source.name, source.fps, source.look_seconds) == ("a", 10, 1.2)
    came = [(shot, time.perf_counter()) for shot in source.shots(threading.Event(), ready())]
    plain = list(read_frames(tmp_path / "a.mp4", fps=10))
    assert len(came) == 12
    for (shot, when), (seconds, picture) in zip(came, plain, strict=True):
        assert shot.seconds == seconds
        np.testing.assert_array_equal(shot.picture, picture)
        assert when >= shot.taken
    assert all(shot.taken - came[0][0].taken >= shot.seconds - 1e-6 for shot, _ in came)


def test_a_paced_film_waits_with_its_second_picture_until_models_are_open_and_loses_none(tmp_path):
    write_film(tmp_path / "a.mp4", count=5)
    opened = threading.Event()
    shots = FilmSource(tmp_path / "a.mp4", fps=None, max_fps=30).shots(threading.Event(), opened)
    next(shots)
    threading.Timer(0.5, opened.set).start()
    begin = time.perf_counter()
    second = next(shots)
    assert second.taken - begin >= 0.5
    assert second.seconds == 0.1
    assert len(list(shots)) == 3


def test_a_paced_film_stops_when_it_is_told(tmp_path):
    write_film(tmp_path / "a.mp4", count=50)
    stop = threading.Event()
    shots = FilmSource(tmp_path / "a.mp4", fps=None, max_fps=30).shots(stop, ready())
    next(shots)
    stop.set()
    assert list(shots) == []


class Device:
    """OpenCV's camera: `rate` pictures a second of one colour, blue in OpenCV's order, until it is unplugged."""

    there, rate, lasts, released = True, 50, 10**9, 0

    def __init__(self, number):
        self.number, self.grabbed = number, 0

    def isOpened(self):
        return self.there

    def grab(self):
        time.sleep(1 / self.rate)
        self.grabbed += 1
        return self.grabbed <= self.lasts

    def retrieve(self):
        return True, np.full((48, 64, 3), (255, 10, 0), np.uint8)

    def set(self, key, value):
        return False

    def get(self, key):
        return float(self.rate)

    def release(self):
        Device.released += 1


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(sources.cv2, "VideoCapture", Device)
    monkeypatch.setattr(Device, "released", 0)
    return monkeypatch


def test_a_camera_gives_rgb_at_up_to_the_rate_that_was_asked_for(device):
    camera = Camera(0, max_fps=20)
    assert (camera.name, camera.fps) == ("camera0", 20)
    stop, came = threading.Event(), []
    for shot in camera.shots(stop, ready()):
        came.append(shot)
        if len(came) == 20:
            stop.set()
    assert (came[0].picture == (0, 10, 255)).all()
    gaps = np.diff([shot.seconds for shot in came])
    assert np.median(gaps) == pytest.approx(1 / 20, abs=0.02)
    assert came[0].seconds == 0
    camera.close()
    assert Device.released == 1


def test_a_slow_camera_is_taken_as_it_is(device):
    device.setattr(Device, "rate", 12)
    assert Camera(0, max_fps=30).fps == 12


def test_a_camera_is_watched_for_the_signer_before_it_begins(device):
    looked = list(Camera(0, max_fps=30).pictures([0.0, 0.1, 0.2]))
    assert [seconds for seconds, _ in looked] == pytest.approx([0.0, 0.1, 0.2], abs=0.06)


def test_a_camera_that_is_not_there_is_refused_by_its_number(device):
    device.setattr(Device, "there", False)
    with pytest.raises(ValueError, match="source=3: no camera with this number gives a picture here"):
        Camera(3, max_fps=30)
    assert Device.released == 1


def test_no_camera_says_so_in_our_words_alone(capfd):
    if cv2.VideoCapture(97).isOpened():
        pytest.skip("there is a camera 97")
    capfd.readouterr()
    with pytest.raises(ValueError, match="source=97: no camera"):
        Camera(97, max_fps=30)
    assert capfd.readouterr().err == ""


def test_a_camera_that_is_unplugged_is_told(device):
    device.setattr(Device, "lasts", 6)
    camera = Camera(0, max_fps=50)
    with pytest.raises(ValueError, match="source=0: the camera gives no more pictures; is it still connected"):
        list(camera.shots(threading.Event(), ready()))
