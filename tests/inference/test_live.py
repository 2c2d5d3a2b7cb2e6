"""Live pictures to captions: what is said and when, what is dropped, what stays in memory, and how it ends."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from bench.landmarker_stub import write_film
from bench.signing_stub import SigningLandmarker, frames
from inference.parts import LIVE, READING, SEARCH, SEGMENTATION, Spy, extractor

from slt.inference import live, session, view
from slt.inference.films import translate_film
from slt.inference.live import Mailbox, Speaker, evenly, translate_live
from slt.inference.segments import Segment
from slt.inference.session import Session
from slt.inference.sources import FilmSource, Shot
from slt.inference.subtitles import Subtitles


class Source:
    """A camera made of numbers: `count` pictures at `fps`, in time divided by `speed`."""

    name, look_seconds, path = "numbers", 1.0, None

    def __init__(self, count, *, fps=10, speed=1.0, fail=None):
        self.count, self.fps, self.speed, self.fail = count, fps, speed, fail
        self.closed = False

    def pictures(self, seconds):
        return ((second, np.zeros((80, 100, 3), np.uint8)) for second in seconds)

    def shots(self, stop, ready):
        origin = time.perf_counter()
        for n in range(self.count):
            if self.fail is not None and n == self.fail:
                raise ValueError("source=numbers: the camera gives no more pictures")
            due = origin + n / self.fps / self.speed
            if stop.wait(max(0.0, due - time.perf_counter())):
                return
            yield Shot(n / self.fps, np.full((80, 100, 3), n % 256, np.uint8), due, 0.0)
            if n == 0:
                ready.wait()
                origin = time.perf_counter()

    def close(self):
        self.closed = True


class Screen:
    """Keeps what is written on each picture; `until` closes it."""

    def __init__(self, monkeypatch, *, until=10**9, panel=False):
        self.texts, self.until, self.panel = [], until, panel
        draw = view.Overlay.draw

        def spy(overlay, picture, found, text):
            self.texts.append(text)
            return draw(overlay, picture, found, text)

        monkeypatch.setattr(view.Overlay, "draw", spy)

    def show(self, picture):
        return len(self.texts) < self.until


def run(source, translator, *, landmarker=None, reading=READING, settings=LIVE, screen=None, subtitles=None):
    said = []
    result = translate_live(
        source, translator, extractor(landmarker), reading=reading, live=settings, screen=screen, subtitles=subtitles,
        on_caption=lambda caption, partial: said.append((caption, partial)),
    )  # fmt: skip
    return result, said


# ---------------------------------------------------------------- what is said


def test_partial_translations_while_signing_goes_on_and_a_final_one_when_it_stops(tmp_path):
    landmarker = SigningLandmarker(signing=[(1, 3), (5, 7)])
    spy = Spy()
    with (tmp_path / "a.srt").open("wb") as srt, (tmp_path / "a.vtt").open("wb") as vtt:
        result, said = run(Source(90, speed=8), spy, landmarker=landmarker, subtitles=Subtitles(srt, vtt))
    assert result.latency.dropped == 0
    finals = [caption for caption, partial in said if not partial]
    assert [round(one.start) for one in finals] == [1, 5]
    assert [round(one.end, 1) for one in finals] == pytest.approx([3.4, 7.4], abs=0.25)
    order = "".join("p" if partial else "F" for _, partial in said)
    assert order.strip("p") != order
    assert "pF" in order
    first = [caption for caption, partial in said if caption.start < 3]
    lengths = [int(caption.text.split()[0][1:]) for caption in first]
    assert lengths == sorted(lengths)  # a partial translation is of all that was signed so far
    assert result.captions == finals
    assert (tmp_path / "a.srt").read_text(encoding="utf-8").count(" --> ") == 2
    assert result.latency.milliseconds()["sign to caption"][0] == 2
    assert all(search == SEARCH for search in spy.searches)


def test_without_partial_seconds_only_final_captions_are_said():
    settings = replace(LIVE, partial_seconds=0)
    _, said = run(Source(40, speed=10), Spy(), landmarker=SigningLandmarker(signing=[(1, 2)]), settings=settings)
    assert [partial for _, partial in said] == [False]


def test_hands_at_rest_say_nothing():
    result, said = run(Source(40, speed=10), Spy(), landmarker=SigningLandmarker(signing=[]))
    assert (said, result.captions, result.captured) == ([], [], 40)


def test_the_running_sentence_is_on_show_while_it_is_signed_and_a_while_after(monkeypatch):
    monkeypatch.setattr(view, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(view, "SHOWN_PER_LETTER", 0.01)
    screen = Screen(monkeypatch)
    run(Source(80, speed=4), Spy(), landmarker=SigningLandmarker(signing=[(1, 4)]), screen=screen)
    shown = [("" if not text.sentence else "partial" if text.partial else "final") for text in screen.texts]
    changes = [one for n, one in enumerate(shown) if n == 0 or one != shown[n - 1]]
    assert changes == ["", "partial", "final", ""]
    states = [text.right[0].split()[-1] for text in screen.texts]
    assert {"signing", "rest"} == set(states)


def test_a_partial_sentence_of_what_was_no_sentence_is_taken_back(monkeypatch):
    screen = Screen(monkeypatch)
    reading = replace(READING, segmentation=replace(SEGMENTATION, min_seconds=2.0))
    _, said = run(Source(50, speed=6), Spy(), landmarker=SigningLandmarker(signing=[(1, 2)]), reading=reading,
                  settings=replace(LIVE, partial_seconds=0.2), screen=screen)  # fmt: skip
    assert said
    assert all(partial for _, partial in said)
    assert any(text.sentence for text in screen.texts)
    assert screen.texts[-1].sentence == ""


# ---------------------------------------------------------------- the same as from files


def test_a_film_at_its_own_pace_reaches_the_model_as_the_same_film_from_its_file_does(tmp_path):
    write_film(tmp_path / "a.mp4", count=15)
    offline, online = Spy(), Spy()
    *_, film = translate_film(tmp_path / "a.mp4", offline, extractor(), settings=READING, out=None)
    source = FilmSource(tmp_path / "a.mp4", fps=None, max_fps=30)
    settings = replace(LIVE, partial_seconds=0)
    begin = time.perf_counter()
    result, _ = run(source, online, settings=settings)
    assert time.perf_counter() - begin > 1.2  # 15 pictures at 10 a second
    assert result.latency.dropped == 0
    assert result.captions == film.segments
    (one,), (other,) = offline.clips, online.clips
    assert len(one.seen["face"]) == 15
    for name in ("face", "pose"):
        np.testing.assert_array_equal(one.streams[name], other.streams[name])
        np.testing.assert_array_equal(one.seen[name], other.seen[name])


def test_a_long_film_is_cut_where_hands_rest_live_and_from_its_file_alike(tmp_path):
    write_film(tmp_path / "a.mp4", count=30)
    landmarker = SigningLandmarker(signing=[(0.2, 1.0), (1.7, 2.5)])
    reading = replace(READING, segments="auto")
    *_, film = translate_film(tmp_path / "a.mp4", Spy(), extractor(landmarker), settings=reading, out=None)
    source = FilmSource(tmp_path / "a.mp4", fps=None, max_fps=30)
    result, _ = run(source, Spy(), landmarker=landmarker, reading=reading)
    assert len(film.segments) == 2
    assert result.latency.dropped == 0
    assert result.captions == film.segments


# ---------------------------------------------------------------- what is dropped


def test_of_more_pictures_than_may_wait_the_oldest_is_dropped_and_counted():
    box = Mailbox(2)
    for n in range(5):
        box.put(n)
    box.close(None)
    assert (list(box), box.count, box.dropped) == ([3, 4], 5, 3)


def test_a_mailbox_gives_what_came_before_an_error_and_then_the_error():
    box = Mailbox(3)
    box.put(1)
    box.close(ValueError("gone"))
    came = iter(box)
    assert next(came) == 1
    with pytest.raises(ValueError, match="gone"):
        next(came)
    with pytest.raises(ValueError, match="queue=0: expected at least 1"):
        Mailbox(0)


def test_a_machine_that_is_too_slow_drops_frames_and_says_how_many(monkeypatch):
    screen = Screen(monkeypatch, panel=True)
    source = Source(150, fps=100)
    result, _ = run(source, Spy(), landmarker=SigningLandmarker(pause=0.03), screen=screen,
                    settings=replace(LIVE, queue=2))  # fmt: skip
    assert result.captured == 150
    assert result.latency.dropped > 50
    assert result.latency.frames + result.latency.dropped == 150
    assert result.latency.lines()[-1].startswith(f"{result.latency.dropped} of 150 dropped")
    shown = [int(text.right[1].split()[-2]) for text in screen.texts]
    assert shown == sorted(shown)
    assert shown[-1] == result.latency.dropped
    assert any("dropped" in line for line in screen.texts[-1].panel)


def test_a_slow_machine_sees_what_is_happening_now_and_not_what_was(monkeypatch):
    seen = []
    source = Source(150, fps=100)
    shots = source.shots

    def timed(stop, ready):
        for shot in shots(stop, ready):
            yield shot._replace(taken=time.perf_counter())

    source.shots = timed
    step = Speaker.step

    def look(self, regions, shot):
        seen.append((shot.taken, time.perf_counter()))
        return step(self, regions, shot)

    monkeypatch.setattr(Speaker, "step", look)
    unsmoothed = extractor(SigningLandmarker(pause=0.03), smooth_centre=0, smooth_size=0)
    settings = replace(LIVE, queue=2)
    translate_live(source, Spy(), unsmoothed, reading=READING, live=settings, screen=None, subtitles=None,
                   on_caption=lambda *_: None)  # fmt: skip
    taken, when = np.array(seen).T
    # Two wait and one is looked at, for as long as a picture takes; if none were dropped, some fifty would wait.
    assert np.median(when - taken) < 6 * np.median(np.diff(when))


def test_in_place_of_a_dropped_frame_stands_the_nearest():
    stream = frames(1, lambda second: (True, True))
    left = [frame for n, frame in enumerate(stream) if n not in (2, 3, 7)]
    assert [round(one.seconds * 10) for one in evenly(left, 10)] == [0, 1, 1, 4, 4, 5, 6, 6, 8, 9]
    assert list(evenly(stream, 10)) == stream


# ---------------------------------------------------------------- memory


def test_the_frames_in_memory_are_bounded_however_long_it_goes_on(monkeypatch):
    alive, most = 0, 0
    keep = session.keep_model_crops

    def gone():
        nonlocal alive
        alive -= 1

    def counted(frame, streams):
        nonlocal alive, most
        made = keep(frame, streams)
        weakref.finalize(made, gone)
        alive += 1
        most = max(most, alive)
        return made

    monkeypatch.setattr(session, "keep_model_crops", counted)
    # signing without end, faster than it can be taken: cut every 2 s of its own time
    settings = replace(LIVE, queue=2)
    reading = replace(READING, segmentation=replace(SEGMENTATION, max_seconds=2))
    result, said = run(Source(3000, fps=30, speed=30), Spy(), reading=reading, settings=settings)
    assert result.latency.frames + result.latency.dropped == 3000
    assert sum(not partial for _, partial in said) > 10
    # one segment grows, two wait, one is at work, and a partial one shares its frames with the first
    assert most <= 30 * 2 * 5
    assert most < result.latency.frames


def segment(number):
    crops = {"face": np.zeros((8, 8, 3), np.uint8)}
    stream = [replace(frame, crops=crops) for frame in frames(0.5, lambda second: (True, True))]
    return Segment(tuple(stream), 0.0, 0.5, 0.5, number)


def test_no_more_segments_wait_for_their_translation_than_memory_is_meant_for():
    spy, said = Spy(), []
    spy.hold.clear()
    shown = SimpleNamespace(say=lambda *_, **__: None)
    speaker = Speaker(Session(spy, extractor(), READING, Source(0)), shown, 0.0, None, lambda *one: said.append(one))
    asked = []

    def ask():
        for number in range(live.WAITING + 3):
            speaker.ask(segment(number), partial=False)
            asked.append(number)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    assert len(asked) == live.WAITING + 1  # one is at work
    spy.hold.set()
    thread.join(60)
    speaker.finish()
    speaker.pool.shutdown()
    assert [partial for _, partial in said] == [False] * (live.WAITING + 3)


# ---------------------------------------------------------------- how it ends


def test_a_closed_screen_ends_it_and_what_was_being_signed_is_still_said(monkeypatch, tmp_path):
    screen = Screen(monkeypatch, until=20)
    threads = threading.active_count()
    record = tmp_path / "a.mp4"
    result, said = run(Source(10_000, speed=4), Spy(), screen=screen, settings=replace(LIVE, record=record))
    assert len(screen.texts) == 20
    assert [partial for _, partial in said][-1] is False
    assert result.latency.frames == 20
    assert threading.active_count() == threads
    assert pictures(record) == 20


def test_an_interrupt_ends_it_in_order():
    class Interrupting(SigningLandmarker):
        def find(self, seconds, picture):
            if seconds >= 2:
                raise KeyboardInterrupt
            return super().find(seconds, picture)

    result, said = run(Source(100, speed=4), Spy(), landmarker=Interrupting())
    assert said[-1][1] is False
    assert result.latency.frames < 21


def test_a_camera_that_fails_is_told_and_what_was_recorded_can_be_played(monkeypatch, tmp_path):
    threads = threading.active_count()
    with pytest.raises(ValueError, match="gives no more pictures"):
        run(Source(100, speed=4, fail=30), Spy(), settings=replace(LIVE, record=tmp_path / "a.mp4"))
    assert pictures(tmp_path / "a.mp4") == 28  # the smoothing still held two
    assert threading.active_count() == threads


def test_a_translator_that_fails_is_told_where_it_was_asked():
    class Failing(Spy):
        def write(self, encoded, **search):
            raise ValueError("nbest above num_beams")

    threads = threading.active_count()
    with pytest.raises(ValueError, match="nbest above"):
        run(Source(200, speed=4), Failing())
    assert threading.active_count() == threads


def test_pictures_that_change_their_size_are_refused():
    source = Source(30, speed=10)
    shots = source.shots
    source.shots = lambda stop, ready: (
        shot._replace(picture=shot.picture[: 60 if shot.seconds > 1 else 80]) for shot in shots(stop, ready)
    )
    with pytest.raises(ValueError, match=r"numbers: pictures of \(100, 80\) became \(100, 60\)"):
        run(source, Spy())


def test_a_recording_has_every_frame_at_its_time_and_the_panel_where_it_is_asked_for(monkeypatch, tmp_path):
    screen = Screen(monkeypatch)  # only to see what is drawn
    settings = replace(LIVE, panel=True, record=tmp_path / "a.mp4")
    result, _ = run(Source(30, speed=2), Spy(), settings=settings)
    assert pictures(tmp_path / "a.mp4") == result.latency.frames == 30
    assert all(text.panel for text in screen.texts)


def pictures(path):
    """How many pictures a film has, each after the one before it."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [frame.time for frame in container.decode(video=0)]
    assert times == sorted(set(times))
    return len(times)
